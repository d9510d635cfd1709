//! One step of AdamW (Loshchilov and Hutter, 1711.05101), arithmetic as in `torch.optim.AdamW`.

use burn::tensor::Tensor;

/// The numbers of one step, the same for every parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The number of this step, from 1.
    pub step: u64,
}

/// Running means of the gradient and of its square.
#[derive(Debug, Clone)]
pub struct Moments<const D: usize> {
    /// Mean of the gradient.
    pub first: Tensor<D>,
    /// Mean of its square.
    pub second: Tensor<D>,
}

/// One step: the new parameter and the new moments (none before the first step). `gradient` is
/// multiplied by `gradient_scale` first, which is where clipping comes in. Not differentiable; all
/// tensors outside any graph.
pub fn adamw_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<Moments<D>>,
    gradient_scale: f64,
    adamw: &AdamW,
) -> (Tensor<D>, Moments<D>) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step } = *adamw;
    let gradient = if gradient_scale == 1.0 { gradient } else { gradient * gradient_scale };
    let weighted_square = gradient.clone().square() * (1.0 - beta2);
    let weighted = gradient * (1.0 - beta1);
    let moments = match moments {
        Some(Moments { first, second }) => {
            Moments { first: first * beta1 + weighted, second: second * beta2 + weighted_square }
        }
        None => Moments { first: weighted, second: weighted_square },
    };
    let exponent = i32::try_from(step).unwrap_or(i32::MAX);
    let correction1 = 1.0 - beta1.powi(exponent);
    let correction2 = 1.0 - beta2.powi(exponent);
    let root = moments.second.clone().sqrt() * (1.0 / correction2.sqrt()) + epsilon;
    let update = moments.first.clone() / root * (learning_rate / correction1);
    let decayed = if weight_decay == 0.0 { parameter } else { parameter * (1.0 - learning_rate * weight_decay) };
    (decayed - update, moments)
}
