//! How fast this machine multiplies matrices, with the kernel that training uses.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::bf16;
use serde::Serialize;

use crate::kernels::cpu::{Element, Isa, MatMut, MatRef, Precision, gemm};

/// Rows and columns of the square matrices: far beyond what packing them costs, and short enough to be
/// run many times.
const SIZE: usize = 1024;
/// Products to run at least.
const LEAST_PRODUCTS: usize = 5;
/// How long to look for the best.
const TIME: Duration = Duration::from_millis(500);

/// Speed of a large matrix product over all threads, GFLOP/s: what each part of a step is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MatrixProduct {
    /// Of 32-bit floats.
    pub fp32: f64,
    /// Of bfloat16 numbers, summed in 32-bit floats.
    pub bf16: f64,
}

/// Speed of Burn's own product of large matrices, GFLOP/s.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BurnProduct {
    /// Of 32-bit floats; operands may be rounded to fewer bits (TF32) on the way.
    pub fp32: f64,
    /// Of bfloat16 numbers, into bfloat16; none where the device has no such type.
    pub bf16: Option<f64>,
}

impl MatrixProduct {
    /// Measures both.
    pub(super) fn measure(isa: Isa) -> Self {
        Self {
            fp32: matrix_product_gflops(isa, Precision::F32),
            bf16: matrix_product_gflops(isa, Precision::Bf16),
        }
    }
}

/// GFLOP/s of the fastest of several products of 1024 × 1024 matrices in the current rayon pool,
/// packing included.
pub fn matrix_product_gflops(isa: Isa, precision: Precision) -> f64 {
    match precision {
        Precision::F32 => fastest::<f32>(isa, precision),
        Precision::Bf16 => fastest::<bf16>(isa, precision),
    }
}

fn fastest<E: Element>(isa: Isa, precision: Precision) -> f64 {
    let (a, b) = (vec![E::from_f32(0.5); SIZE * SIZE], vec![E::from_f32(0.25); SIZE * SIZE]);
    let mut c = vec![0.0_f32; SIZE * SIZE];
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    let mut products = 0;
    while products < LEAST_PRODUCTS || begin.elapsed() < TIME {
        let start = Instant::now();
        let (a, b) = (MatRef::new(&a, SIZE, SIZE), MatRef::new(&b, SIZE, SIZE));
        gemm(isa, precision, 1.0, a, b, 0.0, MatMut::new(&mut c, SIZE, SIZE));
        best = best.min(start.elapsed().as_secs_f64());
        black_box(&c);
        products += 1;
    }
    2.0 * (SIZE * SIZE * SIZE) as f64 / best / 1e9
}
