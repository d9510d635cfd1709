//! One row of logits: losses, and the gradient.
//!
//! With a = (s − max s)/T, b = (t − max t)/T, the exponentials e^a, e^b and their sums Zs, Zt, every gradient is
//! a linear combination of at most three stored rows, `cs · s + ct · t + ch · h`, where s ends up holding e^a,
//! t something of the kind below, and h the exponentials at temperature 1 where T is another:
//!
//! * forward KL: dL/ds = (q − p)/T; t holds e^b. L = Σ e^b (b − a) / Zt + log Zs − log Zt.
//! * reverse KL: dL/ds = q (log q/p − L)/T; t holds e^a (a − b). L = Σ e^a (a − b) / Zs + log Zt − log Zs.
//! * all others: dL/ds = (u − q Σ u)/T with u = q ∂L/∂q, which t holds. With m = x p + (1 − x) q (and terms
//!   equal for all words left out of ∂L/∂q, for they cancel):
//!   Jensen–Shannon ∂L/∂q = (1 − x) log q/m; KL(p ‖ m): −(1 − x) p/m; KL(q ‖ m): log q/m − (1 − x) q/m;
//!   total variation: ½ sign(q − p), 0 where both are equal.
//! * mean squared error: d = 2 (s − t); t holds s − t.
//!
//! The mixture m never underflows into a quotient 0/0: with δ = log q − log p and e = e^−|δ|, m is the larger
//! of p and q times D = (its own weight) + (the other's weight) · e, so log q/m, p/m and q/m are all functions of
//! δ and e.

use super::isa::Isa;
use super::passes::*;
use super::{Element, LossConfig, Soft};
use crate::kernels::cpu::vector::log_sum_exp;

/// What a row contributes, before means and T².
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowLoss {
    pub hard: f64,
    pub soft: f64,
    pub correct: bool,
    pub agrees: bool,
    pub teacher_hard: f64,
    pub teacher_correct: bool,
}

/// Which terms of the exponentials are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    None,
    Forward,
    Reverse,
    Mixture { mixture: Mixture, p: f32, q: f32 },
    TotalVariation,
    Square,
}

/// Divergences from m = p-weight · p + q-weight · q.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mixture {
    JensenShannon,
    Forward,
    Reverse,
}

/// What is the same for all rows.
pub(super) struct Plan {
    kind: Kind,
    temperature: f32,
    /// Gradient of the total by a row's hard loss; and by a logit for a soft loss given as above. None without
    /// gradients.
    factors: Option<[f64; 2]>,
    soft_factor: f64,
    agreement: bool,
}

impl Plan {
    pub fn new(config: &LossConfig, v: usize, counted: usize, scale: Option<f32>) -> Plan {
        let temperature = f64::from(config.temperature);
        let mixture = |mixture, p: f32| Kind::Mixture { mixture, p, q: 1.0 - p };
        // At the ends of its range a mixture is one of its parts.
        let kind = match config.soft {
            Soft::None => Kind::None,
            Soft::ForwardKl => Kind::Forward,
            Soft::ReverseKl => Kind::Reverse,
            Soft::SkewForwardKl { skew: 0.0 } => Kind::Forward,
            Soft::SkewReverseKl { skew: 0.0 } => Kind::Reverse,
            Soft::JensenShannon { beta: 0.0 | 1.0 } => Kind::None,
            Soft::SkewForwardKl { skew: 1.0 } | Soft::SkewReverseKl { skew: 1.0 } => Kind::None,
            Soft::JensenShannon { beta } => mixture(Mixture::JensenShannon, beta),
            Soft::SkewForwardKl { skew } => mixture(Mixture::Forward, skew),
            Soft::SkewReverseKl { skew } => {
                Kind::Mixture { mixture: Mixture::Reverse, p: 1.0 - skew, q: skew }
            }
            Soft::TotalVariation => Kind::TotalVariation,
            Soft::LogitMse => Kind::Square,
        };
        let (soft_factor, logit_factor) = match kind {
            Kind::Square => (1.0 / v as f64, 2.0 / v as f64),
            // The T² before the loss, and 1/T from the softmax.
            _ => (temperature * temperature, temperature),
        };
        let factors = scale.map(|scale| {
            let mean = f64::from(scale) / counted as f64;
            [config.weight() * mean, (1.0 - config.weight()) * logit_factor * mean]
        });
        Plan { kind, temperature: config.temperature, factors, soft_factor, agreement: config.agreement }
    }

    /// What the sum of rows' soft losses is to be multiplied by.
    pub fn soft_factor(&self) -> f64 {
        self.soft_factor
    }

