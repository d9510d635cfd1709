//! The passes over a row of logits that the losses share, each over memory that is in the first- or
//! second-level cache.

use crate::kernels::cpu::matrix::Element;
use crate::kernels::cpu::simd::Simd;
use crate::kernels::cpu::simd_fn::simd_fn;
use crate::kernels::cpu::vector::{exp_lanes, max_of};
use std::ops::Range;

/// 1/T and the maxima.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub inverse: f32,
    pub max_s: f32,
    pub max_t: f32,
}

/// Numbers of a row that are summed in f32 before the sum is widened: keeps the rounding of long rows small.
const BLOCK: usize = 2048;

/// Lanes of the widest path.
const MOST_LANES: usize = 16;

/// Taken for the logits after the end of a row: far below all, but its difference from another is finite.
const BELOW: f32 = -1e30;

/// Calls `f` with the place of each vector of a row, the last one possibly short, and N vectors to sum in.
#[inline(always)]
pub(super) fn reduce<S: Simd, const N: usize>(
    s: S,
    len: usize,
    mut f: impl FnMut(Range<usize>, &mut [S::V; N]),
) -> [f64; N] {
    let mut totals = [0.0; N];
    let mut start = 0;
    while start < len {
        let end = len.min(start + BLOCK);
        let mut sums = [s.splat(0.0); N];
        let mut i = start;
        while i + S::LANES <= end {
            f(i..i + S::LANES, &mut sums);
            i += S::LANES;
        }
        if i < end {
            f(i..end, &mut sums);
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += f64::from(s.sum(sum));
        }
        start = end;
    }
    totals
}

#[inline(always)]
pub(super) fn load<S: Simd>(s: S, from: &[f32], fill: f32) -> S::V {
    if from.len() == S::LANES { s.load(from) } else { s.load_part(from, fill) }
}

#[inline(always)]
pub(super) fn store<S: Simd>(s: S, v: S::V, to: &mut [f32]) {
    if to.len() == S::LANES { s.store(v, to) } else { s.store_part(v, to) }
}

simd_fn! {
    /// The largest number.
    pub(super) fn maximum<S>(s, xs: &[f32]) -> f32 {
        max_of(s, xs)
    }
}

/// Rounds to E's precision.
#[inline(always)]
fn store_as<S: Simd, E: Element>(s: S, v: S::V, to: &mut [E]) {
    let mut lanes = [0.0_f32; MOST_LANES];
    s.store(v, &mut lanes[..S::LANES]);
    if to.len() == S::LANES {
        // Of a length known here, for the compiler to vectorize.
        for (to, &x) in to[..S::LANES].iter_mut().zip(&lanes[..S::LANES]) {
            *to = E::from_f32(x);
        }
    } else {
        for (to, &x) in to.iter_mut().zip(&lanes) {
            *to = E::from_f32(x);
        }
    }
}

/// The first place of `x`.
pub(super) fn find_first(xs: &[f32], x: f32) -> Option<usize> {
    // By blocks, for the compiler to vectorize.
    let block = xs.chunks(64).position(|block| block.iter().fold(false, |found, &y| found | (y == x)))?;
    xs[block * 64..].iter().position(|&y| y == x).map(|i| block * 64 + i)
}

simd_fn! {
    /// s := e^(s − max). Sums: that, 1, that, 0.
    pub(super) fn exponentials_alone<S>(s, xs: &mut [f32], max: f32) -> [f64; 4] {
        let max = s.splat(max);
        let [z] = reduce(s, xs.len(), #[inline(always)] |at, [z]| {
            let e = exp_lanes(s, s.sub(load(s, &xs[at.clone()], BELOW), max));
            store(s, e, &mut xs[at]);
            *z = s.add(*z, e);
        });
        [z, 1.0, z, 0.0]
    }
}

simd_fn! {
    /// t := s − t; s := e^(s − max). Sums: the exponentials, 1, the exponentials, (s − t)².
    pub(super) fn square<S>(s, xs: &mut [f32], ts: &mut [f32], max: f32) -> [f64; 4] {
        let max = s.splat(max);
        let [z, x] = reduce(s, xs.len(), #[inline(always)] |at, [z, x]| {
            let student = load(s, &xs[at.clone()], BELOW);
            let difference = s.sub(student, load(s, &ts[at.clone()], BELOW));
            let e = exp_lanes(s, s.sub(student, max));
            store(s, difference, &mut ts[at.clone()]);
            store(s, e, &mut xs[at]);
            *z = s.add(*z, e);
            *x = s.fma(difference, difference, *x);
        });
        [z, 1.0, z, x]
    }
}

/// What [`exponential_pass`] puts into t, and what it sums last.
const PLAIN: u8 = 0;
const FORWARD: u8 = 1;
const REVERSE: u8 = 2;

