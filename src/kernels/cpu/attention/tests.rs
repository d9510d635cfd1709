//! Attention against its definition in f64, gradients against the chain rule on it (checked by finite
//! differences themselves).

use super::super::test_support::{PRECISIONS, noise, on_threads};
use super::*;
use crate::kernels::cpu::Isa;
use crate::kernels::precision::Precision;
use half::bf16;
use proptest::prelude::*;

/// Output, log Σ e^score and, from `dout`, the gradients of q, k, v: all scores written out. Then the same
/// five with the sizes of all terms summed: what rounding errors are relative to, however much the terms
/// cancel.
fn reference(shape: &AttentionShape, q: &[f64], k: &[f64], v: &[f64], dout: &[f64]) -> [[Vec<f64>; 5]; 2] {
    let AttentionShape { batch, seq, heads, kv_heads, d } = *shape;
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; batch * heads * seq]);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]);
    let [mut out_size, mut dq_size] = [(); 2].map(|()| vec![0.0; q.len()]);
    let [mut dk_size, mut dv_size] = [(); 2].map(|()| vec![0.0; k.len()]);
    let scale = 1.0 / (d as f64).sqrt();
    for b in 0..batch {
        for head in 0..heads {
            let query = |i: usize| ((b * seq + i) * heads + head) * d;
            let key = |j: usize| ((b * seq + j) * kv_heads + head / (heads / kv_heads)) * d;
            for i in 0..seq {
                let dots = |x: &[f64], at: usize, y: &[f64]| -> Vec<f64> {
                    (0..=i).map(|j| (0..d).map(|c| x[at + c] * y[key(j) + c]).sum()).collect()
                };
                let scores: Vec<f64> = dots(q, query(i), k).iter().map(|x| x * scale).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
                lse[(b * heads + head) * seq + i] = max + sum.ln();
                let p: Vec<f64> = scores.iter().map(|x| (x - max).exp() / sum).collect();
                let dp = dots(dout, query(i), v);
                let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
                // It comes from the output, whose rounding errors it has.
                let size = |j: usize| (0..d).map(|c| (dout[query(i) + c] * v[key(j) + c]).abs()).sum::<f64>();
                let delta_size: f64 = p.iter().enumerate().map(|(j, p)| p * size(j)).sum();
                for j in 0..=i {
                    let ds = p[j] * (dp[j] - delta) * scale;
                    let ds_size = p[j] * (dp[j].abs() + delta_size) * scale;
                    for c in 0..d {
                        out[query(i) + c] += p[j] * v[key(j) + c];
                        dv[key(j) + c] += p[j] * dout[query(i) + c];
                        dq[query(i) + c] += ds * k[key(j) + c];
                        dk[key(j) + c] += ds * q[query(i) + c];
                        out_size[query(i) + c] += p[j] * v[key(j) + c].abs();
                        dv_size[key(j) + c] += p[j] * dout[query(i) + c].abs();
                        dq_size[query(i) + c] += ds_size * k[key(j) + c].abs();
                        dk_size[key(j) + c] += ds_size * q[query(i) + c].abs();
                    }
                }
            }
        }
    }
    let lse_size = lse.iter().map(|lse: &f64| 1.0 + lse.abs()).collect();
    [[out, lse, dq, dk, dv], [out_size, lse_size, dq_size, dk_size, dv_size]]
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

#[test]
fn the_reference_gradient_agrees_with_finite_differences() {
    let shape = AttentionShape { batch: 1, seq: 4, heads: 4, kv_heads: 2, d: 3 };
    let inputs =
        [wide(&noise(1, shape.queries())), wide(&noise(2, shape.keys())), wide(&noise(3, shape.keys()))];
    let dout = wide(&noise(4, shape.queries()));
    let objective = |x: &[Vec<f64>; 3]| -> f64 {
        reference(&shape, &x[0], &x[1], &x[2], &dout)[0][0].iter().zip(&dout).map(|(a, b)| a * b).sum()
    };
    let [[_, _, gradients @ ..], _] = reference(&shape, &inputs[0], &inputs[1], &inputs[2], &dout);
    for (which, gradient) in gradients.iter().enumerate() {
        for i in 0..gradient.len() {
            let (mut up, mut down) = (inputs.clone(), inputs.clone());
            up[which][i] += 1e-5;
            down[which][i] -= 1e-5;
            let numeric = (objective(&up) - objective(&down)) / 2e-5;
            assert!((numeric - gradient[i]).abs() < 1e-8, "{which} {i}: {numeric} {}", gradient[i]);
        }
    }
}

