//! Every kernel in plain tensors: what it is, in operations that all of Burn's backends have and that
//! are differentiable by themselves. The kernels are tested against these, and what a device has no kernel
//! for goes through them.

mod adamw;
mod attention;
mod basic;
mod distillation;
mod divergence;
mod product;

pub use adamw::adamw_step;
pub use attention::causal_attention;
pub use basic::{embed, linear, linear_add, rms_norm, swiglu};
pub use distillation::{distillation_loss, measure};
