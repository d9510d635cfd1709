//! The softmax of causal scores and its derivative: a cube for each row.

use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::operand::{Operand, operand};
use super::reduce::{LOWEST, SCRATCH, cube_max, cube_sum};
use super::tensor::{blank, cubes, row_units};

/// The weights of `scores [·, ·, seq]`, whose rows run through the positions again and again; as an operand.
/// The logarithm of each row's sum goes into `log_sums`.
pub fn causal_softmax(
    scores: &CubeTensor,
    log_sums: &CubeTensor,
    seq: usize,
    operand: Operand,
) -> CubeTensor {
    let weights = blank(scores, scores.meta.shape().clone(), operand.dtype);
    let rows = scores.meta.num_elements() / seq.max(1);
    weigh::launch(
        &scores.client,
        cubes(rows),
        row_units(seq),
        scores.clone().into_buffer_arg(),
        log_sums.clone().into_buffer_arg(),
        weights.clone().into_buffer_arg(),
        rows,
        seq,
        operand.rounds,
        operand.elem(),
    );
    weights
}

/// The same weights again, and the derivative in the scores from that in the weights; as operands.
pub fn causal_softmax_backward(
    scores: &CubeTensor,
    slopes: &CubeTensor,
    log_sums: &CubeTensor,
    seq: usize,
    operand: Operand,
) -> (CubeTensor, CubeTensor) {
    let shape = scores.meta.shape();
    let weights = blank(scores, shape.clone(), operand.dtype);
    let gradient = blank(scores, shape.clone(), operand.dtype);
    let rows = scores.meta.num_elements() / seq.max(1);
    weigh_backward::launch(
        &scores.client,
        cubes(rows),
        row_units(seq),
        scores.clone().into_buffer_arg(),
        slopes.clone().into_buffer_arg(),
        log_sums.clone().into_buffer_arg(),
        weights.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        rows,
        seq,
        operand.rounds,
        operand.elem(),
    );
    (weights, gradient)
}

#[cube(launch)]
fn weigh<G: Float>(
    scores: &[f32],
    log_sums: &mut [f32],
    weights: &mut [G],
    rows: usize,
    seq: usize,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    let first = row * seq;
    let seen = row % seq + 1;
    let step = CUBE_DIM as usize;
    let mut highest = f32::new(LOWEST);
    let mut i = UNIT_POS as usize;
    while i < seen {
        highest = highest.max(scores[first + i]);
        i += step;
    }
    let highest = cube_max(highest, &mut scratch);
    let mut sum = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < seen {
        sum += (scores[first + i] - highest).exp();
        i += step;
    }
    let log_sum = highest + cube_sum(sum, &mut scratch).ln();
    let mut i = UNIT_POS as usize;
    while i < seq {
        let mut weight = f32::new(0.0);
        if i < seen {
            weight = (scores[first + i] - log_sum).exp();
        }
        weights[first + i] = operand::<G>(weight, rounds);
        i += step;
    }
    if UNIT_POS == 0 {
        log_sums[row] = log_sum;
    }
}

#[cube(launch)]
fn weigh_backward<G: Float>(
    scores: &[f32],
    slopes: &[f32],
    log_sums: &[f32],
    weights: &mut [G],
    gradient: &mut [G],
    rows: usize,
    seq: usize,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    let first = row * seq;
    let seen = row % seq + 1;
    let step = CUBE_DIM as usize;
    let log_sum = log_sums[row];
    let mut mean = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < seen {
        mean += (scores[first + i] - log_sum).exp() * slopes[first + i];
        i += step;
    }
    let mean = cube_sum(mean, &mut scratch);
    let mut i = UNIT_POS as usize;
    while i < seq {
        let mut weight = f32::new(0.0);
        let mut slope = f32::new(0.0);
        if i < seen {
            weight = (scores[first + i] - log_sum).exp();
            slope = weight * (slopes[first + i] - mean);
        }
        weights[first + i] = operand::<G>(weight, rounds);
        gradient[first + i] = operand::<G>(slope, rounds);
        i += step;
    }
}
