//! The operations on Burn's CPU backend: tensors in, tensors out, the arithmetic in
//! [`cpu`](super::cpu). Each file has an operation, its derivative, and the step of the graph.

pub mod adamw;
pub mod attention;
pub mod embedding;
pub mod linear;
pub mod loss;
pub mod norm;
pub mod swiglu;
mod tensor;
