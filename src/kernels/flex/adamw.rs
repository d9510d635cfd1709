//! The optimizer's step and the norm of gradients.

use burn::backend::Flex;
use burn_flex::FlexTensor;

use super::tensor::{contiguous, isa, numbers, numbers_mut, owned, tensor};
use crate::kernels::AdamW;
use crate::kernels::cpu::adamw::{AdamW as Settings, Parameter, squared_norm};
use crate::kernels::extension::{GradientScale, SHARES};

/// Σ x².
pub fn sum_of_squares(vector: FlexTensor) -> f64 {
    squared_norm(isa(), numbers(&contiguous(vector)))
}

/// [`sum_of_squares`] as the first of the shares of a vector, which are one after another from `place` on.
pub fn square_shares(vector: FlexTensor, shares: FlexTensor, place: usize) -> FlexTensor {
    let mut shares = owned(shares);
    let own = &mut numbers_mut(&mut shares)[place..place + SHARES];
    own.fill(0.0);
    own[0] = sum_of_squares(vector) as f32;
    shares
}

/// The root of the sum of all shares, `[1]`.
pub fn root_of_sum(shares: FlexTensor) -> FlexTensor {
    let sum: f64 = numbers(&contiguous(shares)).iter().map(|&share| f64::from(share)).sum();
    tensor(vec![sum.sqrt() as f32], [1])
}

/// One step, in place where nobody else holds the tensors: parameter, first and second moments.
pub fn step(
    parameter: FlexTensor,
    gradient: FlexTensor,
    first: FlexTensor,
    second: FlexTensor,
    scale: GradientScale<Flex>,
    adamw: &AdamW,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let scale = match scale {
        GradientScale::By(scale) => scale,
        GradientScale::Down { norm, limit, epsilon } => {
            let norm = numbers(&contiguous(norm)).first().copied().map_or(0.0, f64::from);
            (limit / (norm + epsilon)).min(1.0)
        }
    };
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
