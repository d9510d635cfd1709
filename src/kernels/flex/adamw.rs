//! The optimizer's step and the norm of gradients.

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::tensor::{contiguous, isa, numbers, owned, tensor};
use crate::kernels::adamw_spec::AdamW;
use crate::kernels::contract::GradientScale;
use crate::kernels::cpu::adamw::{AdamW as Settings, Parameter, squared_norm};

/// Σ x².
pub fn sum_of_squares(vector: FlexTensor) -> f64 {
    squared_norm(isa(), numbers(&contiguous(vector)))
}

/// The root of the sum of the squares of all vectors, `[1]`.
pub fn norm(vectors: Vec<FlexTensor>) -> FlexTensor {
    let sum: f64 = vectors.into_iter().map(sum_of_squares).sum();
    tensor(vec![sum.sqrt() as f32], [1])
}

/// One step, in place where nobody else holds the tensors: parameters, first and second moments.
pub fn step(
    parameters: Vec<FlexTensor>,
    gradients: Vec<FlexTensor>,
    [firsts, seconds]: [Vec<FlexTensor>; 2],
    scale: GradientScale<Flex>,
    adamw: &AdamW,
) -> (Vec<FlexTensor>, Vec<FlexTensor>, Vec<FlexTensor>) {
    let scale = match scale {
        GradientScale::By(scale) => scale,
        GradientScale::Down { norm, limit, epsilon } => {
            let norm = numbers(&contiguous(norm)).first().copied().map_or(0.0, f64::from);
            (limit / (norm + epsilon)).min(1.0)
        }
    };
    let settings = Settings {
        learning_rate: adamw.learning_rate,
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        epsilon: adamw.epsilon,
        weight_decay: adamw.weight_decay,
    };
    let gradients: Vec<FlexTensor> = gradients.into_iter().map(contiguous).collect();
    let owned = |tensors: Vec<FlexTensor>| tensors.into_iter().map(owned).collect::<Vec<_>>();
    let (mut parameters, mut firsts, mut seconds) = (owned(parameters), owned(firsts), owned(seconds));
    let moments = firsts.iter_mut().zip(&mut seconds);
    let each = parameters.iter_mut().zip(&gradients).zip(moments);
    let mut each: Vec<Parameter> = each
        .map(|((value, gradient), (first, second))| Parameter {
            value: value.storage_mut(),
            gradient: numbers(gradient),
            first: first.storage_mut(),
            second: second.storage_mut(),
            decays: true,
        })
        .collect();
    settings.step(isa(), adamw.step, scale, &mut each);
    (parameters, firsts, seconds)
}
