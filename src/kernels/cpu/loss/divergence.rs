//! The divergence of a row: a function for each kind.
//!
//! Each leaves in s the exponentials e^a of [`rows`](super::rows), in t a row of its own, and says with which
//! coefficients the two make its gradient in the logits over T:
//!
//! * forward KL: q − p; t holds e^b. L = Σ e^b (b − a) / Zt + log Zs − log Zt.
//! * reverse KL: q (log q/p − L); t holds e^a (a − b). L = Σ e^a (a − b) / Zs + log Zt − log Zs.
//! * mean squared error: 2 (s − t)/v; t holds s − t.
//! * all others: u − q Σu with u = q ∂L/∂q, which t holds. Terms of ∂L/∂q that are equal for all words are
//!   left out, for they cancel.
//!
//! A mixture m never underflows into a quotient 0/0: with δ = log q − log p and e = e^−|δ|, m is the larger
//! of p and q times D = (its own weight) + (the other's weight) · e, so log q/m, p/m and q/m are all
//! functions of δ and e.

use super::passes::{Shape, exponentials, exponentials_alone, forward, load, reduce, reverse, square, store};
use crate::kernels::cpu::isa::Isa;
use crate::kernels::cpu::simd::Simd;
use crate::kernels::cpu::simd_fn::simd_fn;
use crate::kernels::cpu::vector::{exp_lanes, log_normal_lanes};
use crate::kernels::loss_spec::Divergence;

/// A row of logits and memory for its divergence, all of the vocabulary's length or empty.
pub(super) struct Row<'a> {
    pub isa: Isa,
    /// The student's logits.
    pub s: &'a mut [f32],
    /// The teacher's; empty where none is compared.
    pub t: &'a mut [f32],
    /// Gets the student's exponentials at temperature 1; empty where that is the temperature.
    pub h: &'a mut [f32],
    /// Scratch memory.
    pub difference: &'a mut [f32],
    pub shape: Shape,
}

/// What a divergence makes of a row.
pub(super) struct Found {
    /// The divergence.
    pub value: f64,
    /// The sum of the student's exponentials at temperature 1.
    pub zh: f64,
    /// The coefficients of s and t in the divergence's gradient by the logits over T.
    pub cs: f64,
    pub ct: f64,
}

/// The divergence of a row, and what its gradient is made of.
pub(super) fn measure_row(divergence: Option<Divergence>, row: &mut Row) -> Found {
    match divergence {
        None => nothing(row),
        Some(Divergence::ForwardKl) => forward_kl(row),
        Some(Divergence::ReverseKl) => reverse_kl(row),
        Some(Divergence::MixedKl { forward_weight }) => mixed_kl(row, forward_weight as f32),
        Some(Divergence::JensenShannon { beta }) => jensen_shannon(row, beta as f32),
        Some(Divergence::SkewForwardKl { skew }) => skew_forward_kl(row, skew as f32),
        Some(Divergence::SkewReverseKl { skew }) => skew_reverse_kl(row, skew as f32),
        Some(Divergence::TotalVariation) => total_variation(row),
        Some(Divergence::LogitMse) => logit_mse(row),
    }
}

fn nothing(row: &mut Row) -> Found {
    let [_, _, zh, _] = exponentials_alone(row.isa, row.s, row.shape.max_s);
    Found { value: 0.0, zh, cs: 0.0, ct: 0.0 }
}

fn forward_kl(row: &mut Row) -> Found {
    let [zs, zt, zh, x] = forward(row.isa, row.s, row.t, row.h, row.shape);
    Found { value: x / zt - (zt / zs).ln(), zh, cs: 1.0 / zs, ct: -1.0 / zt }
}

fn reverse_kl(row: &mut Row) -> Found {
    let [zs, zt, zh, x] = reverse(row.isa, row.s, row.t, row.h, row.shape);
    Found { value: x / zs + (zt / zs).ln(), zh, cs: -x / zs / zs, ct: 1.0 / zs }
}

/// ∂L/∂q = (1 − w) log q/p − w p/q.
fn mixed_kl(row: &mut Row, forward_weight: f32) -> Found {
    from_both(row, [forward_weight, 1.0 - forward_weight], mixed_kl_pass)
}

/// ∂L/∂q = (1 − β) log q/m.
fn jensen_shannon(row: &mut Row, beta: f32) -> Found {
    from_both(row, [beta, 1.0 - beta], jensen_shannon_pass)
}

