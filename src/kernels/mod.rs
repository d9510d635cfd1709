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
//! extension     the operations as an extension of Burn's backends
//! flex          … on Burn's CPU backend
//! cube          … on its GPU backend, with the kernels for it
//! cpu           kernels over slices, for each instruction set
//! reference     … in plain tensors
//! ```
//!
//! Rows are flat: the hidden states of a batch are `[batch * sequence, hidden]`, because a batched
//! product with a shared weight would compute one weight gradient for each sequence.

mod adamw;
pub mod cpu;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod cube;
mod distillation;
mod extension;
mod flex;
mod ops;
pub mod reference;
mod rotary;

use burn::backend::DispatchDevice;
use burn::tensor::Device;

pub use adamw::{AdamW, GradientScale, Moments, Norm, Parameter, adamw_step, sum_of_squares};
pub use cpu::Precision;
pub use distillation::{
    Distillation, Divergence, KeptHead, Losses, Measured, Projection, Taught, TeacherMeasured, TopK,
    distillation_loss, measure,
};
pub use flex::linear::{Packed, Products};
pub use flex::loss::{HeadProducts, PackedHead};
pub use ops::{Heads, causal_attention, embed, linear, linear_add, rms_norm, swiglu};
pub use rotary::RotaryTable;

/// Numbers of a piece of work that a GPU writes and reads again at once: 64 MiB in single precision, near what the
/// cache of a large one holds, and enough to keep it busy.
pub const GPU_PIECE: usize = 1 << 24;

/// Whether tensors of a device are in the processor's memory: its kernels pack weights, and know what they
/// computed at once.
pub fn is_processor(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(_) => is_processor(&device.clone().without_autodiff()),
        #[allow(unreachable_patterns, reason = "there are other devices only with features for GPUs")]
        _ => false,
    }
}
