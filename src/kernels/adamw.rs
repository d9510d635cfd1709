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

/// Running means of the gradient and of its square, each `[n]`.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Tensor<1>,
    /// Mean of its square.
    pub second: Tensor<1>,
}

/// One step on a parameter seen as a vector `[n]`: the new parameter and the new moments (none before
/// the first step). `gradient` is multiplied by `gradient_scale` first, which is where clipping comes
/// in. Not differentiable; all tensors outside any graph.
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

/// The sum of the squares of all elements of a vector, `[1]`. The order of the summation depends on
/// the length alone, not on the number of threads.
pub fn sum_of_squares(vector: Tensor<1>) -> Tensor<1> {
    // Burn's CPU backend splits sums of more than 4 M elements between threads as they come.
    const PIECE: usize = 1 << 20;
    let [n] = vector.dims();
    let piece = |first: usize| vector.clone().narrow(0, first, PIECE.min(n - first)).square().sum();
    let zero = Tensor::zeros([1], &vector.device());
    (0..n).step_by(PIECE).map(piece).fold(zero, |sum, piece| sum + piece)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn vector(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    #[test]
    fn steps_follow_the_published_recurrence() {
        // Written out in double precision: decay, moments, their corrections, the step.
        let adamw = |step| AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.5,
            step,
        };
        let (mut p, mut m, mut v) = (2.0f64, 0.0f64, 0.0f64);
        let (mut parameter, mut moments) = (vector(&[2.0]), None);
        for (step, gradient) in (1..).zip([3.0f64, -1.0, 0.25]) {
            let clipped = gradient * 0.5;
            p *= 1.0 - 0.1 * 0.5;
            m = 0.9 * m + 0.1 * clipped;
            v = 0.99 * v + 0.01 * clipped * clipped;
            p -= 0.1 * (m / (1.0 - 0.9f64.powi(step))) / ((v / (1.0 - 0.99f64.powi(step))).sqrt() + 1e-8);
            let (next, state) =
                adamw_step(parameter, vector(&[gradient as f32]), moments, 0.5, &adamw(step as u64));
            (parameter, moments) = (next, Some(state));
            let found = f64::from(parameter.clone().into_scalar::<f32>());
            assert!((found - p).abs() < 1e-6 * p.abs(), "step {step}: {found} for {p}");
        }
    }

    #[test]
    fn squares_of_a_long_vector_are_summed_in_pieces() {
        let n = (1 << 20) + 3;
        let sum = sum_of_squares(Tensor::full([n], 2.0, &Device::flex())).into_scalar::<f32>();
        assert_eq!(sum, 4.0 * n as f32);
        assert_eq!(sum_of_squares(vector(&[])).into_scalar::<f32>(), 0.0);
    }
}
