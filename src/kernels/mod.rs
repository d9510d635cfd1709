//! The operations that a training step is made of, each behind a plain function of tensors.
//!
//! The functions are the contract: shapes in, shapes out, differentiable where it says so. Behind
//! them is an extension of Burn's backends with its own derivatives; on the CPU it calls the kernels of
//! [`cpu`]. [`reference`] says the same in plain tensors. Tensors that do not belong to an autodiff graph
//! (a teacher's, an evaluation's) take the cheaper path on their own.
//!
//! ```text
//! ops           what a block is made of: embedding, products, norm, SwiGLU, attention
//! distillation  the output heads with the loss between them
//! adamw         the optimizer
//! *_spec        what the operations are, in plain types
//! contract      the operations as an extension of Burn's backends
//! flex          … on Burn's CPU backend
//! cube          … on its GPU backend, with the kernels for it
//! cpu           kernels over slices, for each instruction set
//! reference     … in plain tensors
//! ```
//!
//! Rows are flat: the hidden states of a batch are `[batch * sequence, hidden]`, because a batched
//! product with a shared weight would compute one weight gradient for each sequence.

mod adamw;
mod adamw_spec;
mod attention_spec;
mod contract;
pub mod cpu;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod cube;
mod device;
mod distillation;
mod flex;
mod kept_head;
mod loss_spec;
mod loss_tensors;
mod ops;
mod precision;
mod products;
pub mod reference;
mod rotary;

pub use adamw::{GradientScale, Moments, Norm, Parameter, adamw_step, sum_of_squares};
pub use adamw_spec::AdamW;
pub use device::{GPU_PIECE, is_processor};
pub use distillation::{distillation_loss, measure};
pub use kept_head::KeptHead;
pub use loss_spec::{Distillation, Divergence, Measured, TeacherMeasured};
pub use loss_tensors::{Losses, Projection, Taught, TopK};
pub use ops::{Heads, causal_attention, embed, linear, linear_add, norm_heads, rms_norm, swiglu};
pub use precision::Precision;
pub use products::{Packed, Products};
pub use rotary::RotaryTable;
