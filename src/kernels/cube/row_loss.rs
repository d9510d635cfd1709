//! What one row of logits has for a loss, and its gradient: a cube for each row.
//!
//! A row is read three times: for both softmaxes, their largest logit found on the way; for the value of the
//! divergence and what its gradient is centred by; for the gradient, which becomes an operand of the products
//! that follow. Between those it stays in the device's cache.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use super::divergence::{Token, compare};
use super::operand::operand;
use super::reduce::{LOWEST, SCRATCH, cube_max, cube_sum};
use crate::kernels::loss_spec::Divergence;

/// The numbers of a loss.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Numbers {
    /// One over the temperature.
    inverse_temperature: f32,
    /// The divergence's number.
    weight: f32,
    /// What the cross-entropy's gradient in the logits is multiplied by.
    hard_slope: f32,
    /// The same of the divergence, in the logits over the temperature.
    soft_slope: f32,
}

/// How a row's logits become probabilities.
#[derive(CubeType, Clone, Copy)]
struct Softmax {
    highest: f32,
    /// Logarithm of the sum of `exp(logit - highest)`.
    log_sum: f32,
    /// The same at the temperature.
    warm_log_sum: f32,
}

/// One pass: whenever a unit meets a larger logit, its sums shrink to fit.
#[cube]
fn softmax(
    logits: &[f32],
    first: usize,
    inverse_temperature: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] vocab: usize,
    #[comptime] is_warm: bool,
) -> Softmax {
    let mut highest = f32::new(LOWEST);
    let mut sum = f32::new(0.0);
    let mut warm_sum = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let logit = logits[first + i];
        if logit > highest {
            let down = highest - logit;
            sum = sum * down.exp() + f32::new(1.0);
            if comptime!(is_warm) {
                warm_sum = warm_sum * (down * inverse_temperature).exp() + f32::new(1.0);
            }
            highest = logit;
        } else {
            let down = logit - highest;
            sum += down.exp();
            if comptime!(is_warm) {
                warm_sum += (down * inverse_temperature).exp();
            }
        }
        i += CUBE_DIM as usize;
    }
    let of_row = cube_max(highest, scratch);
    let down = highest - of_row;
    let log_sum = cube_sum(sum * down.exp(), scratch).ln();
    let mut warm_log_sum = log_sum;
    if comptime!(is_warm) {
        warm_log_sum = cube_sum(warm_sum * (down * inverse_temperature).exp(), scratch).ln();
    }
    Softmax { highest: of_row, log_sum, warm_log_sum }
}

/// Losses of rows of logits, `[rows, vocab]` of the student and `[rows, taught]` of the teacher, and the
/// gradient in the student's. The rows are those of `targets`, `hard` and `soft` from `start` on.
#[cube(launch)]
pub fn row_losses<G: Float>(
    student: &[f32],
    teacher: &[f32],
    targets: &[i32],
    hard: &mut [f32],
    soft: &mut [f32],
    gradient: &mut [G],
    numbers: Numbers,
    start: usize,
    rows: usize,
    #[comptime] vocab: usize,
    #[comptime] taught: usize,
    #[comptime] divergence: Option<Divergence<()>>,
    #[comptime] is_warm: bool,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    let (s, t) = (row * vocab, row * taught);
    let step = CUBE_DIM as usize;
    let inverse = numbers.inverse_temperature;
    let own = softmax(student, s, inverse, &mut scratch, vocab, is_warm);

    // What is known of the teacher only where there is one.
    let mut teacher_highest = f32::new(0.0);
    let mut teacher_log_sum = f32::new(0.0);
    let mut value = f32::new(0.0);
    let mut pull = f32::new(0.0);
    if comptime!(divergence == Some(Divergence::LogitMse)) {
        let mut i = UNIT_POS as usize;
        while i < vocab {
            let difference = student[s + i] - teacher[t + i];
            value += difference * difference;
            i += step;
        }
        value = cube_sum(value, &mut scratch) / f32::cast_from(vocab);
    } else if comptime!(divergence.is_some()) {
        let other = softmax(teacher, t, inverse, &mut scratch, vocab, is_warm);
        teacher_highest = other.highest;
        teacher_log_sum = other.warm_log_sum;
        let mut i = UNIT_POS as usize;
        while i < vocab {
            let log_q = (student[s + i] - own.highest) * inverse - own.warm_log_sum;
            let log_p = (teacher[t + i] - teacher_highest) * inverse - teacher_log_sum;
            let term = compare(Token::new(log_p, log_q), numbers.weight, divergence);
            value += term.value;
            pull += term.pull;
            i += step;
        }
        value = cube_sum(value, &mut scratch);
        if comptime!(divergence == Some(Divergence::ForwardKl)) {
            // What the teacher's probabilities come to.
            pull = f32::new(-1.0);
        } else {
            pull = cube_sum(pull, &mut scratch);
        }
    }

    let target = usize::cast_from(targets[start + row]);
    let mut i = UNIT_POS as usize;
    while i < vocab {
        let logit = student[s + i];
        let log = logit - own.highest - own.log_sum;
        let mut of_hard = log.exp();
        if i == target {
            hard[start + row] = -log;
            soft[start + row] = value;
            of_hard -= f32::new(1.0);
        }
        let mut slope_here = of_hard * numbers.hard_slope;
        if comptime!(divergence == Some(Divergence::LogitMse)) {
            slope_here +=
                (logit - teacher[t + i]) * numbers.soft_slope * f32::new(comptime!(2.0 / vocab as f32));
        } else if comptime!(divergence.is_some()) {
            let log_q = (logit - own.highest) * inverse - own.warm_log_sum;
            let log_p = (teacher[t + i] - teacher_highest) * inverse - teacher_log_sum;
            let token = Token::new(log_p, log_q);
            let q = token.q;
            let term = compare(token, numbers.weight, divergence);
            slope_here += (term.pull - q * pull) * numbers.soft_slope;
        }
        gradient[s + i] = operand::<G>(slope_here, rounds);
        i += step;
    }
}

