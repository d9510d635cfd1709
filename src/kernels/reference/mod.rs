//! Every kernel in plain tensors: what it is, in operations that all of Burn's backends have and that
//! are differentiable by themselves. The kernels are tested against these, and devices without kernels of
//! their own run them.

mod adamw;
mod attention;
mod basic;
mod product;
mod distillation;
mod divergence;

pub use adamw::adamw_step;
pub use attention::causal_attention;
pub use basic::{embed, linear, linear_add, rms_norm, swiglu};
pub use distillation::{distillation_loss, measure};
