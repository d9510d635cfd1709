//! How fast a device other than the processor multiplies matrices.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Distribution, Tensor};

use super::clock::{fastest, wait};
use super::error::BenchError;
use super::peak::{BurnProduct, MatrixProduct};
use crate::kernels::{Precision, Products, linear};

/// Rows and columns of the square matrices, at least and at most.
const SIZES: std::ops::RangeInclusive<usize> = 256..=8192;
/// A product of the largest matrices that are tried takes less than this.
const LONGEST: Duration = Duration::from_millis(20);

/// Speeds of the products that training makes and of Burn's own, with matrices of random numbers that are as
/// large as the device multiplies in a moment.
pub(super) fn matrix_products(device: &Device) -> Result<(MatrixProduct, BurnProduct), BenchError> {
    let size = size(device)?;
    let speed = |call: &mut dyn FnMut()| -> Result<f64, BenchError> {
        Ok(2.0 * (size as f64).powi(3) / fastest(device, call)? / 1e9)
    };
    let (a, b) = (matrix(size, device), matrix(size, device));
    let half = device
        .supports_dtype(DType::BF16)
        .then(|| (a.clone().cast(DType::BF16), b.clone().cast(DType::BF16)));
    // Without the type, training rounds single precision to it, and so do these.
    let (a_half, b_half) = half.clone().unwrap_or_else(|| (a.clone(), b.clone()));
    let product = MatrixProduct {
        fp32: speed(&mut || drop(black_box(multiply(&a, &b, Precision::F32))))?,
        bf16: speed(&mut || drop(black_box(multiply(&a_half, &b_half, Precision::Bf16))))?,
    };
    let burn = BurnProduct {
        fp32: speed(&mut || drop(black_box(a.clone().matmul(b.clone()))))?,
        bf16: half.map(|(a, b)| speed(&mut || drop(black_box(a.clone().matmul(b.clone()))))).transpose()?,
    };
    Ok((product, burn))
}

fn matrix(size: usize, device: &Device) -> Tensor<2> {
    Tensor::random([size, size], Distribution::Uniform(-1.0, 1.0), device)
}

/// `a · bᵀ`, as a layer makes it.
fn multiply(a: &Tensor<2>, b: &Tensor<2>, precision: Precision) -> Tensor<2> {
    linear(a.clone(), [b.clone()], &Products { precision, packed: None })
}

/// The largest power of two in range whose product in single precision, which one kernel makes at any size,
/// takes no longer than it may.
fn size(device: &Device) -> Result<usize, BenchError> {
    let mut size = *SIZES.start();
    while size < *SIZES.end() {
        let (a, b) = (matrix(size, device), matrix(size, device));
        let mut time = Duration::ZERO;
        // The first one is compiled.
        for _ in 0..2 {
            wait(device)?;
            let start = Instant::now();
            let product = multiply(&a, &b, Precision::F32);
            wait(device)?;
            time = start.elapsed();
            drop(product);
        }
        // Twice the size takes eight times as long.
        if time * 8 > LONGEST {
            break;
        }
        size *= 2;
    }
    Ok(size)
}
