//! The loss in f64, straight from its definition, and its gradient by logits from the chain rule without any
//! of the rearrangements of the kernel: checked itself by finite differences.

use super::types::{IGNORED, LossConfig};
use crate::kernels::loss_spec::{Distillation, Divergence};

fn log_softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shifted: Vec<f64> = row.iter().map(|x| (x - max) / temperature).collect();
    let log = shifted.iter().map(|x| x.exp()).sum::<f64>().ln();
    shifted.iter().map(|x| x - log).collect()
}

/// log(x e^lp + y e^lq), with nothing for a weight of zero.
fn log_mix(x: f64, lp: f64, y: f64, lq: f64) -> f64 {
    let a = if x > 0.0 { x.ln() + lp } else { f64::NEG_INFINITY };
    let b = if y > 0.0 { y.ln() + lq } else { f64::NEG_INFINITY };
    let max = a.max(b);
    max + ((a - max).exp() + (b - max).exp()).ln()
}

/// KL(a ‖ b) from logarithms.
fn kl(la: &[f64], lb: &[f64]) -> f64 {
    la.iter().zip(lb).map(|(la, lb)| if la.exp() == 0.0 { 0.0 } else { la.exp() * (la - lb) }).sum()
}

/// The soft loss of a row, T² included.
pub fn soft(mix: &Distillation, s: &[f64], t: &[f64]) -> f64 {
    let temperature = mix.temperature;
    let (lq, lp) = (log_softmax(s, temperature), log_softmax(t, temperature));
    let mixture =
        |x: f64, y: f64| -> Vec<f64> { lp.iter().zip(&lq).map(|(&lp, &lq)| log_mix(x, lp, y, lq)).collect() };
    let divergence = match mix.divergence {
        None => 0.0,
        Some(Divergence::ForwardKl) => kl(&lp, &lq),
        Some(Divergence::ReverseKl) => kl(&lq, &lp),
        Some(Divergence::MixedKl { forward_weight }) => {
            forward_weight * kl(&lp, &lq) + (1.0 - forward_weight) * kl(&lq, &lp)
        }
        Some(Divergence::JensenShannon { beta }) => {
            let x = beta;
            let m = mixture(x, 1.0 - x);
            x * kl(&lp, &m) + (1.0 - x) * kl(&lq, &m)
        }
        Some(Divergence::SkewForwardKl { skew }) => kl(&lp, &mixture(skew, 1.0 - skew)),
        Some(Divergence::SkewReverseKl { skew }) => kl(&lq, &mixture(1.0 - skew, skew)),
        Some(Divergence::TotalVariation) => {
            0.5 * lp.iter().zip(&lq).map(|(p, q)| (p.exp() - q.exp()).abs()).sum::<f64>()
        }
        Some(Divergence::LogitMse) => {
            return s.iter().zip(t).map(|(s, t)| (s - t).powi(2)).sum::<f64>() / s.len() as f64;
        }
    };
    temperature * temperature * divergence
}

pub fn hard(s: &[f64], label: usize) -> f64 {
    -log_softmax(s, 1.0)[label]
}

/// The gradient of a row's total by its logits.
pub fn gradient(config: &LossConfig, s: &[f64], t: &[f64], label: usize) -> Vec<f64> {
    let mix = &config.mix;
    let [w, of_soft] = mix.weights();
    let temperature = mix.temperature;
    let mut d: Vec<f64> = log_softmax(s, 1.0).iter().map(|l| w * l.exp()).collect();
    d[label] -= w;
    let Some(divergence) = mix.divergence.filter(|_| of_soft > 0.0) else { return d };
    let len = s.len() as f64;
    if divergence == Divergence::LogitMse {
        for (d, (s, t)) in d.iter_mut().zip(s.iter().zip(t)) {
            *d += of_soft * 2.0 * (s - t) / len;
        }
        return d;
    }
    let (lq, lp) = (log_softmax(s, temperature), log_softmax(t, temperature));
    // q ∂L/∂q, by definition.
    let weighted: Vec<f64> = lq
        .iter()
        .zip(&lp)
        .map(|(&lq, &lp)| {
            let (q, p) = (lq.exp(), lp.exp());
            match divergence {
                Divergence::ForwardKl => -p,
                Divergence::ReverseKl => q * (lq - lp),
                Divergence::MixedKl { forward_weight } => {
                    (1.0 - forward_weight) * q * (lq - lp) - forward_weight * p
                }
                Divergence::JensenShannon { beta } => {
                    let x = beta;
                    (1.0 - x) * q * (lq - log_mix(x, lp, 1.0 - x, lq))
                }
                Divergence::SkewForwardKl { skew } => {
                    let x = skew;
                    -(1.0 - x) * (lp + lq - log_mix(x, lp, 1.0 - x, lq)).exp()
                }
                Divergence::SkewReverseKl { skew } => {
                    let x = skew;
                    let lm = log_mix(1.0 - x, lp, x, lq);
                    q * (lq - lm) - if x > 0.0 { x * (2.0 * lq - lm).exp() } else { 0.0 }
                }
                Divergence::TotalVariation => {
                    0.5 * q
                        * if q > p {
                            1.0
                        } else if q < p {
                            -1.0
                        } else {
                            0.0
                        }
                }
                Divergence::LogitMse => unreachable!("done above"),
            }
        })
        .collect();
    let total: f64 = weighted.iter().sum();
    for (d, (u, lq)) in d.iter_mut().zip(weighted.iter().zip(&lq)) {
        *d += of_soft * temperature * (u - lq.exp() * total);
    }
    d
}

