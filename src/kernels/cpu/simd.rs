//! Vectors of f32, written once and compiled for every path.
//!
//! A kernel is a function generic over [`Simd`]; [`simd_fn!`](super::simd_fn) wraps it in one
//! `#[target_feature]` function per path and picks one by [`Isa`](super::isa::Isa). The values that implement
//! the trait are proofs that the processor has the instructions, as `Isa` is, so the operations are safe.

/// One path's vector of f32. Lanes are independent; the order of a horizontal sum is fixed by the path.
pub trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// The first `LANES` numbers of `from`. Panics when there are fewer.
    fn load(self, from: &[f32]) -> Self::V;
    /// All of `from`, at most `LANES` numbers, and `fill` in the lanes after them.
    fn load_part(self, from: &[f32], fill: f32) -> Self::V;
    /// Writes the vector to the first `LANES` numbers of `to`. Panics when there are fewer.
    fn store(self, v: Self::V, to: &mut [f32]);
    /// Writes the first `to.len()` lanes, at most `LANES`.
    fn store_part(self, v: Self::V, to: &mut [f32]);

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the path can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once where the path can.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even, for |a| < 2²².
    fn round(self, a: Self::V) -> Self::V;
    /// `x` where `a > b`, else `y`.
    fn if_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `x` where `a` is NaN, else `y`.
    fn if_nan(self, a: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `a · 2ⁿ` for an integral `n` in [−252, 254], correct also where the result is subnormal or infinite.
    fn scale2(self, a: Self::V, n: Self::V) -> Self::V;
    /// For a positive normal `a = m · 2ᵉ` with `m` in [√½, √2) (to a few units in the last place): (m, e).
    fn mantissa_exponent(self, a: Self::V) -> (Self::V, Self::V);
    /// The sum of all lanes.
    fn sum(self, a: Self::V) -> f32;
    /// The largest lane (no NaN).
    fn maximum(self, a: Self::V) -> f32;
}

/// Subtracted from the bits of a number so that its mantissa falls into [√½, √2): the bits of √½.
pub(super) const SQRT_HALF_BITS: u32 = 0x3f35_04f3;

/// Plain Rust, eight lanes, for the compiler to vectorize.
#[derive(Clone, Copy)]
pub struct Portable;

impl Portable {
    #[inline(always)]
    fn map2(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let from = &from[..8];
        std::array::from_fn(|i| from[i])
    }
    #[inline(always)]
    fn load_part(self, from: &[f32], fill: f32) -> Self::V {
        let mut v = [fill; 8];
        v[..from.len()].copy_from_slice(from);
        v
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32]) {
        to[..8].copy_from_slice(&v);
    }
    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        to.copy_from_slice(&v[..to.len()]);
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `f32::mul_add`: without the instruction it is a library call per lane.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| c[i] - a[i] * b[i])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // 1.5 · 2²³: adding it leaves no bits for a fraction, and the addition rounds to even.
        const SHIFT: f32 = 12_582_912.0;
        a.map(|a| (a + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn if_gt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn if_nan(self, a: Self::V, x: Self::V, y: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i].is_nan() { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn scale2(self, a: Self::V, n: Self::V) -> Self::V {
        // In two steps: 2ⁿ itself may be out of range where a · 2ⁿ is not.
        let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
        std::array::from_fn(|i| {
            let n = n[i] as i32;
            let half = n >> 1;
            a[i] * power(half) * power(n - half)
        })
    }
    #[inline(always)]
    fn mantissa_exponent(self, a: Self::V) -> (Self::V, Self::V) {
        let mut m = a;
        let mut e = a;
        for i in 0..8 {
            let shifted = a[i].to_bits().wrapping_sub(SQRT_HALF_BITS) as i32;
            e[i] = (shifted >> 23) as f32;
            m[i] = f32::from_bits(((shifted as u32) & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
        }
        (m, e)
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn maximum(self, a: Self::V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m })
    }
}
