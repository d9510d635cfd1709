//! One step of AdamW (Loshchilov and Hutter, 1711.05101), arithmetic as in `torch.optim.AdamW`.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::adamw_spec::AdamW;
use super::contract::{self, Kernels, Vectors};
use super::device::is_processor;

/// Running means of the gradient and of its square, each `[n]`.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Tensor<1>,
    /// Mean of its square.
    pub second: Tensor<1>,
}

/// The length of a gradient.
#[derive(Debug, Clone)]
pub enum Norm {
    /// As a number.
    Known(f64),
    /// On a device that may still be computing it, `[1]`.
    OnDevice(Box<Tensor<1>>),
}

impl Norm {
    /// Of the vectors that a gradient consists of. Where the device is not the processor, nothing waits for
    /// it.
    pub fn new<'a>(vectors: impl IntoIterator<Item = &'a Tensor<1>>) -> Self {
        let mut vectors = vectors.into_iter().peekable();
        let Some(device) = vectors.peek().map(|vector| vector.device()) else { return Self::Known(0.0) };
        if is_processor(&device) {
            return Self::Known(vectors.map(|vector| sum_of_squares(vector.clone())).sum::<f64>().sqrt());
        }
        let vectors = vectors.map(|vector| vector.clone().into_dispatch()).collect();
        Self::OnDevice(Box::new(Tensor::from_dispatch(Dispatch::norm(Vectors(vectors)))))
    }

    /// The number; waits for the device.
    pub fn read(&self) -> f64 {
        match self {
            Self::Known(norm) => *norm,
            Self::OnDevice(norm) => f64::from((**norm).clone().into_scalar::<f32>()),
        }
    }
}

/// What a gradient is multiplied by before a step.
#[derive(Debug, Clone)]
pub enum GradientScale {
    /// A number.
    By(f64),
    /// `limit / (norm + epsilon)` where that is less than one, which only the device knows.
    Down {
        /// The norm, `[1]`.
        norm: Box<Tensor<1>>,
        /// The norm that is allowed.
        limit: f64,
        /// Keeps the divisor from zero.
        epsilon: f64,
    },
}

impl GradientScale {
    /// That which makes gradients of this norm at most `limit` long.
    pub fn clipping(norm: &Norm, limit: f64, epsilon: f64) -> Self {
        match norm {
            Norm::Known(norm) => Self::By((limit / (norm + epsilon)).min(1.0)),
            Norm::OnDevice(norm) => Self::Down { norm: norm.clone(), limit, epsilon },
        }
    }
}

/// A parameter on its way into a step, seen as a vector; all tensors `[n]` and outside any graph.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// What it is before the step.
    pub value: Tensor<1>,
    /// Its gradient.
    pub gradient: Tensor<1>,
    /// None before the first step.
    pub moments: Option<Moments>,
}

/// One step on all parameters: their new values and moments, in the same order. Gradients are multiplied by
/// `scale` first, which is where clipping comes in. Works in place where nobody else holds the tensors, and
/// on a graphics processor in as few launches as it allows. Not differentiable.
pub fn adamw_step(
    parameters: Vec<Parameter>,
    scale: &GradientScale,
    adamw: &AdamW,
) -> Vec<(Tensor<1>, Moments)> {
    if parameters.is_empty() {
        return Vec::new();
    }
    let (mut values, mut gradients) = (Vec::new(), Vec::new());
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for Parameter { value, gradient, moments } in parameters {
        let zeros = || Tensor::zeros(value.dims(), &value.device());
        let Moments { first, second } =
            moments.unwrap_or_else(|| Moments { first: zeros(), second: zeros() });
        values.push(value.into_dispatch());
        gradients.push(gradient.into_dispatch());
        firsts.push(first.into_dispatch());
        seconds.push(second.into_dispatch());
    }
    let scale = match scale.clone() {
        GradientScale::By(scale) => contract::GradientScale::By(scale),
        GradientScale::Down { norm, limit, epsilon } => {
            contract::GradientScale::Down { norm: norm.into_dispatch(), limit, epsilon }
        }
    };
    let [values, gradients, firsts, seconds] = [values, gradients, firsts, seconds].map(Vectors);
    let (values, firsts, seconds) = Dispatch::adamw_step(values, gradients, firsts, seconds, scale, *adamw);
    let moments = firsts.0.into_iter().zip(seconds.0);
    let with_moments = values.0.into_iter().zip(moments).map(|(value, (first, second))| {
        let moments = Moments { first: Tensor::from_dispatch(first), second: Tensor::from_dispatch(second) };
        (Tensor::from_dispatch(value), moments)
    });
    with_moments.collect()
}

/// The sum of the squares of all elements of a vector; waits for the device. The order of the summation
/// depends on the length alone, not on the number of threads.
pub fn sum_of_squares(vector: Tensor<1>) -> f64 {
    Dispatch::sum_of_squares(vector.into_dispatch())
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
            let gradient = vector(&[gradient as f32]);
            let before = Parameter { value: parameter, gradient, moments };
            let after = adamw_step(vec![before], &GradientScale::By(0.5), &adamw(step as u64));
            let [(next, state)] = <[_; 1]>::try_from(after).unwrap();
            (parameter, moments) = (next, Some(state));
            let found = f64::from(parameter.clone().into_scalar::<f32>());
            assert!((found - p).abs() < 1e-6 * p.abs(), "step {step}: {found} for {p}");
        }
    }

    #[test]
    fn squares_of_a_long_vector_are_summed_in_pieces() {
        let n = (1 << 20) + 3;
        let sum = sum_of_squares(Tensor::full([n], 2.0, &Device::flex()));
        assert_eq!(sum, 4.0 * n as f64);
        assert_eq!(sum_of_squares(vector(&[])), 0.0);
    }
}