/// How far a row's gradient may move, its elements taken together, where logits are known to within `doubt`:
/// the total variation's derivative by a word's probability jumps where student and teacher agree on it, and
/// rounding decides on which side such a word falls. The other kinds have no such jump.
fn jumps(config: &LossConfig, s: &[f64], t: &[f64], doubt: f64) -> f64 {
    if config.mix.divergence != Some(Divergence::TotalVariation) {
        return 0.0;
    }
    let temperature = config.mix.temperature;
    let (lq, lp) = (log_softmax(s, temperature), log_softmax(t, temperature));
    let undecided = lq.iter().zip(&lp).filter(|(lq, lp)| (**lq - **lp).abs() <= doubt);
    2.0 * config.mix.weights()[1] * temperature * undecided.map(|(lq, _)| lq.exp()).sum::<f64>()
}

/// All of it: losses, and gradients by hidden states and head, from logits computed in f64.
pub struct Expected {
    pub hard: f64,
    pub soft: f64,
    pub total: f64,
    pub hidden: Vec<f64>,
    pub head: Vec<f64>,
    /// What the gradients of the logits may differ by, over all rows, for the words that `doubt` leaves
    /// undecided.
    pub jumps: f64,
}

pub struct Inputs<'a> {
    pub student: (&'a [f64], usize, &'a [f64]),
    pub teacher: (&'a [f64], usize, &'a [f64]),
    pub targets: &'a [i32],
    pub v: usize,
}

fn logits(hidden: &[f64], width: usize, head: &[f64], v: usize) -> Vec<f64> {
    let dot = |h: &[f64], w: &[f64]| h.iter().zip(w).map(|(a, b)| a * b).sum();
    (0..v).map(|j| dot(hidden, &head[j * width..][..width])).collect()
}

/// `doubt`: by how much the tested logarithms of probabilities may be off.
pub fn expected(config: &LossConfig, inputs: &Inputs, doubt: f64) -> Expected {
    let (hidden, width, head) = inputs.student;
    let (t_hidden, t_width, t_head) = inputs.teacher;
    let v = inputs.v;
    let count = inputs.targets.iter().filter(|&&y| y != IGNORED).count().max(1) as f64;
    let mut e = Expected {
        hard: 0.0,
        soft: 0.0,
        total: 0.0,
        hidden: vec![0.0; hidden.len()],
        head: vec![0.0; v * width],
        jumps: 0.0,
    };
    for (i, &y) in inputs.targets.iter().enumerate() {
        if y == IGNORED {
            continue;
        }
        let row = &hidden[i * width..][..width];
        let s = logits(row, width, head, v);
        let t = logits(&t_hidden[i * t_width..][..t_width], t_width, t_head, v);
        e.hard += hard(&s, y as usize) / count;
        e.soft += soft(&config.mix, &s, &t) / count;
        e.jumps += jumps(config, &s, &t, doubt) / count;
        for (j, d) in gradient(config, &s, &t, y as usize).into_iter().enumerate() {
            for k in 0..width {
                e.hidden[i * width + k] += d / count * head[j * width + k];
                e.head[j * width + k] += d / count * row[k];
            }
        }
    }
    e.total = config.mix.mix(e.hard, e.soft);
    e
}
