//! AdamW (Loshchilov & Hutter, arXiv 1711.05101) as `torch.optim.AdamW` computes it, with clipping by the
//! global norm, in one pass over gradients (the norm) and one over everything.

use super::isa::Isa;
use super::matrix::Shared;
use super::simd::Simd;
use super::simd_fn::simd_fn;
use super::vector::sum_of_squares;
use rayon::prelude::*;

/// Numbers that a task takes.
const TASK: usize = 1 << 14;

/// The settings of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// One parameter with its gradient and state, all of the same length.
pub struct Parameter<'a> {
    /// The parameter.
    pub value: &'a mut [f32],
    /// Its gradient.
    pub gradient: &'a [f32],
    /// The running mean of gradients.
    pub first: &'a mut [f32],
    /// The running mean of their squares.
    pub second: &'a mut [f32],
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// Σ g² of a gradient; blocks are summed in f64, in their order.
pub fn squared_norm(isa: Isa, gradient: &[f32]) -> f64 {
    let parts: Vec<f64> = gradient.par_chunks(TASK).map(|part| sum_of_squares(isa, part)).collect();
    parts.iter().sum()
}

/// What gradients of this norm are to be multiplied by so that it is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` does it.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

impl AdamW {
    /// Step number `step` (the first is 1), with gradients multiplied by `factor`.
    pub fn step(&self, isa: Isa, step: u64, factor: f64, parameters: &mut [Parameter]) {
        let t = step as f64;
        let (correction1, correction2) = (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t));
        let factors = |decays: bool| Factors {
            gradient: factor as f32,
            keep: if decays { (1.0 - self.learning_rate * self.weight_decay) as f32 } else { 1.0 },
            one_minus_beta1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            inverse_root: (1.0 / correction2.sqrt()) as f32,
            epsilon: self.epsilon as f32,
            size: (self.learning_rate / correction1) as f32,
        };
        let tasks: Vec<_> = parameters
            .iter_mut()
            .flat_map(|p| {
                let len = p.value.len();
                assert!(
                    [p.gradient.len(), p.first.len(), p.second.len()] == [len; 3],
                    "AdamW of other shapes"
                );
                let state = [Shared::new(p.value), Shared::new(p.first), Shared::new(p.second)];
                let (gradient, factors) = (p.gradient, factors(p.decays));
                (0..len)
                    .step_by(TASK)
                    .map(move |from| (state, &gradient[from..len.min(from + TASK)], from, factors))
            })
            .collect();
        tasks.into_par_iter().for_each(|([value, first, second], gradient, from, factors)| {
            let len = gradient.len();
            // SAFETY: each task has its own part of each slice, borrowed until the end of the step.
            let parts = unsafe { (value.slice(from, len), first.slice(from, len), second.slice(from, len)) };
            update(isa, parts.0, gradient, parts.1, parts.2, factors);
        });
    }
}

#[derive(Clone, Copy)]
struct Factors {
    gradient: f32,
    keep: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    inverse_root: f32,
    epsilon: f32,
    size: f32,
}

/// (value, first, second) after the step.
#[inline(always)]
fn lanes<S: Simd>(s: S, value: S::V, gradient: S::V, first: S::V, second: S::V, f: &Factors) -> [S::V; 3] {
    let g = s.mul(gradient, s.splat(f.gradient));
    let first = s.fma(s.sub(g, first), s.splat(f.one_minus_beta1), first);
    let second = s.fma(s.mul(g, g), s.splat(f.one_minus_beta2), s.mul(second, s.splat(f.beta2)));
    let root = s.fma(s.sqrt(second), s.splat(f.inverse_root), s.splat(f.epsilon));
    let kept = s.mul(value, s.splat(f.keep));
    [s.fnma(s.splat(f.size), s.div(first, root), kept), first, second]
}

simd_fn! {
    fn update<S>(s, value: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], f: Factors) {
        let chunks = value.chunks_mut(S::LANES).zip(gradient.chunks(S::LANES));
        let state = first.chunks_mut(S::LANES).zip(second.chunks_mut(S::LANES));
        for ((value, gradient), (first, second)) in chunks.zip(state) {
            if value.len() == S::LANES {
                let new = lanes(s, s.load(value), s.load(gradient), s.load(first), s.load(second), &f);
                s.store(new[0], value);
                s.store(new[1], first);
                s.store(new[2], second);
            } else {
                let part = |x: &[f32]| s.load_part(x, 0.0);
                let new = lanes(s, part(value), part(gradient), part(first), part(second), &f);
                s.store_part(new[0], value);
                s.store_part(new[1], first);
                s.store_part(new[2], second);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{noise, on_threads};
    use super::*;

    const SETTINGS: AdamW =
        AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

    #[test]
    fn follows_the_definition_over_many_steps() {
        let lens = [0, 1, 17, 40_001];
        for isa in Isa::available() {
            let mut state: Vec<[Vec<f32>; 3]> =
                lens.iter().map(|&len| [noise(len as u64, len), vec![0.0; len], vec![0.0; len]]).collect();
            let mut wide: Vec<[Vec<f64>; 3]> =
                state.iter().map(|x| x.clone().map(|x| x.iter().map(|&x| x.into()).collect())).collect();
            for step in 1..=12_u64 {
                let gradients: Vec<Vec<f32>> =
                    lens.iter().map(|&len| noise(step * 31 + len as u64, len)).collect();
                let views: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
                let norm = |views: &[&[f32]]| views.iter().map(|g| squared_norm(isa, g)).sum::<f64>().sqrt();
                let again = norm(&views);
                let norm = on_threads(2, || norm(&views));
                let exact = gradients.iter().flatten().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                assert!((norm - exact).abs() <= 1e-7 * exact);
                assert_eq!(norm, again);
                let factor = clip_factor(norm, 1.0);
                assert!((factor * norm - 1.0).abs() < 1e-5 && clip_factor(0.5, 1.0) == 1.0);
                let mut parameters: Vec<Parameter> = state
                    .iter_mut()
                    .zip(&gradients)
                    .enumerate()
                    .map(|(i, ([value, first, second], gradient))| Parameter {
                        value,
                        gradient,
                        first,
                        second,
                        decays: i != 2,
                    })
                    .collect();
                SETTINGS.step(isa, step, factor, &mut parameters);
                for (i, ([value, first, second], gradient)) in wide.iter_mut().zip(&gradients).enumerate() {
                    for j in 0..value.len() {
                        let g = f64::from(gradient[j]) * factor;
                        if i != 2 {
                            value[j] *= 1.0 - 1e-2 * 0.1;
                        }
                        first[j] = 0.9 * first[j] + 0.1 * g;
                        second[j] = 0.999 * second[j] + 0.001 * g * g;
                        let root = (second[j] / (1.0 - 0.999_f64.powi(step as i32))).sqrt();
                        value[j] -= 1e-2 / (1.0 - 0.9_f64.powi(step as i32)) * first[j] / (root + 1e-8);
                    }
                }
            }
            for (found, expected) in state.iter().flatten().flatten().zip(wide.iter().flatten().flatten()) {
                assert!(
                    (f64::from(*found) - expected).abs() <= 5e-6 * expected.abs() + 1e-6,
                    "{isa}: {found} {expected}"
                );
            }
        }
    }
}
