//! One row of logits: losses, and the gradient.
//!
//! With a = (s − max s)/T, b = (t − max t)/T, the exponentials e^a, e^b and their sums Zs, Zt, every gradient
//! is a linear combination of at most three stored rows, `cs · s + ct · t + ch · h`, where s ends up holding
//! e^a, t something of the [`divergence`](super::divergence)'s, and h the exponentials at temperature 1 where
//! T is another.

use super::divergence::{Found, Row, measure_row};
use super::passes::{Shape, combine, find_first, maximum};
use super::types::LossConfig;
use crate::kernels::cpu::isa::Isa;
use crate::kernels::cpu::matrix::Element;
use crate::kernels::cpu::vector::log_sum_exp;
use crate::kernels::loss_spec::Divergence;

/// What a row contributes, before means and the soft loss's scale.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowLoss {
    pub hard: f64,
    pub soft: f64,
    pub correct: bool,
    pub agrees: bool,
    pub teacher_hard: f64,
    pub teacher_correct: bool,
}

/// What is the same for all rows.
pub(super) struct Plan {
    divergence: Option<Divergence>,
    temperature: f32,
    /// What a row's gradients of the hard loss and of the divergence are multiplied by. None without
    /// gradients.
    factors: Option<[f64; 2]>,
    agreement: bool,
}

impl Plan {
    /// Rows of scratch memory that [`Plan::measure`] needs.
    pub const SCRATCH_ROWS: usize = 2;

    /// For so many rows that count, with gradients times `scale` if any.
    pub fn new(config: &LossConfig, counted: usize, scale: Option<f32>) -> Plan {
        let mix = &config.mix;
        let factors = scale.map(|scale| {
            let mean = f64::from(scale) / counted as f64;
            mix.slopes().map(|slope| slope * mean)
        });
        let (divergence, temperature) = (mix.of_rows(), mix.divisor() as f32);
        Plan { divergence, temperature, factors, agreement: config.agreement }
    }

    /// The losses of a row with this label, and its gradient in `d` (if wanted); s and t are used up.
    pub fn measure<E: Element>(
        &self,
        isa: Isa,
        s: &mut [f32],
        t: &mut [f32],
        label: usize,
        scratch: &mut [f32],
        d: &mut [E],
    ) -> RowLoss {
        let v = s.len();
        let (h, difference) = scratch[..Self::SCRATCH_ROWS * v].split_at_mut(v);
        // At temperature 1, s ends up with what h would hold.
        let is_plain = self.temperature == 1.0;
        let h = &mut h[..if is_plain { 0 } else { v }];
        let at_label = f64::from(s[label]);
        let max_s = maximum(isa, s);
        let max_t = if t.is_empty() { 0.0 } else { maximum(isa, t) };
        let correct = s[label] == max_s && find_first(&s[..label], max_s).is_none();
        let mut teacher = (false, 0.0, false);
        if self.agreement {
            let choice = find_first(t, max_t);
            let hard = f64::from(log_sum_exp(isa, t)) - f64::from(t[label]);
            teacher = (find_first(s, max_s) == choice, hard, choice == Some(label));
        }
        let (agrees, teacher_hard, teacher_correct) = teacher;

        let shape = Shape { inverse: 1.0 / self.temperature, max_s, max_t };
        let mut row = Row { isa, s, t, h, difference, shape };
        let Found { value: soft, zh, cs, ct } = measure_row(self.divergence, &mut row);
        let Row { s, t, h, .. } = row;
        let hard = (f64::from(max_s) - at_label) + zh.ln();
        if let Some([hard_factor, soft_factor]) = self.factors {
            let (mut cs, ct) = (cs * soft_factor, ct * soft_factor);
            let ch = hard_factor / zh;
            if is_plain {
                cs += ch;
            }
            let t = if self.divergence.is_none() { &[] } else { &*t };
            let (cs, ct, ch) = (cs as f32, ct as f32, ch as f32);
            combine(isa, s, t, h, cs, ct, ch, d);
            // The label's once more: what rounding its part to E would lose.
            let of = |row: &[f32], factor: f32| row.get(label).map_or(0.0, |x| factor * x);
            d[label] = E::from_f32(of(s, cs) + of(t, ct) + of(h, ch) - hard_factor as f32);
        }
        RowLoss { hard, soft, correct, agrees, teacher_hard, teacher_correct }
    }
}
