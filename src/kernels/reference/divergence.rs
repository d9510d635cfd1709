//! Divergences between the teacher's distribution `p` and the student's `q`, with their gradients.
//!
//! Logits may lie 10⁵ apart after division by the temperature, so a probability may be zero in
//! single precision. Then its logarithm is still finite (a log-softmax), and products of the two are
//! zero as they should be. The logarithm of a mixture is taken of a number that is kept above the
//! smallest normal float: where the mixture is below it, so are both its parts, and the term is zero.

use burn::tensor::{DType, Tensor};

use crate::kernels::loss_spec::Divergence;

/// One distribution for each row, `[rows, vocab]`.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    pub(super) probability: Tensor<2>,
    pub(super) log: Tensor<2>,
}

impl Distribution {
    /// The softmax of `logits / temperature` and its logarithm.
    pub(super) fn new(logits: Tensor<2>, temperature: f64) -> Self {
        let highest = logits.clone().max_dim(1);
        let shifted = (logits - highest) * (1.0 / temperature);
        let exponential = shifted.clone().exp();
        let sum = exponential.clone().sum_dim(1);
        Self { probability: exponential * sum.clone().recip(), log: shifted - sum.log() }
    }
}

/// The value of each row, `[rows, 1]`, and its gradient in the student's scaled logits, `[rows,
/// vocab]`. The divergence is one that [`Divergence::reduce`] leaves as it is.
///
/// With `f` the divergence and `g = ∂f/∂q`, the gradient in the scaled logits is
/// `q·(g - Σ q·g)`; constants in `g` drop out.
pub(super) fn compare(
    kind: Divergence,
    teacher: Distribution,
    student: Distribution,
) -> (Tensor<2>, Tensor<2>) {
    let Distribution { probability: p, log: log_p } = teacher;
    let Distribution { probability: q, log: log_q } = student;
    match kind {
        Divergence::ForwardKl => {
            let value = (p.clone() * (log_p - log_q)).sum_dim(1);
            (value, q - p)
        }
        Divergence::ReverseKl => {
            let ratio = log_q - log_p;
            let value = (q.clone() * ratio.clone()).sum_dim(1);
            (value.clone(), q * (ratio - value))
        }
        Divergence::MixedKl { forward_weight } => {
            let ratio = log_q - log_p;
            let reverse = (q.clone() * ratio.clone()).sum_dim(1);
            let forward = (p.clone() * ratio.clone()).sum_dim(1).neg();
            let of_reverse = q.clone() * (ratio - reverse.clone());
            let gradient = of_reverse * (1.0 - forward_weight) + (q - p) * forward_weight;
            (forward * forward_weight + reverse * (1.0 - forward_weight), gradient)
        }
        Divergence::JensenShannon { beta } => {
            let log_m = mixture(beta, &p, &q).log();
            let of_student = log_q - log_m.clone();
            let student_value = (q.clone() * of_student.clone()).sum_dim(1);
            let teacher_value = (p * (log_p - log_m)).sum_dim(1);
            let gradient = q * (of_student - student_value.clone()) * (1.0 - beta);
            (teacher_value * beta + student_value * (1.0 - beta), gradient)
        }
        Divergence::SkewForwardKl { skew } => {
            let m = mixture(skew, &p, &q);
            let value = (p.clone() * (log_p - m.clone().log())).sum_dim(1);
            let slope = p / m * (skew - 1.0);
            (value, centred(q, slope))
        }
        Divergence::SkewReverseKl { skew } => {
            let m = mixture(skew, &q, &p);
            let ratio = log_q - m.clone().log();
            let value = (q.clone() * ratio.clone()).sum_dim(1);
            let slope = ratio - q.clone() / m * skew;
            (value, centred(q, slope))
        }
        Divergence::TotalVariation => {
            let difference = q.clone() - p;
            let value = difference.clone().abs().sum_dim(1) * 0.5;
            (value, centred(q, difference.sign() * 0.5))
        }
        Divergence::LogitMse => unreachable!("a distance of logits, not of distributions"),
    }
}

/// `q·(slope - Σ q·slope)`: a gradient in the probabilities carried through the softmax.
fn centred(q: Tensor<2>, slope: Tensor<2>) -> Tensor<2> {
    let mean = (q.clone() * slope.clone()).sum_dim(1);
    q * (slope - mean)
}

/// `weight·a + (1-weight)·b`, kept above zero.
fn mixture(weight: f64, a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    debug_assert_eq!(a.dtype(), DType::F32);
    (a.clone() * weight + b.clone() * (1.0 - weight)).clamp_min(f32::MIN_POSITIVE)
}