/// ∂L/∂q = −(1 − skew) p/m.
fn skew_forward_kl(row: &mut Row, skew: f32) -> Found {
    from_both(row, [skew, 1.0 - skew], skew_forward_pass)
}

/// ∂L/∂q = log q/m − skew · q/m.
fn skew_reverse_kl(row: &mut Row, skew: f32) -> Found {
    from_both(row, [1.0 - skew, skew], skew_reverse_pass)
}

/// ∂L/∂q = ½ sign(q − p), 0 where both are equal.
fn total_variation(row: &mut Row) -> Found {
    let [zs, zt, zh, _] = exponentials(row.isa, row.s, row.t, row.h, &mut [], row.shape);
    let [value, total] = total_variation_pass(row.isa, row.s, row.t, (1.0 / zs) as f32, (1.0 / zt) as f32);
    Found { value, zh, cs: -total / zs, ct: 1.0 }
}

fn logit_mse(row: &mut Row) -> Found {
    let [_, _, zh, x] = square(row.isa, row.s, row.t, row.shape.max_s);
    let v = row.s.len() as f64;
    Found { value: x / v, zh, cs: 0.0, ct: 2.0 / v }
}

/// By a pass over e^a, e^b and a − b that leaves u in t and returns the loss and Σ u.
fn from_both(
    row: &mut Row,
    [p_weight, q_weight]: [f32; 2],
    pass: impl FnOnce(Isa, &[f32], &mut [f32], &[f32], Mix) -> [f64; 2],
) -> Found {
    let [zs, zt, zh, _] = exponentials(row.isa, row.s, row.t, row.h, row.difference, row.shape);
    let shift = (zt / zs).ln() as f32;
    let mix = Mix { q_scale: (1.0 / zs) as f32, p_scale: (1.0 / zt) as f32, shift, p_weight, q_weight };
    let [value, total] = pass(row.isa, row.s, row.t, row.difference, mix);
    Found { value, zh, cs: -total / zs, ct: 1.0 }
}

/// What a pass over both distributions needs besides e^a, e^b and a − b.
#[derive(Clone, Copy)]
struct Mix {
    /// 1/Zs and 1/Zt.
    q_scale: f32,
    p_scale: f32,
    /// log Zt − log Zs: added to a − b it gives log q − log p.
    shift: f32,
    p_weight: f32,
    q_weight: f32,
}

/// Probabilities that are nearer to each other than this, relatively, are taken for equal: logits in single
/// precision cannot tell which is larger, and at the kink zero is a derivative of the difference as good as
/// any.
pub(super) const EQUAL: f32 = 1.0 / (1 << 18) as f32;

simd_fn! {
    /// From e^a and e^b: t := u. Returns ½ Σ |p − q| and Σ u.
    fn total_variation_pass<S>(s, xs: &[f32], ts: &mut [f32], q_scale: f32, p_scale: f32) -> [f64; 2] {
        let (q_scale, p_scale, zero) = (s.splat(q_scale), s.splat(p_scale), s.splat(0.0));
        let above = s.splat(1.0 + EQUAL);
        let (plus, minus) = (s.splat(0.5), s.splat(-0.5));
        let [loss, total] = reduce(s, xs.len(), #[inline(always)] |at, [loss, total]| {
            let q = s.mul(load(s, &xs[at.clone()], 0.0), q_scale);
            let p = s.mul(load(s, &ts[at.clone()], 0.0), p_scale);
            let (q_above, p_above) = (s.mul(q, above), s.mul(p, above));
            let sign = s.if_gt(q, p_above, plus, s.if_gt(p, q_above, minus, zero));
            *loss = s.fma(sign, s.sub(q, p), *loss);
            let u = s.mul(q, sign);
            *total = s.add(*total, u);
            store(s, u, &mut ts[at]);
        });
        [loss, total]
    }
}

simd_fn! {
    /// From e^a, e^b and a − b: t := u. Returns the loss and Σ u.
    fn mixed_kl_pass<S>(s, xs: &[f32], ts: &mut [f32], difference: &[f32], mix: Mix) -> [f64; 2] {
        let (q_scale, p_scale) = (s.splat(mix.q_scale * mix.q_weight), s.splat(mix.p_scale * mix.p_weight));
        let shift = s.splat(mix.shift);
        reduce(s, xs.len(), #[inline(always)] |at, [loss, total]| {
            // The weights times q and p, and log q − log p.
            let q = s.mul(load(s, &xs[at.clone()], 0.0), q_scale);
            let p = s.mul(load(s, &ts[at.clone()], 0.0), p_scale);
            let delta = s.add(load(s, &difference[at.clone()], 0.0), shift);
            *loss = s.fma(s.sub(q, p), delta, *loss);
            let u = s.sub(s.mul(q, delta), p);
            *total = s.add(*total, u);
            store(s, u, &mut ts[at]);
        })
    }
}

