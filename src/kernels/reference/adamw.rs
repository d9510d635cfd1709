//! AdamW in plain tensors.

use burn::tensor::Tensor;

use crate::kernels::adamw::Moments;
use crate::kernels::adamw_spec::AdamW;

/// As [`adamw_step`](crate::kernels::adamw_step).
pub fn adamw_step(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<Moments>,
    gradient_scale: f64,
    adamw: &AdamW,
) -> (Tensor<1>, Moments) {
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
    let decayed =
        if weight_decay == 0.0 { parameter } else { parameter * (1.0 - learning_rate * weight_decay) };
    (decayed - update, moments)
}
