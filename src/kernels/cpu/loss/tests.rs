//! The fused loss against the reference in f64, and the reference against finite differences.

use super::super::test_support::{PRECISIONS, noise, on_threads};
use super::divergence::EQUAL;
use super::reference::{self, Inputs, expected};
use super::*;
use crate::kernels::cpu::{Isa, MatRef};
use crate::kernels::loss_spec::{Distillation, Divergence};
use crate::kernels::precision::Precision;
use half::bf16;
use proptest::prelude::*;

const KINDS: [Option<Divergence>; 17] = [
    None,
    Some(Divergence::ForwardKl),
    Some(Divergence::ReverseKl),
    Some(Divergence::JensenShannon { beta: 0.3 }),
    Some(Divergence::JensenShannon { beta: 0.0 }),
    Some(Divergence::JensenShannon { beta: 1.0 }),
    Some(Divergence::SkewForwardKl { skew: 0.1 }),
    Some(Divergence::SkewForwardKl { skew: 0.0 }),
    Some(Divergence::SkewForwardKl { skew: 1.0 }),
    Some(Divergence::SkewReverseKl { skew: 0.1 }),
    Some(Divergence::SkewReverseKl { skew: 0.0 }),
    Some(Divergence::SkewReverseKl { skew: 1.0 }),
    Some(Divergence::MixedKl { forward_weight: 0.3 }),
    Some(Divergence::MixedKl { forward_weight: 0.0 }),
    Some(Divergence::MixedKl { forward_weight: 1.0 }),
    Some(Divergence::TotalVariation),
    Some(Divergence::LogitMse),
];

fn config(divergence: Option<Divergence>, temperature: f64, hard_weight: f64) -> LossConfig {
    LossConfig { mix: Distillation { divergence, temperature, hard_weight }, agreement: true }
}

#[test]
fn the_reference_gradient_agrees_with_finite_differences() {
    let wide = |seed| noise(seed, 11).into_iter().map(|x| 3.0 * f64::from(x)).collect::<Vec<f64>>();
    let (s, t) = (wide(1), wide(2));
    for soft in KINDS {
        for (temperature, weight) in [(1.0, 0.0), (1.7, 0.4), (0.5, 1.0)] {
            let config = config(soft, temperature, weight);
            let total = |s: &[f64]| {
                let [hard, soft] = config.mix.weights();
                hard * reference::hard(s, 3) + soft * reference::soft(&config.mix, s, &t)
            };
            let d = reference::gradient(&config, &s, &t, 3);
            for j in 0..s.len() {
                let (mut up, mut down) = (s.clone(), s.clone());
                up[j] += 1e-5;
                down[j] -= 1e-5;
                let numeric = (total(&up) - total(&down)) / 2e-5;
                assert!(
                    (numeric - d[j]).abs() < 1e-7,
                    "{soft:?} T={temperature} w={weight}: {numeric} {}",
                    d[j]
                );
            }
        }
    }
}

struct Case {
    n: usize,
    v: usize,
    hidden: Vec<f32>,
    width: usize,
    head: Vec<f32>,
    t_hidden: Vec<f32>,
    t_width: usize,
    /// Two words more than the student's.
    t_head: Vec<f32>,
    targets: Vec<i32>,
}

impl Case {
    /// Logits of about `size`; of the rows, one in four does not count, or none does.
    fn new(n: usize, v: usize, width: usize, t_width: usize, size: f32, masked: bool, seed: u64) -> Case {
        let scaled = |seed, len, width: usize| -> Vec<f32> {
            let factor = (size / (width as f32).sqrt()).sqrt() * 1.7;
            noise(seed, len).into_iter().map(|x| bf16::from_f32(x * factor).to_f32()).collect()
        };
        let target = |(i, x): (usize, f32)| {
            if masked || (i % 4 == 3) { IGNORED } else { ((x * 0.5 + 0.5) * v as f32) as i32 % v as i32 }
        };
        Case {
            n,
            v,
            width,
            t_width,
            hidden: scaled(seed, n * width, width),
            head: scaled(seed + 1, v * width, width),
            t_hidden: scaled(seed + 2, n * t_width, t_width),
            t_head: scaled(seed + 3, (v + 2) * t_width, t_width),
            targets: noise(seed + 4, n).into_iter().enumerate().map(target).collect(),
        }
    }