/// s := e^a; h := e^(s − max) unless T is 1; t := e^b, or e^a (a − b) for `REVERSE`; difference := a − b
/// unless it is empty. Sums: e^a, e^b, e^(s − max), and e^b (b − a) for `FORWARD`, e^a (a − b) for `REVERSE`.
#[inline(always)]
fn exponential_pass<S: Simd, const WHAT: u8, const HOT: bool, const DIFFERENCE: bool>(
    s: S,
    xs: &mut [f32],
    ts: &mut [f32],
    h: &mut [f32],
    difference: &mut [f32],
    shape: Shape,
) -> [f64; 4] {
    let len = xs.len();
    let ts = &mut ts[..len];
    let h = &mut h[..if HOT { len } else { 0 }];
    let difference = &mut difference[..if DIFFERENCE { len } else { 0 }];
    let (max_s, max_t, inverse) = (s.splat(shape.max_s), s.splat(shape.max_t), s.splat(shape.inverse));
    let mut sums = reduce(
        s,
        len,
        #[inline(always)]
        |at, [zs, zt, zh, x]| {
            let mut a = s.sub(load(s, &xs[at.clone()], BELOW), max_s);
            let mut b = s.sub(load(s, &ts[at.clone()], BELOW), max_t);
            if HOT {
                let e = exp_lanes(s, a);
                store(s, e, &mut h[at.clone()]);
                *zh = s.add(*zh, e);
                a = s.mul(a, inverse);
                b = s.mul(b, inverse);
            }
            let (ea, eb) = (exp_lanes(s, a), exp_lanes(s, b));
            *zs = s.add(*zs, ea);
            *zt = s.add(*zt, eb);
            store(s, ea, &mut xs[at.clone()]);
            let d = s.sub(a, b);
            if DIFFERENCE {
                store(s, d, &mut difference[at.clone()]);
            }
            if WHAT == REVERSE {
                let u = s.mul(ea, d);
                *x = s.add(*x, u);
                store(s, u, &mut ts[at]);
            } else {
                if WHAT == FORWARD {
                    *x = s.fnma(eb, d, *x);
                }
                store(s, eb, &mut ts[at]);
            }
        },
    );
    if !HOT {
        sums[2] = sums[0];
    }
    sums
}

simd_fn! {
    /// [`exponential_pass`] for forward KL.
    pub(super) fn forward<S>(s, xs: &mut [f32], ts: &mut [f32], h: &mut [f32], shape: Shape) -> [f64; 4] {
        if h.is_empty() {
            exponential_pass::<S, FORWARD, false, false>(s, xs, ts, h, &mut [], shape)
        } else {
            exponential_pass::<S, FORWARD, true, false>(s, xs, ts, h, &mut [], shape)
        }
    }
}

simd_fn! {
    /// [`exponential_pass`] for reverse KL.
    pub(super) fn reverse<S>(s, xs: &mut [f32], ts: &mut [f32], h: &mut [f32], shape: Shape) -> [f64; 4] {
        if h.is_empty() {
            exponential_pass::<S, REVERSE, false, false>(s, xs, ts, h, &mut [], shape)
        } else {
            exponential_pass::<S, REVERSE, true, false>(s, xs, ts, h, &mut [], shape)
        }
    }
}

simd_fn! {
    /// [`exponential_pass`] for the losses that need another pass.
    pub(super) fn exponentials<S>(
        s, xs: &mut [f32], ts: &mut [f32], h: &mut [f32], difference: &mut [f32], shape: Shape
    ) -> [f64; 4] {
        match (h.is_empty(), difference.is_empty()) {
            (true, true) => exponential_pass::<S, PLAIN, false, false>(s, xs, ts, h, difference, shape),
            (true, false) => exponential_pass::<S, PLAIN, false, true>(s, xs, ts, h, difference, shape),
            (false, true) => exponential_pass::<S, PLAIN, true, false>(s, xs, ts, h, difference, shape),
            (false, false) => exponential_pass::<S, PLAIN, true, true>(s, xs, ts, h, difference, shape),
        }
    }
}

simd_fn! {
    /// d := cs · s + ct · t + ch · h, without the terms whose rows are empty.
    pub(super) fn combine<S; E: Element>(
        s, xs: &[f32], ts: &[f32], h: &[f32], cs: f32, ct: f32, ch: f32, d: &mut [E],
    ) {
        let (cs, ct, ch) = (s.splat(cs), s.splat(ct), s.splat(ch));
        let [] = reduce(s, xs.len(), #[inline(always)] |at, []| {
            let mut sum = s.mul(cs, load(s, &xs[at.clone()], 0.0));
            if !ts.is_empty() {
                sum = s.fma(ct, load(s, &ts[at.clone()], 0.0), sum);
            }
            if !h.is_empty() {
                sum = s.fma(ch, load(s, &h[at.clone()], 0.0), sum);
            }
            store_as(s, sum, &mut d[at]);
        });
    }
}
