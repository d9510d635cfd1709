//! Products against a reference in f64, on every path.

use super::test_support::{PRECISIONS, noise, on_threads};
use super::*;
use half::bf16;
use proptest::prelude::*;

fn rounded(precision: Precision, x: f32) -> f64 {
    match precision {
        Precision::F32 => x.into(),
        Precision::Bf16 => bf16::from_f32(x).to_f32().into(),
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    m: usize,
    k: usize,
    n: usize,
    transposed_a: bool,
    transposed_b: bool,
    alpha: f32,
    beta: f32,
    seed: u64,
}

/// Runs a case on a path and compares every element; the bound grows with the sum of absolute products.
fn check(isa: Isa, precision: Precision, case: Case) {
    let Case { m, k, n, transposed_a, transposed_b, alpha, beta, seed } = case;
    let (a_data, b_data) = (noise(seed, m * k), noise(seed + 1, k * n));
    let a = if transposed_a { MatRef::new(&a_data, k, m).t() } else { MatRef::new(&a_data, m, k) };
    let b = if transposed_b { MatRef::new(&b_data, n, k).t() } else { MatRef::new(&b_data, k, n) };
    let stride = n + 3;
    let before = noise(seed + 2, m * stride);
    let mut c = before.clone();
    gemm(isa, precision, alpha, a, b, beta, MatMut::with_stride(&mut c, m, n, stride));
    let at =
        |x: &MatRef, i: usize, j: usize| rounded(precision, x.data[i * x.row_stride + j * x.column_stride]);
    for i in 0..m {
        for j in 0..stride {
            let found = f64::from(c[i * stride + j]);
            let old = f64::from(before[i * stride + j]);
            if j >= n {
                assert_eq!(found, old, "{isa} wrote outside");
                continue;
            }
            let (mut sum, mut size) = (0.0, 0.0);
            for p in 0..k {
                let product = at(&a, i, p) * at(&b, p, j);
                sum += product;
                size += product.abs();
            }
            let expected = f64::from(alpha) * sum + f64::from(beta) * old;
            let bound = 1e-6 * (size * f64::from(alpha.abs()) + f64::from(beta.abs()) + 1e-3);
            assert!(
                (found - expected).abs() <= bound,
                "{isa} {precision:?} {case:?} ({i}, {j}): {found} {expected}"
            );
        }
    }
    // Packed before, on other numbers of threads: the same bits.
    let packed = PackedMatrix::new(isa, precision, b);
    for threads in [1, 3] {
        let mut again = before.clone();
        on_threads(threads, || {
            gemm_packed(alpha, a, &packed, beta, MatMut::with_stride(&mut again, m, n, stride));
        });
        assert!(again.iter().zip(&c).all(|(x, y)| x.to_bits() == y.to_bits()), "{isa} {threads} threads");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn products_agree_with_the_reference(
        m in 0_usize..70, k in 0_usize..600, n in 0_usize..90,
        transposed_a: bool, transposed_b: bool,
        alpha in prop::sample::select(vec![1.0_f32, -0.5, 0.0]),
        beta in prop::sample::select(vec![0.0_f32, 1.0, 0.25]),
        seed in 0_u64..1000,
    ) {
        for isa in Isa::available() {
            for precision in PRECISIONS {
                check(isa, precision, Case { m, k, n, transposed_a, transposed_b, alpha, beta, seed });
            }
        }
    }
}

#[test]
fn shapes_that_are_cut_both_ways() {
    for (m, k, n) in [(1, 300, 1000), (300, 515, 700), (160, 33, 530), (1, 1, 1)] {
        for isa in Isa::available() {
            for precision in PRECISIONS {
                let case =
                    Case { m, k, n, transposed_a: false, transposed_b: true, alpha: 1.0, beta: 1.0, seed: 5 };
                check(isa, precision, case);
            }
        }
    }
}

#[test]
fn bfloat16_in_and_out() {
    let (m, k, n) = (37, 1050, 600);
    let round = |data: &[f32]| data.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>();
    let (a, b) = (noise(1, m * k), noise(2, k * n));
    for isa in Isa::available() {
        let mut wide = vec![0.0_f32; m * n];
        let (a16, b16) = (round(&a), round(&b));
        gemm(
            isa,
            Precision::Bf16,
            1.0,
            MatRef::new(&a16, m, k),
            MatRef::new(&b16, k, n),
            0.0,
            MatMut::new(&mut wide, m, n),
        );
        let mut same = vec![f32::NAN; m * n];
        gemm(
            isa,
            Precision::Bf16,
            1.0,
            MatRef::new(&a, m, k),
            MatRef::new(&b, k, n),
            0.0,
            MatMut::new(&mut same, m, n),
        );
        assert_eq!(wide, same, "{isa}: rounding while packing");
        let mut narrow = vec![bf16::ONE; m * n];
        gemm(
            isa,
            Precision::Bf16,
            1.0,
            MatRef::new(&a16, m, k),
            MatRef::new(&b, k, n),
            2.0,
            MatMut::new(&mut narrow, m, n),
        );
        for (narrow, wide) in narrow.iter().zip(&wide) {
            assert_eq!(*narrow, bf16::from_f32(wide + 2.0), "{isa}");
        }
    }
}

#[test]
fn zero_beta_overwrites_what_is_not_a_number() {
    for isa in Isa::available() {
        let mut c = vec![f32::NAN; 40 * 40];
        let ones = vec![1.0_f32; 40 * 40];
        gemm(
            isa,
            Precision::F32,
            1.0,
            MatRef::new(&ones, 40, 40),
            MatRef::new(&ones, 40, 40),
            0.0,
            MatMut::new(&mut c, 40, 40),
        );
        assert!(c.iter().all(|&x| x == 40.0));
    }
}