/// From e^a, e^b and a − b: t := u. Returns the loss and Σ u. `divergence` gets p, q, log p/m, log q/m, p/m,
/// q/m and gives a word's loss and u.
#[inline(always)]
fn mixture_pass<S: Simd>(
    s: S,
    xs: &[f32],
    ts: &mut [f32],
    difference: &[f32],
    mix: Mix,
    divergence: impl Fn([S::V; 6]) -> [S::V; 2],
) -> [f64; 2] {
    let (q_scale, p_scale, shift) = (s.splat(mix.q_scale), s.splat(mix.p_scale), s.splat(mix.shift));
    let (p_weight, q_weight) = (s.splat(mix.p_weight), s.splat(mix.q_weight));
    let (zero, one, tiny) = (s.splat(0.0), s.splat(1.0), s.splat(f32::MIN_POSITIVE));
    reduce(
        s,
        xs.len(),
        #[inline(always)]
        |at, [loss, total]| {
            let q = s.mul(load(s, &xs[at.clone()], 0.0), q_scale);
            let p = s.mul(load(s, &ts[at.clone()], 0.0), p_scale);
            // δ = log q − log p
            let delta = s.add(load(s, &difference[at.clone()], 0.0), shift);
            let minus = s.sub(zero, delta);
            let e = exp_lanes(s, s.min(delta, minus));
            let q_larger = |x, y| s.if_gt(zero, delta, y, x);
            let d = s.fma(q_larger(p_weight, q_weight), e, q_larger(q_weight, p_weight));
            let d = s.max(d, tiny);
            // log m = log(the larger) + log D
            let log_d = log_normal_lanes(s, d);
            let log_q = s.sub(s.min(delta, zero), log_d);
            let log_p = s.sub(s.min(minus, zero), log_d);
            let inverse = s.div(one, d);
            let q_over = s.mul(q_larger(one, e), inverse);
            let p_over = s.mul(q_larger(e, one), inverse);
            let [l, u] = divergence([p, q, log_p, log_q, p_over, q_over]);
            *loss = s.add(*loss, l);
            *total = s.add(*total, u);
            store(s, u, &mut ts[at]);
        },
    )
}

simd_fn! {
    /// [`mixture_pass`] for the generalized Jensen–Shannon divergence.
    fn jensen_shannon_pass<S>(s, xs: &[f32], ts: &mut [f32], difference: &[f32], mix: Mix) -> [f64; 2] {
        let (p_weight, q_weight) = (s.splat(mix.p_weight), s.splat(mix.q_weight));
        mixture_pass(s, xs, ts, difference, mix, #[inline(always)] |[p, q, log_p, log_q, _, _]| {
            let u = s.mul(q_weight, s.mul(q, log_q));
            [s.fma(p_weight, s.mul(p, log_p), u), u]
        })
    }
}

simd_fn! {
    /// [`mixture_pass`] for KL(p ‖ m).
    fn skew_forward_pass<S>(s, xs: &[f32], ts: &mut [f32], difference: &[f32], mix: Mix) -> [f64; 2] {
        let factor = s.splat(-mix.q_weight);
        mixture_pass(s, xs, ts, difference, mix, #[inline(always)] |[p, q, log_p, _, p_over, _]| {
            [s.mul(p, log_p), s.mul(factor, s.mul(q, p_over))]
        })
    }
}

simd_fn! {
    /// [`mixture_pass`] for KL(q ‖ m).
    fn skew_reverse_pass<S>(s, xs: &[f32], ts: &mut [f32], difference: &[f32], mix: Mix) -> [f64; 2] {
        let weight = s.splat(mix.q_weight);
        mixture_pass(s, xs, ts, difference, mix, #[inline(always)] |[_, q, _, log_q, _, q_over]| {
            [s.mul(q, log_q), s.mul(q, s.fnma(weight, q_over, log_q))]
        })
    }
}
