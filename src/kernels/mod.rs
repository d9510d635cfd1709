//! The operations that a training step is made of, each behind a plain function of tensors.
//!
//! The functions are the contract: shapes in, shapes out, differentiable where it says so. Behind
//! them are compositions of Burn's own operations, so they run wherever Burn runs. Tensors that do
//! not belong to an autodiff graph (a teacher's, an evaluation's) take the cheaper path on their own.
//!
//! Rows are flat: the hidden states of a batch are `[batch * sequence, hidden]`, because a batched
//! product with a shared weight would compute one weight gradient for each sequence.

mod adamw;
mod attention;
mod basic;
pub mod cpu;
mod distillation;
mod divergence;
mod extension;
mod rotary;

pub use adamw::{AdamW, Moments, adamw_step, sum_of_squares};
pub use attention::causal_attention;
pub use basic::{embed, linear, rms_norm, swiglu};
pub use distillation::{
    Distillation, Losses, Measured, Projection, TeacherMeasured, distillation_loss, measure,
};
pub use divergence::Divergence;
pub use rotary::{RotaryTable, rotary};