impl AttentionShape {
    fn queries(&self) -> usize {
        self.batch * self.seq * self.heads * self.d
    }

    fn keys(&self) -> usize {
        self.batch * self.seq * self.kv_heads * self.d
    }

    /// Numbers of queries, of keys and of values in a row.
    fn widths(&self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads].map(|heads| heads * self.d)
    }

    fn join(&self, parts: [&[f32]; 3]) -> Vec<f32> {
        let position = |i: usize| {
            let part = move |(part, width): (&[f32], usize)| part[i * width..(i + 1) * width].to_vec();
            parts.into_iter().zip(self.widths()).flat_map(part).collect::<Vec<_>>()
        };
        (0..self.batch * self.seq).flat_map(position).collect()
    }

    fn split(&self, joined: &[f32]) -> [Vec<f32>; 3] {
        let [q, k, v] = self.widths();
        [(0, q), (q, k), (q + k, v)].map(|(from, width)| {
            joined.chunks_exact(self.row()).flat_map(|row| row[from..from + width].to_vec()).collect()
        })
    }
}

fn run(path: AttentionPath, shape: AttentionShape, qkv: [&[f32]; 3], dout: &[f32]) -> [Vec<f32>; 5] {
    let qkv = shape.join(qkv);
    let mut out = vec![f32::NAN; dout.len()];
    let mut lse = vec![f32::NAN; shape.batch * shape.heads * shape.seq];
    attention(path, shape, &qkv, &mut out, &mut lse);
    let mut gradient = vec![f32::NAN; qkv.len()];
    attention_backward(path, shape, &qkv, &out, &lse, dout, &mut gradient);
    let [dq, dk, dv] = shape.split(&gradient);
    [out, lse, dq, dk, dv]
}

fn check(shape: AttentionShape, size: f32, seed: u64) {
    let round =
        |x: Vec<f32>, by: f32| x.into_iter().map(|x| bf16::from_f32(x * by).to_f32()).collect::<Vec<f32>>();
    let q = round(noise(seed, shape.queries()), size);
    let k = round(noise(seed + 1, shape.keys()), 1.0);
    let v = round(noise(seed + 2, shape.keys()), 1.0);
    let dout = round(noise(seed + 3, shape.queries()), 1.0);
    let [expected, sizes] = reference(&shape, &wide(&q), &wide(&k), &wide(&v), &wide(&dout));
    for isa in Isa::available() {
        for precision in PRECISIONS {
            let path = AttentionPath { isa, precision };
            let found = run(path, shape, [&q, &k, &v], &dout);
            // Scores are sums of numbers as large as the queries. The inputs are bfloat16 numbers: what is
            // rounded further, with an error of 2^-8 each, are probabilities and their gradients.
            let rounding = 2e-6 * f64::from(1.0 + size)
                + if precision == Precision::Bf16 { 2.0_f64.powi(-7) } else { 0.0 };
            for (i, name) in ["out", "lse", "dq", "dk", "dv"].iter().enumerate() {
                for ((&x, y), terms) in found[i].iter().zip(&expected[i]).zip(&sizes[i]) {
                    let error = (f64::from(x) - y).abs();
                    assert!(
                        error <= rounding * terms + 1e-6,
                        "{path:?} {shape:?} {size} {name}: {x} {y}, terms {terms}"
                    );
                }
            }
            let again = on_threads(3, || run(path, shape, [&q, &k, &v], &dout));
            assert!(found == again, "{path:?}: threads change bits");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn random_shapes_agree(
        batch in 0_usize..3, seq in 0_usize..90, kv_heads in 1_usize..3, group in 1_usize..4,
        d in 1_usize..70, size in prop::sample::select(vec![1.0_f32, 10.0, 1e3]), seed in 0_u64..99,
    ) {
        check(AttentionShape { batch, seq, heads: kv_heads * group, kv_heads, d }, size, seed);
    }
}

#[test]
fn several_tiles_of_keys() {
    for (seq, d) in [(128, 16), (129, 8), (300, 64), (260, 128)] {
        check(AttentionShape { batch: 1, seq, heads: 2, kv_heads: 1, d }, 3.0, 7);
    }
}
