//! Rotary position embedding (RoFormer, arXiv 2104.09864) in Hugging Face's half-split order: element i of a
//! head's vector is rotated with element i + d/2 by the angle position · base^(−2i/d).

use super::isa::Isa;
use super::simd::simd_fn;
use rayon::prelude::*;

/// Cosines and sines of all angles, each [positions, d/2].
#[derive(Debug, Clone)]
pub struct RotaryTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// For heads of `d` numbers (even), computed in f64.
    pub fn new(positions: usize, d: usize, base: f64) -> Self {
        let frequencies: Vec<f64> = (0..d / 2).map(|i| base.powf(-2.0 * i as f64 / d as f64)).collect();
        Self::from_frequencies(positions, &frequencies)
    }

    /// From the angles at position 1 (as a scaled variant has them).
    pub fn from_frequencies(positions: usize, frequencies: &[f64]) -> Self {
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        RotaryTable {
            half: frequencies.len(),
            cos: angles().map(|a| a.cos() as f32).collect(),
            sin: angles().map(|a| a.sin() as f32).collect(),
        }
    }

    /// Positions there are angles for.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }
}

/// Rotates `x`, [batch, `seq`, `heads`, d], in place; positions count from 0 in each sequence. `inverse` rotates
/// back, which is also what the gradient needs.
pub fn rotate(isa: Isa, x: &mut [f32], table: &RotaryTable, seq: usize, heads: usize, inverse: bool) {
    let row = heads * table.half * 2;
    if x.is_empty() {
        return;
    }
    assert!(
        row > 0 && x.len().is_multiple_of(row * seq) && seq <= table.positions(),
        "rotary embedding of other shapes"
    );
    let sign = if inverse { -1.0 } else { 1.0 };
    x.par_chunks_mut(row).with_min_len(8).enumerate().for_each(|(i, x)| {
        let at = i % seq * table.half;
        rotate_row(isa, x, &table.cos[at..][..table.half], &table.sin[at..][..table.half], sign);
    });
}

simd_fn! {
    fn rotate_row<S>(s, x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        let sign = s.splat(sign);
        for head in x.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            let mut i = 0;
            while i + S::LANES <= half {
                let (a, b) = (s.load(&low[i..]), s.load(&high[i..]));
                let (c, n) = (s.load(&cos[i..]), s.mul(sign, s.load(&sin[i..])));
                s.store(s.fnma(b, n, s.mul(a, c)), &mut low[i..]);
                s.store(s.fma(a, n, s.mul(b, c)), &mut high[i..]);
                i += S::LANES;
            }
            if i < half {
                let (a, b) = (s.load_part(&low[i..], 0.0), s.load_part(&high[i..], 0.0));
                let (c, n) = (s.load_part(&cos[i..], 0.0), s.mul(sign, s.load_part(&sin[i..], 0.0)));
                s.store_part(s.fnma(b, n, s.mul(a, c)), &mut low[i..]);
                s.store_part(s.fma(a, n, s.mul(b, c)), &mut high[i..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm_tests::noise;
    use super::*;

    #[test]
    fn rotates_and_rotates_back() {
        for (batch, seq, heads, d) in [(1, 1, 1, 2), (2, 5, 3, 6), (2, 7, 2, 64), (1, 3, 1, 36)] {
            let x = noise(1, batch * seq * heads * d);
            let table = RotaryTable::new(seq + 2, d, 1e4);
            for isa in Isa::available() {
                let mut y = x.clone();
                rotate(isa, &mut y, &table, seq, heads, false);
                for (row, (x, y)) in x.chunks(d).zip(y.chunks(d)).enumerate() {
                    let position = row / heads % seq;
                    for i in 0..d / 2 {
                        let angle = position as f64 * 1e4_f64.powf(-2.0 * i as f64 / d as f64);
                        let (a, b) = (f64::from(x[i]), f64::from(x[i + d / 2]));
                        assert!((f64::from(y[i]) - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
                        assert!((f64::from(y[i + d / 2]) - (b * angle.cos() + a * angle.sin())).abs() < 1e-6);
                    }
                }
                rotate(isa, &mut y, &table, seq, heads, true);
                assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-6), "{isa}");
            }
        }
        rotate(Isa::best(), &mut [], &RotaryTable::new(4, 8, 1e4), 4, 2, false);
    }
}
