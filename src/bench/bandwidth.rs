//! How fast memory is: bytes read and bytes written, together, by a large copy.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use rayon::prelude::*;

use super::clock::fastest;
use super::error::BenchError;

/// Bytes of each array on the processor: beyond the caches of all but the largest.
const PROCESSOR_BYTES: usize = 256 << 20;
/// Numbers that a thread copies at once.
const TASK: usize = 1 << 16;
/// Copies to make at least, after one that brings in the pages.
const LEAST_COPIES: usize = 3;
/// How long to look for the best.
const TIME: Duration = Duration::from_millis(500);

/// Bytes of each array on another device: what every Vulkan device can bind.
const DEVICE_BYTES: usize = 64 << 20;
/// Arrays that are read in turn, and as many that are written, so that no cache holds what comes next.
const ARRAYS: usize = 8;

/// GB/s of the fastest of several copies by all threads of the current rayon pool, with ordinary stores.
pub(super) fn of_processor() -> f64 {
    let n = PROCESSOR_BYTES / size_of::<f32>();
    let (from, mut to) = (vec![1.0_f32; n], vec![0.0_f32; n]);
    let mut copy = || {
        let start = Instant::now();
        to.par_chunks_mut(TASK).zip(from.par_chunks(TASK)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
        start.elapsed().as_secs_f64()
    };
    copy();
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    let mut copies = 0;
    while copies < LEAST_COPIES || begin.elapsed() < TIME {
        best = best.min(copy());
        copies += 1;
    }
    2.0 * PROCESSOR_BYTES as f64 / best / 1e9
}

/// GB/s of Burn's product of a vector and a number: each number is read once and written once.
pub(super) fn of_device(device: &Device) -> Result<f64, BenchError> {
    let n = DEVICE_BYTES / size_of::<f32>();
    let random = || Tensor::<1>::random([n], Distribution::Uniform(-1.0, 1.0), device);
    let from: Vec<Tensor<1>> = (0..ARRAYS).map(|_| random()).collect();
    let mut to: Vec<Tensor<1>> = from.clone();
    let seconds = fastest(device, || {
        for (to, from) in to.iter_mut().zip(&from) {
            *to = from.clone() * 1.5;
        }
    })?;
    Ok(2.0 * (ARRAYS * DEVICE_BYTES) as f64 / seconds / 1e9)
}
