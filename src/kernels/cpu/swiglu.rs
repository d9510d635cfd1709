//! SwiGLU (Shazeer 2020, arXiv 2002.05202): y = silu(gate) · up with silu(x) = x σ(x), and its gradient,
//! silu′(x) = σ(x) (1 + x (1 − σ(x))).

use super::isa::Isa;
use super::simd::{Simd, simd_fn};
use super::vector::{exp_lanes, map2_into};
use rayon::prelude::*;

/// Numbers that a task takes.
const TASK: usize = 1 << 13;

/// `y = silu(gate) · up`, element by element.
pub fn swiglu(isa: Isa, gate: &[f32], up: &[f32], y: &mut [f32]) {
    assert!(gate.len() == y.len() && up.len() == y.len(), "SwiGLU of other shapes");
    gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(y.par_chunks_mut(TASK)).for_each(|((gate, up), y)| {
        forward(isa, gate, up, y);
    });
}

/// From the gradient of y, those of gate and up (overwritten).
pub fn swiglu_backward(isa: Isa, gate: &[f32], up: &[f32], dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let len = gate.len();
    assert!([up.len(), dy.len(), dgate.len(), dup.len()] == [len; 4], "SwiGLU of other shapes");
    let inputs = gate.par_chunks(TASK).zip(up.par_chunks(TASK)).zip(dy.par_chunks(TASK));
    inputs
        .zip(dgate.par_chunks_mut(TASK))
        .zip(dup.par_chunks_mut(TASK))
        .for_each(|((((gate, up), dy), dgate), dup)| backward(isa, gate, up, dy, dgate, dup));
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
    use super::super::gemm_tests::noise;
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        for len in [0, 1, 15, 16, 33, 20_000] {
            for size in [1.0, 30.0, 1e4] {
                let gate: Vec<f32> = noise(1, len).iter().map(|x| x * size).collect();
                let (up, dy) = (noise(2, len), noise(3, len));
                for isa in Isa::available() {
                    let mut y = vec![0.0; len];
                    let (mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len]);
                    swiglu(isa, &gate, &up, &mut y);
                    swiglu_backward(isa, &gate, &up, &dy, &mut dgate, &mut dup);
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
