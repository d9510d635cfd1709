//! RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467), y = w · x / √(mean x² + ε), and its gradient.
//!
//! With r = 1/√(mean x² + ε) and g = dy · w: dx = r · g − x · r³ · (Σ g x)/h; dw = Σ over rows of dy · x · r,
//! taken over blocks of [`BLOCK_ROWS`] rows first and then block by block.

use super::isa::Isa;
use super::scratch::Scratch;
use super::simd_fn::simd_fn;
use super::vector::{fold2, map2_into};
use rayon::prelude::*;

/// Rows whose weight gradients are summed before they are added to those of other rows.
const BLOCK_ROWS: usize = 64;
/// Rows that a task of the forward pass takes.
const TASK_ROWS: usize = 16;

/// `y = w · x · rstd`, rows of `weight.len()` numbers; `rstd` (one a row) is kept for the backward pass.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32], rstd: &mut [f32]) {
    let h = weight.len();
    assert!(h > 0 && x.len() == rstd.len() * h && y.len() == x.len(), "RMSNorm of other shapes");
    let rows =
        x.par_chunks(TASK_ROWS * h).zip(y.par_chunks_mut(TASK_ROWS * h)).zip(rstd.par_chunks_mut(TASK_ROWS));
    rows.for_each(|((x, y), rstd)| forward_rows(isa, x, weight, epsilon, y, rstd));
}

/// From the gradient of y: `dx` (overwritten) and `dweight` (added to).
pub fn rms_norm_backward(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    rstd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let h = weight.len();
    assert!(
        h > 0 && x.len() == rstd.len() * h && dy.len() == x.len() && dx.len() == x.len(),
        "RMSNorm of other shapes"
    );
    assert_eq!(dweight.len(), h, "RMSNorm of other shapes");
    let blocks = rstd.len().div_ceil(BLOCK_ROWS);
    let mut partial = Scratch::take(blocks * h);
    let size = BLOCK_ROWS * h;
    let rows = x.par_chunks(size).zip(dy.par_chunks(size)).zip(dx.par_chunks_mut(size));
    rows.zip(rstd.par_chunks(BLOCK_ROWS)).zip(partial.f32_mut().par_chunks_mut(h)).for_each(
        |((((x, dy), dx), rstd), partial)| {
            partial.fill(0.0);
            backward_rows(isa, x, weight, rstd, dy, dx, partial);
        },
    );
    for partial in partial.f32().chunks_exact(h) {
        for (total, part) in dweight.iter_mut().zip(partial) {
            *total += part;
        }
    }
}

