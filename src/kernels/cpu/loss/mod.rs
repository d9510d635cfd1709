//! The fused linear distillation loss: output layers, losses and their gradients, without the logits of more
//! than a chunk of tokens ever being there.
//!
//! The idea of working through tokens in chunks and computing the gradient in the forward pass is that of
//! Liger Kernel (arXiv 2410.10989), extended here by the teacher's output layer. For each chunk:
//!
//! 1. the student's and the teacher's logits: two products with packed weights;
//! 2. per row, in the caches: maxima, exponentials and their sums, the losses, and the gradient of the logits
//!    ([`rows`], [`divergence`]), rounded to what the products take.
//!
//! And for each group of chunks:
//!
//! 3. its part of `d_hidden`: gradient times weight, which is packed some rows at a time;
//! 4. `d_head += gradientᵀ · hidden`.
//!
//! A chunk is as large as keeps both logits within [`CHUNK_BYTES`](fused::CHUNK_BYTES) and at most
//! [`CHUNK_PANELS`](fused::CHUNK_PANELS) panels of rows
//! (252 with 14): large enough that reading the weights (step 1) once per chunk is cheap beside the products,
//! small enough that the logits stay in the last-level cache. A group is as large as keeps the gradients of
//! its logits within [`GROUP_BYTES`](fused::GROUP_BYTES): step 4 reads and writes all of `d_head`, far more
//! than its operands, so the fewer groups there are the better. Both depend on the sizes alone, so the order
//! of every sum does too.
//!
//! What is computed is [`Distillation`](crate::kernels::Distillation)'s, with q = softmax(s/T) of the
//! student, p of the teacher, and means over the rows that count.

mod divergence;
mod fused;
mod passes;
#[cfg(test)]
mod reference;
mod rows;
#[cfg(test)]
mod tests;
mod types;

pub use fused::distillation_loss;
pub use types::{Agreement, Gradients, Head, IGNORED, Loss, LossConfig, Side, Teacher, TopK};
