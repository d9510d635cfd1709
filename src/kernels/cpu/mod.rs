//! Kernels for the CPU: functions over slices.
//!
//! Each takes the instruction set to run on ([`isa::Isa`]), runs in parallel on the current rayon pool, and
//! gives the same bits whatever the number of threads: work is cut by the sizes of its operands alone, and
//! every sum has a fixed order. (Different instruction sets may differ in the last bits.)

pub mod adamw;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(all(test, target_arch = "x86_64"))]
mod amx_tests;
pub mod attention;
pub mod buffer;
mod call;
pub mod embedding;
pub mod gemm;
#[cfg(test)]
mod gemm_tests;
pub mod isa;
pub mod loss;
pub mod matrix;
mod micro;
pub mod norm;
pub mod pack;
pub mod rotary;
pub mod scratch;
mod simd;
mod simd_fn;
#[cfg(target_arch = "x86_64")]
mod simd_x86;
pub mod swiglu;
#[cfg(test)]
mod test_support;
#[cfg(target_arch = "x86_64")]
mod transpose;
pub mod vector;

pub use crate::kernels::precision::Precision;
pub use gemm::{gemm, gemm_each, gemm_packed};
pub use isa::{Isa, IsaError, Level};
pub use matrix::{Element, MatMut, MatRef};
pub use pack::PackedMatrix;

/// Gives memory that kernels keep for the next time back to the system: after a piece of work that needs
/// more than what follows. Threads of the current rayon pool give back theirs.
pub fn release_memory() {
    buffer::release();
    rayon::broadcast(|_| scratch::release());
}