    /// Whether s ends up with exponentials at temperature 1.
    fn plain(&self) -> bool {
        self.temperature == 1.0 || matches!(self.kind, Kind::None | Kind::Square)
    }

    fn needs_difference(&self) -> bool {
        matches!(self.kind, Kind::Mixture { .. })
    }

    /// Rows of scratch memory that [`Plan::row`] needs.
    pub fn scratch_rows(&self) -> usize {
        usize::from(!self.plain()) + usize::from(self.needs_difference())
    }

    /// The losses of a row with this label, and its gradient in `d` (if wanted); s and t are used up.
    pub fn row<E: Element>(
        &self,
        isa: Isa,
        s: &mut [f32],
        t: &mut [f32],
        label: usize,
        scratch: &mut [f32],
        d: &mut [E],
    ) -> RowLoss {
        let v = s.len();
        let (h, rest) = scratch.split_at_mut(if self.plain() { 0 } else { v });
        let difference = &mut rest[..if self.needs_difference() { v } else { 0 }];
        let at_label = f64::from(s[label]);
        let max_s = maximum(isa, s);
        let max_t = if t.is_empty() { 0.0 } else { maximum(isa, t) };
        let correct = s[label] == max_s && first(&s[..label], max_s).is_none();
        let mut teacher = (false, 0.0, false);
        if self.agreement {
            let choice = first(t, max_t);
            let hard = f64::from(log_sum_exp(isa, t)) - f64::from(t[label]);
            teacher = (first(s, max_s) == choice, hard, choice == Some(label));
        }
        let (agrees, teacher_hard, teacher_correct) = teacher;

        let shape = Shape { inverse: 1.0 / self.temperature, max_s, max_t };
        let sums = match (self.kind, self.plain()) {
            (Kind::None, _) => only_student(isa, s, max_s),
            (Kind::Square, _) => square(isa, s, t, max_s),
            (Kind::Forward, plain) => forward(isa, s, t, h, shape, plain),
            (Kind::Reverse, plain) => reverse(isa, s, t, h, shape, plain),
            (Kind::TotalVariation, plain) => exponentials(isa, s, t, h, &mut [], shape, plain),
            (Kind::Mixture { .. }, plain) => exponentials(isa, s, t, h, difference, shape, plain),
        };
        let [zs, zt, zh, x] = sums;
        let hard = (f64::from(max_s) - at_label) + zh.ln();
        let (ratio_log, qs, ps) = ((zt / zs).ln(), (1.0 / zs) as f32, (1.0 / zt) as f32);
        // The loss, and the coefficients of s and t in the gradient.
        let (soft, cs, ct) = match self.kind {
            Kind::None => (0.0, 0.0, 0.0),
            Kind::Square => (x, 0.0, 1.0),
            Kind::Forward => (x / zt - ratio_log, 1.0 / zs, -1.0 / zt),
            Kind::Reverse => (x / zs + ratio_log, -x / zs / zs, 1.0 / zs),
            Kind::TotalVariation => {
                let [loss, u] = total_variation(isa, s, t, qs, ps);
                (loss, -u / zs, 1.0)
            }
            Kind::Mixture { mixture, p, q } => {
                let mix = Mix { q_scale: qs, p_scale: ps, shift: ratio_log as f32, p_weight: p, q_weight: q };
                let [loss, u] = match mixture {
                    Mixture::JensenShannon => jensen_shannon(isa, s, t, difference, mix),
                    Mixture::Forward => skew_forward(isa, s, t, difference, mix),
                    Mixture::Reverse => skew_reverse(isa, s, t, difference, mix),
                };
                (loss, -u / zs, 1.0)
            }
        };
        if let Some([hard_factor, soft_factor]) = self.factors {
            let (mut cs, ct) = (cs * soft_factor, ct * soft_factor);
            let ch = hard_factor / zh;
            if self.plain() {
                cs += ch;
            }
            let t = if self.kind == Kind::None { &[] } else { &*t };
            let (cs, ct, ch) = (cs as f32, ct as f32, ch as f32);
            combine(isa, s, t, h, cs, ct, ch, d);
            // The label's once more: what rounding its part to E would lose.
            let of = |row: &[f32], factor: f32| row.get(label).map_or(0.0, |x| factor * x);
            d[label] = E::from_f32(of(s, cs) + of(t, ct) + of(h, ch) - hard_factor as f32);
        }
        RowLoss { hard, soft, correct, agrees, teacher_hard, teacher_correct }
    }
}