    fn run(&self, isa: Isa, precision: Precision, config: &LossConfig) -> (Loss, Vec<f32>, Vec<f32>) {
        let head = Head::new(isa, precision, MatRef::new(&self.head, self.v, self.width));
        let t_head =
            Head::new(isa, precision, MatRef::new(&self.t_head, self.v + 2, self.t_width).rows(0, self.v));
        let student = Side { hidden: MatRef::new(&self.hidden, self.n, self.width), head: &head };
        let teacher = Teacher::Hidden(Side {
            hidden: MatRef::new(&self.t_hidden, self.n, self.t_width),
            head: &t_head,
        });
        let mut d_hidden = vec![f32::NAN; self.n * self.width];
        let mut d_head = vec![f32::NAN; self.v * self.width];
        let weight = MatRef::new(&self.head, self.v, self.width);
        let gradients = Gradients { scale: 1.0, weight, hidden: &mut d_hidden, head: &mut d_head };
        let loss = distillation_loss(config, student, Some(teacher), &self.targets, Some(gradients));
        let without = distillation_loss(config, student, Some(teacher), &self.targets, None);
        assert_eq!(loss, without, "the loss without gradients");
        (loss, d_hidden, d_head)
    }

    /// Logits' size decides what rounding does: a logit is a sum of f32, so it is some 1e-7 of its size off,
    /// and a probability that, divided by T, relatively.
    fn check(&self, isa: Isa, precision: Precision, config: &LossConfig, size: f64) {
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (h, w, th, tw) = (wide(&self.hidden), wide(&self.head), wide(&self.t_hidden), wide(&self.t_head));
        let temperature = config.mix.temperature;
        let logits = 1e-6 * (1.0 + size / temperature.min(1.0));
        let inputs = Inputs {
            student: (&h, self.width, &w),
            teacher: (&th, self.t_width, &tw),
            targets: &self.targets,
            v: self.v,
        };
        let e = expected(config, &inputs, logits + 2.0 * f64::from(EQUAL));
        let (loss, d_hidden, d_head) = self.run(isa, precision, config);
        // The inputs are bfloat16 numbers already: only the gradient of the logits is rounded further.
        let rounding = if precision == Precision::Bf16 { 4e-3 } else { 0.0 };
        let close = |found: f64, expected: f64, scale: f64, name: &str| {
            let bound = 1e-5 * expected.abs() + scale;
            assert!(
                (found - expected).abs() <= bound,
                "{isa} {precision:?} {config:?} n={} v={} size={size} {name}: {found} {expected}",
                self.n,
                self.v
            );
        };
        let factor = if config.mix.divergence == Some(Divergence::LogitMse) {
            size
        } else {
            temperature * temperature
        };
        close(loss.hard, e.hard, 1e-6 * (1.0 + size), "hard");
        close(loss.soft, e.soft, logits * (1.0 + factor), "soft");
        close(loss.total, e.total, logits * (1.0 + factor), "total");
        let largest = |values: &[f64]| values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let slack = |expected: &[f64], other: &[f64]| {
            let top = largest(expected);
            let weight = (size / self.width as f64).sqrt() * 3.0 * (self.width.max(self.t_width) as f64);
            (rounding + 1e-5) * top
                + e.jumps * largest(other)
                + logits * (temperature.max(1.0) * weight).min(1e3)
                + rounding * weight * temperature.max(1.0) * 0.3
        };
        for (name, found, expected, other) in
            [("d_hidden", &d_hidden, &e.hidden, &w), ("d_head", &d_head, &e.head, &h)]
        {
            let slack = slack(expected, other);
            for (&found, &expected) in found.iter().zip(expected) {
                close(found.into(), expected, slack, name);
            }
        }
    }
}