simd_fn! {
    fn forward_rows<S>(s, x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32], rstd: &mut [f32]) {
        let h = weight.len();
        for ((x, y), rstd) in x.chunks_exact(h).zip(y.chunks_exact_mut(h)).zip(rstd) {
            let squares = s.sum(fold2(s, x, x, #[inline(always)] |sum, a, b| s.fma(a, b, sum)));
            *rstd = 1.0 / (squares / h as f32 + epsilon).sqrt();
            let r = s.splat(*rstd);
            map2_into(s, x, weight, y, #[inline(always)] |x, w| s.mul(w, s.mul(x, r)));
        }
    }
}

simd_fn! {
    fn backward_rows<S>(
        s, x: &[f32], weight: &[f32], rstd: &[f32], dy: &[f32], dx: &mut [f32], dweight: &mut [f32]
    ) {
        let h = weight.len();
        let rows = x.chunks_exact(h).zip(dy.chunks_exact(h)).zip(dx.chunks_exact_mut(h)).zip(rstd);
        for (((x, dy), dx), &rstd) in rows {
            let r = s.splat(rstd);
            // dx := g = dy · w for now.
            map2_into(s, dy, weight, dx, #[inline(always)] |dy, w| s.mul(dy, w));
            let product = s.sum(fold2(s, dx, x, #[inline(always)] |sum, g, x| s.fma(g, x, sum)));
            let factor = s.splat(product / h as f32 * rstd * rstd);
            for (from, (dx, x)) in dx.chunks_mut(S::LANES).zip(x.chunks(S::LANES)).enumerate() {
                let from = from * S::LANES;
                let (dy, dweight) = (&dy[from..][..x.len()], &mut dweight[from..][..x.len()]);
                if x.len() == S::LANES {
                    let x = s.load(x);
                    s.store(s.mul(r, s.fnma(x, factor, s.load(dx))), dx);
                    s.store(s.fma(s.load(dy), s.mul(x, r), s.load(dweight)), dweight);
                } else {
                    let x = s.load_part(x, 0.0);
                    s.store_part(s.mul(r, s.fnma(x, factor, s.load_part(dx, 0.0))), dx);
                    let sum = s.fma(s.load_part(dy, 0.0), s.mul(x, r), s.load_part(dweight, 0.0));
                    s.store_part(sum, dweight);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{noise, on_threads};
    use super::*;
    use proptest::prelude::*;

    fn reference(x: &[f64], w: &[f64], epsilon: f64) -> Vec<f64> {
        let h = w.len();
        let row = |x: &[f64]| {
            let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / h as f64 + epsilon).sqrt();
            x.iter().zip(w).map(move |(x, w)| x * r * w).collect::<Vec<_>>()
        };
        x.chunks(h).flat_map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn agrees_with_the_reference_and_finite_differences(
            n in 0_usize..80, h in 1_usize..90,
            size in prop::sample::select(vec![1.0_f32, 1e-3, 1e4]), seed in 0_u64..99,
        ) {
            let scale = |x: Vec<f32>, by: f32| x.into_iter().map(|x| x * by).collect::<Vec<f32>>();
            let (x, w, dy) = (scale(noise(seed, n * h), size), noise(seed + 1, h), noise(seed + 2, n * h));
            let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            let (xw, ww, dyw) = (wide(&x), wide(&w), wide(&dy));
            let expected = reference(&xw, &ww, 1e-5);
            let dot = |y: &[f64], d: &[f64]| y.iter().zip(d).map(|(y, d)| y * d).sum::<f64>();
            let objective = |x: &[f64], w: &[f64]| dot(&reference(x, w, 1e-5), &dyw);
            for isa in Isa::available() {
                let (mut y, mut r) = (vec![0.0; n * h], vec![0.0; n]);
                rms_norm(isa, &x, &w, 1e-5, &mut y, &mut r);
                for (y, e) in y.iter().zip(&expected) {
                    prop_assert!((f64::from(*y) - e).abs() <= 1e-6 * e.abs() + 1e-30);
                }
                let run = || {
                    let (mut dx, mut dw) = (vec![f32::NAN; n * h], vec![0.0; h]);
                    rms_norm_backward(isa, &x, &w, &r, &dy, &mut dx, &mut dw);
                    (dx, dw)
                };
                let (dx, dw) = on_threads(1, run);
                prop_assert!((dx.clone(), dw.clone()) == on_threads(3, run));
                let largest = |x: &[f32]| f64::from(x.iter().fold(0.0, |m: f32, x| m.max(x.abs())));
                for i in (0..n * h).step_by(7) {
                    let mut up = xw.clone();
                    let mut down = xw.clone();
                    let step = f64::from(size) * 1e-5;
                    up[i] += step;
                    down[i] -= step;
                    let row = i / h * h..i / h * h + h;
                    let part = |x: &[f64]| dot(&reference(&x[row.clone()], &ww, 1e-5), &dyw[row.clone()]);
                    let numeric = (part(&up) - part(&down)) / (2.0 * step);
                    let bound = 1e-5 * (largest(&dx) + 1.0 / f64::from(size));
                    prop_assert!((numeric - f64::from(dx[i])).abs() <= bound, "{} {}", numeric, dx[i]);
                }
                for j in (0..h).step_by(5) {
                    let mut up = ww.clone();
                    up[j] += 1.0;
                    let exact = objective(&xw, &up) - objective(&xw, &ww);
                    prop_assert!((exact - f64::from(dw[j])).abs() <= 2e-6 * (n as f64) + 1e-5 * exact.abs());
                }
            }
        }
    }
}
