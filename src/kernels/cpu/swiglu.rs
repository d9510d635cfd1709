//! SwiGLU (Shazeer 2020, arXiv 2002.05202): y = silu(gate) · up with silu(x) = x σ(x), and its gradient,
//! silu′(x) = σ(x) (1 + x (1 − σ(x))). Gate and up are one row, as one product makes them.

use super::isa::Isa;
use super::simd::Simd;
use super::simd_fn::simd_fn;
use super::vector::{exp_lanes, map2_into};
use rayon::prelude::*;

/// Numbers that a task takes.
const TASK: usize = 1 << 13;

/// `y = silu(gate) · up`: rows of `joined` hold `width` numbers of gate and as many of up, rows of `y` as
/// many.
pub fn swiglu(isa: Isa, joined: &[f32], width: usize, y: &mut [f32]) {
    assert!(
        width > 0 && joined.len() == 2 * y.len() && y.len().is_multiple_of(width),
        "SwiGLU of other shapes"
    );
    let rows = TASK.div_ceil(width);
    joined.par_chunks(2 * rows * width).zip(y.par_chunks_mut(rows * width)).for_each(|(joined, y)| {
        for (joined, y) in joined.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
            let (gate, up) = joined.split_at(width);
            forward(isa, gate, up, y);
        }
    });
}

/// From the gradient of y, that of `joined` (overwritten).
pub fn swiglu_backward(isa: Isa, joined: &[f32], width: usize, dy: &[f32], djoined: &mut [f32]) {
    assert!(
        width > 0
            && joined.len() == 2 * dy.len()
            && djoined.len() == joined.len()
            && dy.len().is_multiple_of(width),
        "SwiGLU of other shapes"
    );
    let rows = TASK.div_ceil(width);
    let inputs = joined.par_chunks(2 * rows * width).zip(dy.par_chunks(rows * width));
    inputs.zip(djoined.par_chunks_mut(2 * rows * width)).for_each(|((joined, dy), djoined)| {
        let rows = joined.chunks_exact(2 * width).zip(dy.chunks_exact(width));
        for ((joined, dy), djoined) in rows.zip(djoined.chunks_exact_mut(2 * width)) {
            let (gate, up) = joined.split_at(width);
            let (dgate, dup) = djoined.split_at_mut(width);
            backward(isa, gate, up, dy, dgate, dup);
        }
    });
}

/// 1 / (1 + e^−x)
#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp_lanes(s, s.sub(s.splat(0.0), x))))
}

simd_fn! {
    fn forward<S>(s, gate: &[f32], up: &[f32], y: &mut [f32]) {
        map2_into(s, gate, up, y, #[inline(always)] |g, u| s.mul(s.mul(g, sigmoid(s, g)), u));
    }
}

/// The gradients of gate and up.
#[inline(always)]
fn gradients<S: Simd>(s: S, gate: S::V, up: S::V, dy: S::V) -> [S::V; 2] {
    let one = s.splat(1.0);
    let sigma = sigmoid(s, gate);
    let slope = s.mul(sigma, s.fma(gate, s.sub(one, sigma), one));
    [s.mul(dy, s.mul(up, slope)), s.mul(dy, s.mul(gate, sigma))]
}

simd_fn! {
    fn backward<S>(s, gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let inputs = gate.chunks(S::LANES).zip(up.chunks(S::LANES)).zip(dy.chunks(S::LANES));
        let outputs = dgate.chunks_mut(S::LANES).zip(dup.chunks_mut(S::LANES));
        for (((gate, up), dy), (dgate, dup)) in inputs.zip(outputs) {
            if gate.len() == S::LANES {
                let new = gradients(s, s.load(gate), s.load(up), s.load(dy));
                s.store(new[0], dgate);
                s.store(new[1], dup);
            } else {
                let part = |x: &[f32]| s.load_part(x, 0.0);
                let new = gradients(s, part(gate), part(up), part(dy));
                s.store_part(new[0], dgate);
                s.store_part(new[1], dup);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::noise;
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        for len in [1, 15, 16, 33, 5_000] {
            for size in [1.0, 30.0, 1e4] {
                let gate: Vec<f32> = noise(1, len).iter().map(|x| x * size).collect();
                let (up, dy) = (noise(2, len), noise(3, len));
                for isa in Isa::available() {
                    // Three rows of another gate each, of which the middle one is looked at.
                    let joined = [&gate, &up, &gate, &up, &up, &gate].map(Vec::as_slice).concat();
                    let mut y = vec![0.0; 3 * len];
                    let mut gradient = vec![0.0; 6 * len];
                    swiglu(isa, &joined, len, &mut y);
                    swiglu_backward(isa, &joined, len, &dy.repeat(3), &mut gradient);
                    let y = &y[len..];
                    let (dgate, dup) = (&gradient[2 * len..], &gradient[3 * len..]);
                    for i in 0..len {
                        let [g, u, d] = [gate[i], up[i], dy[i]].map(f64::from);
                        let sigma = 1.0 / (1.0 + (-g).exp());
                        let close = |found: f32, e: f64| {
                            (f64::from(found) - e).abs()
                                <= 2e-6 * e.abs() + 1e-30 + 4e-7 * sigma * d.abs().max(1e-3)
                        };
                        assert!(close(y[i], g * sigma * u), "{isa} {g} {u}: {}", y[i]);
                        assert!(close(dup[i], d * g * sigma), "{isa} {g}");
                        assert!(
                            close(dgate[i], d * u * sigma * (1.0 + g * (1.0 - sigma))),
                            "{isa} {g}: {}",
                            dgate[i]
                        );
                    }
                }
            }
        }
    }
}