#[test]
fn every_kind_agrees_tightly_on_ordinary_logits() {
    // Gradients relative to their own norm: no slack that could hide an error.
    for isa in Isa::available() {
        for soft in KINDS {
            for (temperature, weight) in [(1.0, 0.3), (2.5, 0.4), (0.7, 0.0), (1.0, 1.0)] {
                let case = Case::new(21, 83, 24, 33, 3.0, false, 9);
                let config = config(soft, temperature, weight);
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
                let (h, w, th, tw) =
                    (wide(&case.hidden), wide(&case.head), wide(&case.t_hidden), wide(&case.t_head));
                let e = expected(
                    &config,
                    &Inputs { student: (&h, 24, &w), teacher: (&th, 33, &tw), targets: &case.targets, v: 83 },
                    0.0,
                );
                for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Bf16, 5e-3)] {
                    let (loss, d_hidden, d_head) = case.run(isa, precision, &config);
                    assert!((loss.hard - e.hard).abs() <= 1e-6 * e.hard, "{isa} {config:?}");
                    assert!(
                        (loss.soft - e.soft).abs() <= 3e-6 * (e.soft + 0.1),
                        "{isa} {config:?} {} {}",
                        loss.soft,
                        e.soft
                    );
                    for (found, expected) in [(d_hidden, &e.hidden), (d_head, &e.head)] {
                        let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
                        let error = found
                            .iter()
                            .zip(expected)
                            .map(|(&x, y)| (f64::from(x) - y).powi(2))
                            .sum::<f64>()
                            .sqrt();
                        assert!(
                            error <= bound * norm + 1e-12,
                            "{isa} {precision:?} {config:?}: {error} of {norm}"
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn random_shapes_agree(
        n in 1_usize..40, v in 1_usize..120, width in 1_usize..40, t_width in 1_usize..40,
        size in prop::sample::select(vec![0.1_f32, 5.0, 200.0, 1e4]),
        temperature in prop::sample::select(vec![0.1_f64, 1.0, 2.0, 20.0]),
        weight in prop::sample::select(vec![0.0_f64, 0.5, 1.0]),
        soft in prop::sample::select(KINDS.to_vec()), masked in prop::bool::weighted(0.1),
        seed in 0_u64..1000,
    ) {
        let case = Case::new(n, v, width, t_width, size, masked, seed);
        for isa in Isa::available() {
            for precision in PRECISIONS {
                case.check(isa, precision, &config(soft, temperature, weight), f64::from(size) * 5.0);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let case = Case::new(700, 300, 40, 56, 4.0, false, 3);
    for isa in Isa::available() {
        for precision in PRECISIONS {
            let config = config(Some(Divergence::JensenShannon { beta: 0.4 }), 1.5, 0.5);
            let one = on_threads(1, || case.run(isa, precision, &config));
            for threads in [2, 5] {
                let other = on_threads(threads, || case.run(isa, precision, &config));
                assert!(one == other, "{isa} {precision:?} {threads}");
            }
        }
    }
}

#[test]
fn no_rows_no_counting_rows_and_counts() {
    for isa in Isa::available() {
        let config = config(Some(Divergence::ForwardKl), 1.0, 0.5);
        let (loss, d_hidden, d_head) = Case::new(9, 20, 8, 8, 1.0, true, 1).run(isa, Precision::F32, &config);
        assert_eq!(loss, Loss::default());
        assert!(d_hidden.iter().chain(&d_head).all(|&x| x == 0.0));
        assert_eq!(
            Case::new(0, 20, 8, 8, 1.0, false, 1).run(isa, Precision::F32, &config).0,
            Loss::default()
        );

        // One-hot hidden states pick columns of the head: all counts are known.
        let head = Head::new(isa, Precision::F32, MatRef::new(&[1.0_f32, 0.0, 2.0, 0.0, 0.0, 3.0], 3, 2));
        let other = Head::new(isa, Precision::F32, MatRef::new(&[1.0_f32, 4.0, 2.0, 0.0, 0.0, 3.0], 3, 2));
        let hidden = [1.0_f32, 0.0, 0.0, 1.0];
        let side = |head| Side { hidden: MatRef::new(&hidden[..], 2, 2), head };
        let loss =
            distillation_loss(&config, side(&head), Some(Teacher::Hidden(side(&other))), &[1, 0], None);
        assert_eq!((loss.rows, loss.correct, loss.agreement.agreed, loss.agreement.correct), (2, 1, 1, 2));
        // Logits 1, 2, 0 for label 1; 4, 0, 3 for label 0.
        let cross_entropy = |xs: [f64; 3], y: usize| xs.iter().map(|x| x.exp()).sum::<f64>().ln() - xs[y];
        let hard = cross_entropy([1.0, 2.0, 0.0], 1) + cross_entropy([4.0, 0.0, 3.0], 0);
        assert!((loss.agreement.hard - hard).abs() < 1e-6);
    }
}

#[test]
fn scale_multiplies_the_gradients() {
    let case = Case::new(5, 30, 8, 8, 2.0, false, 4);
    let isa = Isa::best();
    let head = Head::new(isa, Precision::F32, MatRef::new(&case.head, 30, 8));
    let student = Side { hidden: MatRef::new(&case.hidden, 5, 8), head: &head };
    let (mut d_hidden, mut d_head) = (vec![0.0; 40], vec![0.0; 240]);
    let mut run = |scale, d_head: &mut [f32]| {
        let weight = MatRef::new(&case.head, 30, 8);
        let gradients = Gradients { scale, weight, hidden: &mut d_hidden, head: d_head };
        distillation_loss(
            &LossConfig { mix: Distillation::CROSS_ENTROPY, agreement: false },
            student,
            None::<Teacher<f32>>,
            &case.targets,
            Some(gradients),
        );
    };
    run(1.0, &mut d_head);
    let once = d_head.clone();
    run(0.5, &mut d_head);
    for (half, once) in d_head.iter().zip(once) {
        assert!((half - 0.5 * once).abs() <= 1e-6 * once.abs() + 1e-9);
    }
}

#[test]
fn hidden_states_and_heads_in_bfloat16_give_the_same_bits() {
    // The numbers are bfloat16 ones already, so nothing is rounded on the way.
    let case = Case::new(37, 50, 24, 40, 3.0, false, 8);
    let narrow = |x: &[f32]| x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<bf16>>();
    let (hidden, head) = (narrow(&case.hidden), narrow(&case.head));
    let (t_hidden, t_head) = (narrow(&case.t_hidden), narrow(&case.t_head));
    for isa in Isa::available() {
        for precision in PRECISIONS {
            let config = config(Some(Divergence::ReverseKl), 1.5, 0.5);
            let head = Head::new(isa, precision, MatRef::new(&head, 50, 24));
            let t_head = Head::new(isa, precision, MatRef::new(&t_head, 52, 40).rows(0, 50));
            let student = Side { hidden: MatRef::new(&hidden, 37, 24), head: &head };
            let teacher = Teacher::Hidden(Side { hidden: MatRef::new(&t_hidden, 37, 40), head: &t_head });
            let (mut d_hidden, mut d_head) = (vec![0.0; 37 * 24], vec![0.0; 50 * 24]);
            let weight = MatRef::new(&case.head, 50, 24);
            let gradients = Gradients { scale: 1.0, weight, hidden: &mut d_hidden, head: &mut d_head };
            let loss = distillation_loss(&config, student, Some(teacher), &case.targets, Some(gradients));
            assert!((loss, d_hidden, d_head) == case.run(isa, precision, &config), "{isa} {precision:?}");
        }
    }
}

#[test]
fn the_largest_logits_with_one_for_the_rest_are_a_teacher() {
    // The same teacher by hidden states: unit vectors pick the columns of a head that holds the logits.
    let (n, v, k) = (3, 11, 2);
    let rest = [-1.0_f32, 0.5, 2.0];
    let (ids, kept) = ([4, 9, 0, 10, 5, 6], [3.0_f32, 2.5, 1.0, 4.0, 2.5, 7.0]);
    let mut dense = vec![0.0_f32; n * v];
    for row in 0..n {
        dense[row * v..][..v].fill(rest[row]);
        for i in row * k..(row + 1) * k {
            dense[row * v + ids[i] as usize] = kept[i];
        }
    }
    let unit: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
    let case = Case::new(n, v, 8, 8, 2.0, false, 4);
    for isa in Isa::available() {
        for soft in [KINDS[1], KINDS[3], KINDS[16]] {
            let config = config(soft, 2.0, 0.25);
            let head = Head::new(isa, Precision::F32, MatRef::new(&case.head, v, 8));
            let student = Side { hidden: MatRef::new(&case.hidden, n, 8), head: &head };
            let t_head = Head::new(isa, Precision::F32, MatRef::new(&dense, n, v).t());
            let by_hidden = Teacher::Hidden(Side { hidden: MatRef::new(&unit, n, n), head: &t_head });
            let top = TopK { k, ids: &ids, logits: &kept, rest: &rest };
            let run = |teacher| {
                let (mut d_hidden, mut d_head) = (vec![0.0; n * 8], vec![0.0; v * 8]);
                let weight = MatRef::new(&case.head, v, 8);
                let gradients = Gradients { scale: 1.0, weight, hidden: &mut d_hidden, head: &mut d_head };
                let loss = distillation_loss(&config, student, Some(teacher), &case.targets, Some(gradients));
                (loss, d_hidden, d_head)
            };
            assert!(run(by_hidden) == run(Teacher::TopK(top)), "{isa} {soft:?}");
        }
    }
}

/// Rows of unit vectors, so that the logits are those of the heads, to the last bit.
fn exact_logits(n: usize, v: usize, size: f32, seed: u64) -> Case {
    let unit: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
    let head = |seed, v| noise(seed, v * n).into_iter().map(|x| x * size).collect();
    Case {
        n,
        v,
        width: n,
        t_width: n,
        hidden: unit.clone(),
        head: head(seed, v),
        t_hidden: unit,
        t_head: head(seed + 1, v + 2),
        targets: (0..n as i32).map(|i| i * 7 % v as i32).collect(),
    }
}

#[test]
fn low_temperatures_are_as_exact_as_ordinary_ones() {
    let (n, v) = (12, 301);
    let cases = [3.0_f32, 30.0, 300.0].into_iter().flat_map(|size| {
        let at = move |temperature: f64| KINDS[1..].iter().map(move |kind| (size, temperature, *kind));
        [1e-3, 1e-2, 0.03, 0.1].into_iter().flat_map(at)
    });
    for (size, temperature, kind) in cases {
        let case = exact_logits(n, v, size, 5);
        let config = config(kind, f64::from(temperature as f32), 0.0);
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let (h, w, th, tw) = (wide(&case.hidden), wide(&case.head), wide(&case.t_hidden), wide(&case.t_head));
        let inputs = Inputs { student: (&h, n, &w), teacher: (&th, n, &tw), targets: &case.targets, v };
        let e = expected(&config, &inputs, 0.0);
        for isa in Isa::available() {
            let (loss, _, d_head) = case.run(isa, Precision::F32, &config);
            let at = format!("{isa} {config:?} size={size}");
            assert!(
                (loss.soft - e.soft).abs() <= 1e-6 * e.soft.abs() + 1e-9,
                "{at}: {} {}",
                loss.soft,
                e.soft
            );
            // Where both models have chosen, the gradient is what is left of terms as large as the logits.
            let terms = f64::from(size) / (n as f64).sqrt();
            let error =
                d_head.iter().zip(&e.head).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum::<f64>().sqrt();
            assert!(error <= 2e-6 * terms, "{at}: gradient off by {error} where terms are {terms}");
        }
    }
}
