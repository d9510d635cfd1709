//! The optimizer's step and the norm of gradients, without a word to the host.

use burn::backend::Cube;
use burn_cubecl::cubecl;
use burn_cubecl::ops::into_data_sync;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::{SCRATCH, cube_sum};
use super::tensor::{UNITS, blank_f32, contiguous, units};
use crate::kernels::AdamW;
use crate::kernels::extension::{GradientScale, SHARES};

/// Each cube sums the squares of every `CUBE_COUNT`-th piece of a vector.
#[cube(launch)]
fn add_squares(vector: &[f32], shares: &mut [f32], n: usize, first: usize) {
    let mut scratch = Shared::new_slice(SCRATCH);
    let mut sum = f32::new(0.0);
    let mut i = ABSOLUTE_POS;
    while i < n {
        let value = vector[i];
        sum += value * value;
        i += CUBE_COUNT * CUBE_DIM as usize;
    }
    let sum = cube_sum(sum, &mut scratch);
    if UNIT_POS == 0 {
        shares[first + CUBE_POS] = sum;
    }
}

/// The root of the sum of all shares, by one cube.
#[cube(launch)]
fn add_up_and_root(shares: &[f32], norm: &mut [f32], n: usize) {
    let mut scratch = Shared::new_slice(SCRATCH);
    let mut sum = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < n {
        sum += shares[i];
        i += CUBE_DIM as usize;
    }
    let sum = cube_sum(sum, &mut scratch);
    if UNIT_POS == 0 {
        norm[0] = sum.sqrt();
    }
}

/// Σ x²; waits for the device.
pub fn sum_of_squares(vector: CubeTensor) -> f64 {
    let shares = blank_f32(&vector, [SHARES]);
    into_data_sync(square_shares(vector, shares, 0)).iter::<f32>().map(f64::from).sum()
}

/// Partial sums of x² into the shares of a vector, from `place` on.
pub fn square_shares(vector: CubeTensor, shares: CubeTensor, place: usize) -> CubeTensor {
    let (vector, shares) = (contiguous(vector), owned(shares));
    let n = vector.meta.num_elements();
    add_squares::launch(
        &shares.client,
        CubeCount::Static(SHARES as u32, 1, 1),
        CubeDim::new_1d(UNITS),
        vector.into_buffer_arg(),
        shares.clone().into_buffer_arg(),
        n,
        place,
    );
    shares
}

/// The root of the sum of all shares, `[1]`.
pub fn root_of_sum(shares: CubeTensor) -> CubeTensor {
    let shares = contiguous(shares);
    let norm = blank_f32(&shares, [1]);
    let n = shares.meta.num_elements();
    let (count, dim) = (CubeCount::Static(1, 1, 1), CubeDim::new_1d(UNITS));
    let (from, to) = (shares.into_buffer_arg(), norm.clone().into_buffer_arg());
    add_up_and_root::launch(&norm.client, count, dim, from, to, n);
    norm
}

/// The numbers of a step, as the kernel takes them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Numbers {
    kept: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// One over the root of the second moment's correction.
    root_correction: f32,
    /// Learning rate over the first moment's correction.
    rate: f32,
    epsilon: f32,
    /// What gradients are multiplied by; with clipping, the norm that is allowed.
    scale: f32,
    clip_epsilon: f32,
}

#[cube(launch)]
fn update(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    norm: &[f32],
    numbers: Numbers,
    n: usize,
    #[comptime] clips: bool,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        let mut scale = numbers.scale;
        if comptime!(clips) {
            scale = (scale / (norm[0] + numbers.clip_epsilon)).min(f32::new(1.0));
        }
        let slope = gradient[i] * scale;
        let mean = first[i] * numbers.beta1 + slope * numbers.rest1;
        let square = second[i] * numbers.beta2 + slope * slope * numbers.rest2;
        first[i] = mean;
        second[i] = square;
        let root = square.sqrt() * numbers.root_correction + numbers.epsilon;
        parameter[i] = parameter[i] * numbers.kept - mean / root * numbers.rate;
    }
}

/// A tensor that may be written to: itself where nobody else holds it, else a copy.
fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// One step, in place where nobody else holds the tensors: parameter, first and second moments.
pub fn step(
    parameter: CubeTensor,
    gradient: CubeTensor,
    first: CubeTensor,
    second: CubeTensor,
    scale: GradientScale<Cube>,
    adamw: &AdamW,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let gradient = contiguous(gradient);
    let (parameter, first, second) = (owned(parameter), owned(first), owned(second));
    let n = parameter.meta.num_elements();
    let (count, dim) = units(n);
    let exponent = i32::try_from(adamw.step).unwrap_or(i32::MAX);
    let correction = |beta: f64| 1.0 - beta.powi(exponent);
    // A known scale goes where the limit does; the norm, which is then not read, needs a buffer all the same.
    let (clips, limit, clip_epsilon, norm) = match scale {
        GradientScale::By(scale) => (false, scale, 0.0, gradient.clone()),
        GradientScale::Down { norm, limit, epsilon } => (true, limit, epsilon, contiguous(norm)),
    };
    let numbers = NumbersLaunch::new(
        (1.0 - adamw.learning_rate * adamw.weight_decay) as f32,
        adamw.beta1 as f32,
        (1.0 - adamw.beta1) as f32,
        adamw.beta2 as f32,
        (1.0 - adamw.beta2) as f32,
        (1.0 / correction(adamw.beta2).sqrt()) as f32,
        (adamw.learning_rate / correction(adamw.beta1)) as f32,
        adamw.epsilon as f32,
        limit as f32,
        clip_epsilon as f32,
    );
    update::launch(
        &parameter.client,
        count,
        dim,
        parameter.clone().into_buffer_arg(),
        gradient.into_buffer_arg(),
        first.clone().into_buffer_arg(),
        second.clone().into_buffer_arg(),
        norm.into_buffer_arg(),
        numbers,
        n,
        clips,
    );
    (parameter, first, second)
}
