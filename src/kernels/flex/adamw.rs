//! The optimizer's step and the norm of gradients.

use burn_flex::FlexTensor;

use super::tensor::{contiguous, isa, numbers, owned};
use crate::kernels::AdamW;
use crate::kernels::cpu::adamw::{AdamW as Settings, Parameter, squared_norm};

/// Σ x².
pub fn sum_of_squares(vector: FlexTensor) -> f64 {
    squared_norm(isa(), numbers(&contiguous(vector)))
}

/// One step, in place where nobody else holds the tensors: parameter, first and second moments.
pub fn step(
    parameter: FlexTensor,
    gradient: FlexTensor,
    first: FlexTensor,
    second: FlexTensor,
    scale: f64,
    adamw: &AdamW,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let gradient = contiguous(gradient);
    let (mut parameter, mut first, mut second) = (owned(parameter), owned(first), owned(second));
    let settings = Settings {
        learning_rate: adamw.learning_rate,
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        epsilon: adamw.epsilon,
        weight_decay: adamw.weight_decay,
    };
    let of = Parameter {
        value: parameter.storage_mut(),
        gradient: numbers(&gradient),
        first: first.storage_mut(),
        second: second.storage_mut(),
        decays: true,
    };
    settings.step(isa(), adamw.step, scale, &mut [of]);
    (parameter, first, second)
}
