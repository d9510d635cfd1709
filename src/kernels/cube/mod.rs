//! The operations on Burn's GPU backend, with kernels in CubeCL where Burn's own operations would go through
//! memory more often than the mathematics needs, and Burn's matrix products in between.
//!
//! Everything here runs on any device of CubeCL, a software device included, and gives the same bits every
//! time: sums have a fixed order, and nothing is added atomically. Launches check their bounds. No operation
//! of a training step waits for the device.

mod adamw;
mod attention;
mod chunk;
mod divergence;
mod embedding;
mod extension;
mod heads;
mod linear;
mod loss;
mod norm;
mod operand;
mod reduce;
mod row_loss;
mod softmax;
mod swiglu;
mod tensor;
