//! The optimizer's step and the norm of gradients, without a word to the host, and over many vectors in one
//! launch.

use burn::backend::Cube;
use burn_cubecl::cubecl;
use burn_cubecl::ops::into_data_sync;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::{SCRATCH, cube_sum};
use super::tensor::{UNITS, blank_f32, contiguous, cubes};
use crate::kernels::adamw_spec::AdamW;
use crate::kernels::contract::GradientScale;

/// Partial sums of each vector's squares.
const SHARES: usize = 256;
/// Numbers that a cube updates.
const PIECE: usize = 4 * UNITS as usize;
/// Vectors of a launch at most: the kernel has its lines once for each, and their addresses are its
/// arguments.
const VECTORS: usize = 96;
/// Buffers of a launch besides those of vectors: the norm or the sums, and what CubeCL passes numbers in.
const OTHER_BUFFERS: usize = 4;

/// Vectors of a launch that has so many buffers for each.
fn vectors_at_once(like: &CubeTensor, buffers: usize) -> usize {
    let bindings = like.client.properties().hardware.max_bindings as usize;
    (bindings.saturating_sub(OTHER_BUFFERS) / buffers).clamp(1, VECTORS)
}

/// `SHARES` cubes for each vector; each sums the squares of every `SHARES`-th piece.
#[cube(launch)]
fn add_squares(
    vectors: &Sequence<Box<[f32]>>,
    lengths: &Sequence<usize>,
    shares: &mut [f32],
    first: usize,
    #[comptime] count: usize,
) {
    let mut scratch = Shared::new_slice(SCRATCH);
    let which = CUBE_POS / comptime!(SHARES);
    let share = CUBE_POS % comptime!(SHARES);
    let mut sum = f32::new(0.0);
    #[unroll]
    for vector in 0..count {
        if which == vector {
            let mut i = share * CUBE_DIM as usize + UNIT_POS as usize;
            let vector_of = vectors.index(vector);
            while i < lengths[vector] {
                let value = vector_of[i];
                sum += value * value;
                i += comptime!(SHARES) * CUBE_DIM as usize;
            }
        }
    }
    let sum = cube_sum(sum, &mut scratch);
    if UNIT_POS == 0 && which < count {
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
    into_data_sync(square_shares(vec![vector])).iter::<f32>().map(f64::from).sum()
}

/// Partial sums of x², `SHARES` for each vector.
fn square_shares(vectors: Vec<CubeTensor>) -> CubeTensor {
    let vectors: Vec<CubeTensor> = vectors.into_iter().map(contiguous).collect();
    let shares = blank_f32(&vectors[0], [vectors.len() * SHARES]);
    let at_once = vectors_at_once(&shares, 1);
    for (group, vectors) in vectors.chunks(at_once).enumerate() {
        add_squares::launch(
            &shares.client,
            cubes(vectors.len() * SHARES),
            CubeDim::new_1d(UNITS),
            vectors.iter().map(|vector| vector.clone().into_buffer_arg()).collect(),
            lengths(vectors),
            shares.clone().into_buffer_arg(),
            group * at_once * SHARES,
            vectors.len(),
        );
    }
    shares
}

fn lengths(vectors: &[CubeTensor]) -> SequenceArg<usize> {
    vectors.iter().map(|vector| vector.meta.num_elements()).collect()
}

/// The root of Σ x² over all vectors, `[1]`.
pub fn norm(vectors: Vec<CubeTensor>) -> CubeTensor {
    let shares = square_shares(vectors);
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

/// Each vector's pieces are the work of the cubes after those of the vector before.
#[cube(launch)]
fn update(
    parameters: &mut Sequence<Box<[f32]>>,
    gradients: &Sequence<Box<[f32]>>,
    firsts: &mut Sequence<Box<[f32]>>,
    seconds: &mut Sequence<Box<[f32]>>,
    lengths: &Sequence<usize>,
    norm: &[f32],
    numbers: Numbers,
    #[comptime] count: usize,
    #[comptime] clips: bool,
) {
    let mut scale = numbers.scale;
    if comptime!(clips) {
        scale = (scale / (norm[0] + numbers.clip_epsilon)).min(f32::new(1.0));
    }
    let mut cube = CUBE_POS;
    #[unroll]
    for vector in 0..count {
        let n = lengths[vector];
        let pieces = n.div_ceil(comptime!(PIECE));
        if cube < pieces {
            let (parameter, gradient) = (parameters.index_mut(vector), gradients.index(vector));
            let (first, second) = (firsts.index_mut(vector), seconds.index_mut(vector));
            let mut i = cube * comptime!(PIECE) + UNIT_POS as usize;
            let end = n.min((cube + 1) * comptime!(PIECE));
            while i < end {
                let slope = gradient[i] * scale;
                let mean = first[i] * numbers.beta1 + slope * numbers.rest1;
                let square = second[i] * numbers.beta2 + slope * slope * numbers.rest2;
                first[i] = mean;
                second[i] = square;
                let root = square.sqrt() * numbers.root_correction + numbers.epsilon;
                parameter[i] = parameter[i] * numbers.kept - mean / root * numbers.rate;
                i += CUBE_DIM as usize;
            }
            terminate!();
        }
        cube -= pieces;
    }
}

/// A tensor that may be written to: itself where nobody else holds it, else a copy.
fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// One step, in place where nobody else holds the tensors: parameters, first and second moments.
pub fn step(
    parameters: Vec<CubeTensor>,
    gradients: Vec<CubeTensor>,
    [firsts, seconds]: [Vec<CubeTensor>; 2],
    scale: GradientScale<Cube>,
    adamw: &AdamW,
) -> (Vec<CubeTensor>, Vec<CubeTensor>, Vec<CubeTensor>) {
    let gradients: Vec<CubeTensor> = gradients.into_iter().map(contiguous).collect();
    let [parameters, firsts, seconds] =
        [parameters, firsts, seconds].map(|tensors| tensors.into_iter().map(owned).collect::<Vec<_>>());
    // A known scale goes where the limit does; the norm, which is then not read, needs a buffer all the same.
    let (clips, limit, clip_epsilon, norm) = match scale {
        GradientScale::By(scale) => (false, scale, 0.0, blank_f32(&gradients[0], [1])),
        GradientScale::Down { norm, limit, epsilon } => (true, limit, epsilon, contiguous(norm)),
    };
    let at_once = vectors_at_once(&norm, 4);
    let mut from = 0;
    while from < parameters.len() {
        let group = from..parameters.len().min(from + at_once);
        from = group.end;
        let pieces =
            parameters[group.clone()].iter().map(|tensor| tensor.meta.num_elements().div_ceil(PIECE));
        let buffers = |tensors: &[CubeTensor]| {
            tensors[group.clone()].iter().map(|tensor| tensor.clone().into_buffer_arg()).collect()
        };
        update::launch(
            &norm.client,
            cubes(pieces.sum()),
            CubeDim::new_1d(UNITS),
            buffers(&parameters),
            buffers(&gradients),
            buffers(&firsts),
            buffers(&seconds),
            lengths(&parameters[group.clone()]),
            norm.clone().into_buffer_arg(),
            numbers(adamw, limit, clip_epsilon),
            group.len(),
            clips,
        );
    }
    (parameters, firsts, seconds)
}

fn numbers(adamw: &AdamW, scale: f64, clip_epsilon: f64) -> NumbersLaunch {
    let exponent = i32::try_from(adamw.step).unwrap_or(i32::MAX);
    let correction = |beta: f64| 1.0 - beta.powi(exponent);
    NumbersLaunch::new(
        (1.0 - adamw.learning_rate * adamw.weight_decay) as f32,
        adamw.beta1 as f32,
        (1.0 - adamw.beta1) as f32,
        adamw.beta2 as f32,
        (1.0 - adamw.beta2) as f32,
        (1.0 / correction(adamw.beta2).sqrt()) as f32,
        (adamw.learning_rate / correction(adamw.beta1)) as f32,
        adamw.epsilon as f32,
        scale as f32,
        clip_epsilon as f32,
    )
}
