//! The operations on Burn's CPU backend: tensors in, tensors out, the arithmetic in
//! [`cpu`](super::cpu). Each file has an operation, its derivative, and the step of the graph.

mod adamw;
mod attention;
mod embedding;
mod extension;
pub(super) mod head;
mod linear;
mod loss;
mod norm;
mod swiglu;
mod tensor;
