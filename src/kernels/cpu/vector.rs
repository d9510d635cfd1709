//! Exponential, logarithm, softmax and sums, on vectors.
//!
//! `exp(x)`: x = n·ln 2 + r with |r| ≤ ½ ln 2, where n·ln 2 is subtracted in two parts (Cody & Waite), e^r is
//! its Taylor polynomial of degree 7 (remainder below 1e-8 relative), and 2ⁿ scales the result. `log(x)`:
//! x = m·2ᵉ with m in [√½, √2) and log m = 2·artanh((m−1)/(m+1)), its series up to the 11th power. Both are
//! within two units in the last place.
//!
//! Sums go lane by lane over four accumulators that are added in a fixed order at the end.

use super::isa::Isa;
use super::matrix::Element;
use super::simd::Simd;
use super::simd_fn::simd_fn;
use half::bf16;

/// The leading bits of ln 2, so that a product with a small integer is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// The rest: ln 2 − `LN2_HIGH`.
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x in each lane; 0 for −∞, ∞ for ∞ and wherever it is out of range, NaN for NaN.
#[inline(always)]
pub(super) fn exp_lanes<S: Simd>(s: S, x: S::V) -> S::V {
    // Beyond these the result is 0 or ∞ anyway, and n stays within what `scale2` takes.
    // (In this order of operands NaN comes through.)
    let x = s.max(s.splat(-110.0), s.min(s.splat(100.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fnma(n, s.splat(LN2_HIGH), x);
    let r = s.fnma(n, s.splat(LN2_LOW), r);
    // 1 + r + r²·(1/2 + r/6 + …)
    let mut p = s.splat(1.0 / 5040.0);
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0] {
        p = s.fma(p, r, s.splat(1.0 / factorial));
    }
    let p = s.fma(s.mul(r, r), p, r);
    s.scale2(s.add(p, s.splat(1.0)), n)
}

/// The logarithm of lanes that are positive, normal and finite.
#[inline(always)]
pub(super) fn log_normal_lanes<S: Simd>(s: S, x: S::V) -> S::V {
    let (m, e) = s.mantissa_exponent(x);
    let one = s.splat(1.0);
    let d = s.sub(m, one);
    let f = s.div(d, s.add(m, one));
    let f2 = s.mul(f, f);
    let mut p = s.splat(2.0 / 11.0);
    for odd in [9.0, 7.0, 5.0, 3.0] {
        p = s.fma(p, f2, s.splat(2.0 / odd));
    }
    // 2f = d − f·d: taken so, the largest term carries no rounding of the quotient.
    let tail = s.fma(s.mul(p, f2), f, s.mul(e, s.splat(LN2_LOW)));
    let main = s.add(d, s.sub(tail, s.mul(f, d)));
    s.fma(e, s.splat(LN2_HIGH), main)
}

/// The logarithm: −∞ for 0, NaN below, ∞ for ∞, also of subnormal numbers.
#[inline(always)]
pub(super) fn log_lanes<S: Simd>(s: S, x: S::V) -> S::V {
    let tiny = s.splat(f32::MIN_POSITIVE);
    let zero = s.splat(0.0);
    // 2²⁵ brings every subnormal number into the normal range.
    let scaled = s.if_gt(tiny, x, s.mul(x, s.splat(33_554_432.0)), x);
    let shift = s.if_gt(tiny, x, s.splat(25.0), zero);
    let y = log_normal_lanes(s, scaled);
    let y = s.fnma(shift, s.splat(LN2_HIGH), y);
    let y = s.fnma(shift, s.splat(LN2_LOW), y);
    let y = s.if_gt(x, s.splat(f32::MAX), x, y);
    // Not above zero: −∞ at zero, NaN below it.
    let low = s.if_gt(zero, x, s.splat(f32::NAN), s.splat(f32::NEG_INFINITY));
    let y = s.if_gt(x, zero, y, low);
    s.if_nan(x, x, y)
}

/// Applies `f` to each number of `xs`.
#[inline(always)]
pub(super) fn map_in_place<S: Simd>(s: S, xs: &mut [f32], mut f: impl FnMut(S::V) -> S::V) {
    let mut chunks = xs.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let v = f(s.load(chunk));
        s.store(v, chunk);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let v = f(s.load_part(rest, 0.0));
        s.store_part(v, rest);
    }
}

/// Writes `f(x, y)` for each pair to `to`; all of the same length.
#[inline(always)]
pub(super) fn map2_into<S: Simd>(
    s: S,
    xs: &[f32],
    ys: &[f32],
    to: &mut [f32],
    mut f: impl FnMut(S::V, S::V) -> S::V,
) {
    assert!(xs.len() == to.len() && ys.len() == to.len());
    let (mut x, mut y) = (xs.chunks_exact(S::LANES), ys.chunks_exact(S::LANES));
    let mut chunks = to.chunks_exact_mut(S::LANES);
    for ((to, x), y) in (&mut chunks).zip(&mut x).zip(&mut y) {
        s.store(f(s.load(x), s.load(y)), to);
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let done = xs.len() - rest.len();
        s.store_part(f(s.load_part(&xs[done..], 0.0), s.load_part(&ys[done..], 0.0)), rest);
    }
}

/// Folds `f(accumulator, vector)` over `xs`, four accumulators at a time, padding the last vector with
/// `fill`; accumulators start as `fill` does under `f` and are joined by `join` in a fixed order.
#[inline(always)]
pub(super) fn fold<S: Simd>(
    s: S,
    xs: &[f32],
    start: f32,
    fill: f32,
    mut f: impl FnMut(S::V, S::V) -> S::V,
    join: impl Fn(S::V, S::V) -> S::V,
) -> S::V {
    let mut totals = [s.splat(start); 4];
    let mut blocks = xs.chunks_exact(4 * S::LANES);
    for block in &mut blocks {
        for (total, chunk) in totals.iter_mut().zip(block.chunks_exact(S::LANES)) {
            *total = f(*total, s.load(chunk));
        }
    }
    for (total, chunk) in totals.iter_mut().zip(blocks.remainder().chunks(S::LANES)) {
        *total = f(*total, s.load_part(chunk, fill));
    }
    join(join(totals[0], totals[2]), join(totals[1], totals[3]))
}

/// As [`fold`], over two slices of the same length.
#[inline(always)]
pub(super) fn fold2<S: Simd>(
    s: S,
    xs: &[f32],
    ys: &[f32],
    mut f: impl FnMut(S::V, S::V, S::V) -> S::V,
) -> S::V {
    assert_eq!(xs.len(), ys.len());
    let mut totals = [s.splat(0.0); 4];
    let mut blocks = xs.chunks_exact(4 * S::LANES).zip(ys.chunks_exact(4 * S::LANES));
    for (x, y) in &mut blocks {
        for ((total, x), y) in totals.iter_mut().zip(x.chunks_exact(S::LANES)).zip(y.chunks_exact(S::LANES)) {
            *total = f(*total, s.load(x), s.load(y));
        }
    }
    let done = xs.len() / (4 * S::LANES) * (4 * S::LANES);
    let rest = xs[done..].chunks(S::LANES).zip(ys[done..].chunks(S::LANES));
    for (total, (x, y)) in totals.iter_mut().zip(rest) {
        *total = f(*total, s.load_part(x, 0.0), s.load_part(y, 0.0));
    }
    s.add(s.add(totals[0], totals[2]), s.add(totals[1], totals[3]))
}

/// The largest lane of a slice without NaN; −∞ when it is empty.
#[inline(always)]
pub(super) fn max_of<S: Simd>(s: S, xs: &[f32]) -> f32 {
    let low = f32::NEG_INFINITY;
    s.maximum(fold(
        s,
        xs,
        low,
        low,
        #[inline(always)]
        |a, x| s.max(x, a),
        #[inline(always)]
        |a, b| s.max(a, b),
    ))
}

simd_fn! {
    /// e^x of each number, in place.
    pub fn exp<S>(s, xs: &mut [f32]) {
        map_in_place(s, xs, #[inline(always)] |x| exp_lanes(s, x));
    }
}

simd_fn! {
    /// The natural logarithm of each number, in place.
    pub fn log<S>(s, xs: &mut [f32]) {
        map_in_place(s, xs, #[inline(always)] |x| log_lanes(s, x));
    }
}

simd_fn! {
    /// The sum.
    pub fn sum<S>(s, xs: &[f32]) -> f32 {
        s.sum(fold(
            s, xs, 0.0, 0.0, #[inline(always)] |a, x| s.add(a, x), #[inline(always)] |a, b| s.add(a, b),
        ))
    }
}

simd_fn! {
    /// The sum of products.
    pub fn dot<S>(s, xs: &[f32], ys: &[f32]) -> f32 {
        s.sum(fold2(s, xs, ys, #[inline(always)] |a, x, y| s.fma(x, y, a)))
    }
}

simd_fn! {
    /// The sum of squares, in f64 over blocks of a few hundred numbers.
    pub fn sum_of_squares<S>(s, xs: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in xs.chunks(512) {
            let sum = fold(
                s, block, 0.0, 0.0,
                #[inline(always)] |a, x| s.fma(x, x, a), #[inline(always)] |a, b| s.add(a, b),
            );
            total += f64::from(s.sum(sum));
        }
        total
    }
}

simd_fn! {
    /// The largest number of a slice without NaN; −∞ when it is empty.
    pub fn max<S>(s, xs: &[f32]) -> f32 {
        max_of(s, xs)
    }
}

simd_fn! {
    /// log Σ e^x; −∞ when there is nothing but −∞.
    pub fn log_sum_exp<S>(s, xs: &[f32]) -> f32 {
        let max = max_of(s, xs);
        if !max.is_finite() {
            return max;
        }
        let shift = s.splat(max);
        let sum = fold(
            s, xs, 0.0, f32::NEG_INFINITY,
            #[inline(always)] |a, x| s.add(a, exp_lanes(s, s.sub(x, shift))),
            #[inline(always)] |a, b| s.add(a, b),
        );
        max + s.sum(sum).ln()
    }
}

simd_fn! {
    /// Replaces x by e^(scale·x) / Σ e^(scale·x) and returns log Σ e^(scale·x). `scale` is positive. A row of
    /// nothing but −∞ becomes zeros.
    pub fn softmax<S>(s, xs: &mut [f32], scale: f32) -> f32 {
        let max = max_of(s, xs);
        if max == f32::NEG_INFINITY {
            xs.fill(0.0);
            return max;
        }
        let (shift, factor) = (s.splat(max), s.splat(scale));
        map_in_place(s, xs, #[inline(always)] |x| exp_lanes(s, s.mul(s.sub(x, shift), factor)));
        let sum = s.sum(fold(
            s, xs, 0.0, 0.0, #[inline(always)] |a, x| s.add(a, x), #[inline(always)] |a, b| s.add(a, b),
        ));
        let inverse = s.splat(1.0 / sum);
        map_in_place(s, xs, #[inline(always)] |x| s.mul(x, inverse));
        max * scale + sum.ln()
    }
}

/// The index of the largest number, the first of equals; `None` when there is none.
pub fn argmax(isa: Isa, xs: &[f32]) -> Option<usize> {
    let max = max(isa, xs);
    xs.iter().position(|&x| x == max)
}

simd_fn! {
    /// Rounds each number to bfloat16 (to nearest, ties to even).
    pub fn round_to_bf16<S>(s, from: &[f32], to: &mut [bf16]) {
        let _ = s; // Only for the features that the compiler may use.
        for (to, &from) in to.iter_mut().zip(from) {
            *to = Element::from_f32(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::noise;
    use super::*;
    use proptest::prelude::*;

    /// Distance in units in the last place of the expected number.
    fn ulps(found: f32, expected: f64) -> f64 {
        let rounded = expected as f32;
        if found == rounded || (found.is_nan() && rounded.is_nan()) {
            return 0.0;
        }
        let unit = f64::from(rounded.abs().max(f32::MIN_POSITIVE).next_up())
            - f64::from(rounded.abs().max(f32::MIN_POSITIVE));
        (f64::from(found) - expected).abs() / unit
    }

    #[test]
    fn exp_and_log_are_accurate_over_their_range() {
        for isa in Isa::available() {
            let arguments: Vec<f32> = (-1_050_000..900_000).map(|i| i as f32 * 1e-4).collect();
            let mut found = arguments.clone();
            exp(isa, &mut found);
            let worst =
                arguments.iter().zip(&found).map(|(&x, &y)| ulps(y, f64::from(x).exp())).fold(0.0, f64::max);
            assert!(worst <= 2.0, "{isa}: exp is {worst} ulp off");

            let arguments: Vec<f32> = (0..0x7f80_0000_u32).step_by(1009).map(f32::from_bits).collect();
            let mut found = arguments.clone();
            log(isa, &mut found);
            let worst =
                arguments.iter().zip(&found).map(|(&x, &y)| ulps(y, f64::from(x).ln())).fold(0.0, f64::max);
            assert!(worst <= 2.0, "{isa}: log is {worst} ulp off");
        }
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for isa in Isa::available() {
            let mut xs = [-inf, inf, nan, 0.0, -0.0, 1e4, -1e4, f32::MAX, f32::MIN, 88.7, -103.0, 1.0, 1e-40];
            let expected: Vec<f64> = xs.iter().map(|&x| f64::from(x).exp()).collect();
            exp(isa, &mut xs);
            for (x, e) in xs.iter().zip(expected) {
                assert!(ulps(*x, e) <= 2.0, "{isa}: exp gave {x} for {e}");
            }
            let mut xs = [0.0, -0.0, inf, nan, -1.0, -inf, 1.0, f32::MAX, f32::MIN_POSITIVE, 1e-45];
            let expected: Vec<f64> = xs.iter().map(|&x: &f32| f64::from(x).ln()).collect();
            log(isa, &mut xs);
            for (x, e) in xs.iter().zip(expected) {
                assert!(ulps(*x, e) <= 2.0, "{isa}: log gave {x} for {e}");
            }
            assert_eq!(log_sum_exp(isa, &[]), -inf);
            assert_eq!(log_sum_exp(isa, &[-inf; 40]), -inf);
            assert_eq!(sum(isa, &[]), 0.0);
            assert_eq!(argmax(isa, &[]), None);
            assert_eq!(argmax(isa, &[1.0, 3.0, 3.0, 2.0]), Some(1));
            let mut row = [-inf; 5];
            assert_eq!(softmax(isa, &mut row, 1.0), -inf);
            assert_eq!(row, [0.0; 5]);
        }
    }

    proptest! {
        #[test]
        fn rows_agree_with_the_reference(
            len in 1_usize..700, seed in 0_u64..100, size in prop::sample::select(vec![1.0_f32, 30.0, 1e4]),
            masked in 0_usize..4, scale in prop::sample::select(vec![1.0_f32, 0.05, 10.0]),
        ) {
            let mut xs: Vec<f32> = noise(seed, len).iter().map(|x| x * size).collect();
            let hidden = masked.min(len - 1);
            xs[..hidden].fill(f32::NEG_INFINITY);
            let wide: Vec<f64> = xs.iter().map(|&x| x.into()).collect();
            let max = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let terms = |scale: f64| wide.iter().map(move |x| ((x - max) * scale).exp());
            let lse = |scale: f64| max * scale + terms(scale).sum::<f64>().ln();
            for isa in Isa::available() {
                let tolerance = 1e-6 * (1.0 + max.abs() * f64::from(scale.max(1.0)));
                prop_assert!((f64::from(log_sum_exp(isa, &xs)) - lse(1.0)).abs() <= tolerance);
                prop_assert_eq!(f64::from(super::max(isa, &xs)), max);
                let mut row = xs.clone();
                let found = softmax(isa, &mut row, scale);
                prop_assert!((f64::from(found) - lse(scale.into())).abs() <= tolerance);
                let total: f64 = terms(scale.into()).sum();
                for (&p, term) in row.iter().zip(terms(scale.into())) {
                    // The exponent itself is rounded: half a unit of (x − max)·scale.
                    let expected = term / total;
                    let exponent = expected.max(1e-45).ln().abs() + 2.0;
                    prop_assert!((f64::from(p) - expected).abs() <= expected * 2e-7 * exponent + 1e-44);
                }
                let finite = &xs[hidden..];
                let exact: f64 = finite.iter().map(|&x| f64::from(x)).sum();
                let bound = 1e-6 * finite.iter().map(|x| f64::from(x.abs())).sum::<f64>();
                prop_assert!((f64::from(sum(isa, finite)) - exact).abs() <= bound);
                let squares: f64 = finite.iter().map(|&x| f64::from(x).powi(2)).sum();
                prop_assert!((sum_of_squares(isa, finite) - squares).abs() <= 1e-6 * squares);
                prop_assert!((f64::from(dot(isa, finite, finite)) - squares).abs() <= 1e-6 * squares);
            }
        }
    }
}
