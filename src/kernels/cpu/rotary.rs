//! Rotary position embedding (RoFormer, arXiv 2104.09864) in Hugging Face's half-split order: element i of a
//! head's vector is rotated with element i + d/2 by the angle position · base^(−2i/d).

use super::isa::Isa;
use super::simd_fn::simd_fn;
use rayon::prelude::*;

/// Cosines and sines of all angles, each [positions, d/2].
#[derive(Debug, Clone, Copy)]
pub struct Angles<'a> {
    /// Numbers of a position: half a head's.
    pub half: usize,
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

/// Rotates the first `heads` heads of each row of `x`, [batch, `seq`, `row`], in place; positions count from
/// 0 in each sequence. `inverse` rotates back, which is also what the gradient needs.
pub fn rotate(isa: Isa, x: &mut [f32], row: usize, angles: Angles, seq: usize, heads: usize, inverse: bool) {
    let (half, turned) = (angles.half, heads * angles.half * 2);
    if x.is_empty() {
        return;
    }
    assert!(
        turned > 0 && row >= turned && x.len().is_multiple_of(row * seq) && seq * half <= angles.cos.len(),
        "rotary embedding of other shapes"
    );
    let sign = if inverse { -1.0 } else { 1.0 };
    x.par_chunks_mut(row).with_min_len(8).enumerate().for_each(|(i, x)| {
        let at = i % seq * half;
        rotate_row(isa, &mut x[..turned], &angles.cos[at..][..half], &angles.sin[at..][..half], sign);
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
    use super::super::test_support::noise;
    use super::*;

    #[test]
    fn rotates_and_rotates_back() {
        for (batch, seq, heads, d) in [(1, 1, 1, 2), (2, 5, 3, 6), (2, 7, 2, 64), (1, 3, 1, 36)] {
            // Two numbers of each row are not to be touched.
            let row = heads * d + 2;
            let x = noise(1, batch * seq * row);
            let angle =
                |i: usize| (i / (d / 2)) as f64 * 1e4_f64.powf(-2.0 * (i % (d / 2)) as f64 / d as f64);
            let (sin, cos): (Vec<f32>, Vec<f32>) = (0..(seq + 2) * d / 2)
                .map(|i| angle(i).sin_cos())
                .map(|(sin, cos)| (sin as f32, cos as f32))
                .unzip();
            let angles = Angles { half: d / 2, cos: &cos, sin: &sin };
            for isa in Isa::available() {
                let mut y = x.clone();
                rotate(isa, &mut y, row, angles, seq, heads, false);
                for (place, (x, y)) in x.chunks(row).zip(y.chunks(row)).enumerate() {
                    let position = place % seq;
                    assert_eq!(x[row - 2..], y[row - 2..]);
                    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact(d)).take(heads) {
                        for i in 0..d / 2 {
                            let angle = angle(position * (d / 2) + i);
                            let (a, b) = (f64::from(x[i]), f64::from(x[i + d / 2]));
                            assert!((f64::from(y[i]) - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
                            assert!(
                                (f64::from(y[i + d / 2]) - (b * angle.cos() + a * angle.sin())).abs() < 1e-6
                            );
                        }
                    }
                }
                rotate(isa, &mut y, row, angles, seq, heads, true);
                assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-6), "{isa}");
            }
        }
        rotate(Isa::best(), &mut [], 8, Angles { half: 4, cos: &[], sin: &[] }, 4, 1, false);
    }
}