/// Figures of a row, as [`row_figures`] writes them: cross-entropy, whether the choice is the target,
/// divergence, whether the choices agree, the teacher's cross-entropy, whether its choice is the target.
pub const FIGURES: usize = 6;

/// The place of the first of the largest, as a number: exact, for vocabularies are below 2²⁴.
#[cube]
fn choice(
    logits: &[f32],
    first: usize,
    highest: f32,
    scratch: &mut Shared<[f32]>,
    #[comptime] vocab: usize,
) -> f32 {
    let mut best = f32::new(LOWEST);
    let mut i = UNIT_POS as usize;
    while i < vocab {
        if logits[first + i] == highest {
            best = best.max(-f32::cast_from(i as u32));
        }
        i += CUBE_DIM as usize;
    }
    -cube_max(best, scratch)
}

/// The [`FIGURES`] of rows of logits, `[rows, vocab]` of the student and `[rows, taught]` of the teacher. The
/// rows are those of `targets` and `figures` from `start` on.
#[cube(launch)]
pub fn row_figures(
    student: &[f32],
    teacher: &[f32],
    targets: &[i32],
    figures: &mut [f32],
    numbers: Numbers,
    start: usize,
    rows: usize,
    #[comptime] vocab: usize,
    #[comptime] taught: usize,
    #[comptime] divergence: Option<Divergence<()>>,
    #[comptime] has_teacher: bool,
    #[comptime] is_warm: bool,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    let (s, t) = (row * vocab, row * taught);
    let step = CUBE_DIM as usize;
    let inverse = numbers.inverse_temperature;
    let target = usize::cast_from(targets[start + row]);
    let place = f32::cast_from(target as u32);
    let own = softmax(student, s, inverse, &mut scratch, vocab, is_warm);
    let own_choice = choice(student, s, own.highest, &mut scratch, vocab);

    let mut value = f32::new(0.0);
    let mut agrees = f32::new(0.0);
    let mut teacher_hard = f32::new(0.0);
    let mut teacher_correct = f32::new(0.0);
    if comptime!(has_teacher) {
        let other = softmax(teacher, t, inverse, &mut scratch, vocab, is_warm);
        let other_choice = choice(teacher, t, other.highest, &mut scratch, vocab);
        teacher_hard = other.log_sum - (teacher[t + target] - other.highest);
        if own_choice == other_choice {
            agrees = f32::new(1.0);
        }
        if other_choice == place {
            teacher_correct = f32::new(1.0);
        }
        if comptime!(divergence.is_some()) {
            let mut i = UNIT_POS as usize;
            while i < vocab {
                if comptime!(divergence == Some(Divergence::LogitMse)) {
                    let difference = student[s + i] - teacher[t + i];
                    value += difference * difference / f32::cast_from(vocab);
                } else {
                    let log_q = (student[s + i] - own.highest) * inverse - own.warm_log_sum;
                    let log_p = (teacher[t + i] - other.highest) * inverse - other.warm_log_sum;
                    value += compare(Token::new(log_p, log_q), numbers.weight, divergence).value;
                }
                i += step;
            }
            value = cube_sum(value, &mut scratch);
        }
    }
    if UNIT_POS == 0 {
        let to = (start + row) * FIGURES;
        figures[to] = own.log_sum - (student[s + target] - own.highest);
        let mut correct = f32::new(0.0);
        if own_choice == place {
            correct = f32::new(1.0);
        }
        figures[to + 1] = correct;
        figures[to + 2] = value;
        figures[to + 3] = agrees;
        figures[to + 4] = teacher_hard;
        figures[to + 5] = teacher_correct;
    }
}

/// The mixture of the mean hard and soft losses, and both, into `losses [3]`; by one cube.
#[cube(launch)]
pub fn mean_losses(
    hard: &[f32],
    soft: &[f32],
    losses: &mut [f32],
    hard_weight: f32,
    soft_weight: f32,
    soft_scale: f32,
    rows: usize,
) {
    let mut scratch = Shared::new_slice(SCRATCH);
    let mut hard_sum = f32::new(0.0);
    let mut soft_sum = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < rows {
        hard_sum += hard[i];
        soft_sum += soft[i];
        i += CUBE_DIM as usize;
    }
    let n = f32::cast_from(rows);
    let hard = cube_sum(hard_sum, &mut scratch) / n;
    let soft = cube_sum(soft_sum, &mut scratch) / n * soft_scale;
    if UNIT_POS == 0 {
        losses[0] = hard * hard_weight + soft * soft_weight;
        losses[1] = hard;
        losses[2] = soft;
    }
}
