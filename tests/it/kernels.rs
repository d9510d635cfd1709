//! Every kernel against the same thing written out in double precision, values and gradients.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kdx::kernels::{
    Distillation, Divergence, Projection, RotaryTable, causal_attention, distillation_loss, linear, measure,
    rms_norm, rotary, swiglu,
};
use proptest::prelude::*;

use crate::support::reference::{attention, differences, divergence, log_softmax, noise};

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}[{index}]: {a} for {b}");
    }
}

/// Holds a function of several tensors of one rank to its reference: its value, and the gradients of a
/// weighted sum of its elements.
#[track_caller]
fn check<const D: usize>(
    inputs: &[([usize; D], Vec<f64>)],
    kernel: impl Fn(&[Tensor<D>]) -> Tensor<D>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let values: Vec<Vec<f64>> = inputs.iter().map(|(_, values)| values.clone()).collect();
    let tensors: Vec<Tensor<D>> = inputs.iter().map(|(shape, values)| tensor(values, *shape)).collect();
    let output = kernel(&tensors);
    let expected = reference(&values);
    assert_near("value", &numbers(output.clone()), &expected, 1e-5);
    let inner: Vec<Tensor<D>> = tensors.iter().map(|t| t.clone().without_autodiff()).collect();
    assert_near("value without a graph", &numbers(kernel(&inner)), &expected, 1e-5);

    let weights = noise(99, expected.len());
    let weighted = output.clone() * tensor(&weights, output.dims()).detach();
    let gradients = weighted.sum().backward();
    for (index, tensor) in tensors.iter().enumerate() {
        let found = numbers(tensor.grad(&gradients).expect("a gradient"));
        let expected = differences(&values[index], |moved| {
            let mut values = values.clone();
            values[index] = moved.to_vec();
            reference(&values).iter().zip(&weights).map(|(value, weight)| value * weight).sum()
        });
        assert_near(&format!("gradient of input {index}"), &found, &expected, 2e-5);
    }
}

#[test]
fn attention_and_its_gradients_are_those_of_the_definition() {
    for (batch, length, heads, kv_heads, width) in
        [(1, 1, 1, 1, 2), (2, 5, 4, 2, 4), (2, 3, 6, 1, 2), (1, 7, 3, 3, 4)]
    {
        let shape = |heads: usize| [batch, length, heads, width];
        let input = |seed, heads: usize| (shape(heads), noise(seed, batch * length * heads * width));
        check(
            &[input(1, heads), input(2, kv_heads), input(3, kv_heads)],
            |t| causal_attention(t[0].clone(), t[1].clone(), t[2].clone()),
            |values| {
                let row = |values: &[f64], heads: usize, b: usize| {
                    let size = length * heads * width;
                    values[b * size..(b + 1) * size].to_vec()
                };
                let of = |b| {
                    let (q, k, v) = (
                        row(&values[0], heads, b),
                        row(&values[1], kv_heads, b),
                        row(&values[2], kv_heads, b),
                    );
                    attention(&q, &k, &v, heads, kv_heads, width)
                };
                (0..batch).flat_map(of).collect()
            },
        );
    }
}

#[test]
fn rotary_turns_pairs_by_the_angle_of_their_position() {
    let (batch, length, heads, width) = (2, 5, 3, 4);
    let frequencies = [1.0, 0.1];
    let table = RotaryTable::new(&frequencies, 8, &Device::flex());
    check(
        &[([batch, length, heads, width], noise(5, batch * length * heads * width))],
        |t| rotary(t[0].clone(), &table),
        |values| {
            let mut turned = values[0].clone();
            for (place, head) in turned.chunks_mut(width).enumerate() {
                let position = (place / heads) % length;
                for (pair, frequency) in frequencies.iter().enumerate() {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    let (a, b) = (head[pair], head[pair + width / 2]);
                    head[pair] = a * cos - b * sin;
                    head[pair + width / 2] = b * cos + a * sin;
                }
            }
            turned
        },
    );
}

#[test]
fn norm_linear_and_swiglu_are_those_of_the_definition() {
    let (rows, width, out) = (3, 6, 4);
    let x = ([rows, width], noise(7, rows * width));
    check(
        &[x.clone(), ([1, width], noise(8, width))],
        |t| rms_norm(t[0].clone(), t[1].clone().reshape([width]), 1e-3),
        |values| {
            let row = |row: &[f64]| -> Vec<f64> {
                let root = (row.iter().map(|x| x * x).sum::<f64>() / width as f64 + 1e-3).sqrt();
                row.iter().zip(&values[1]).map(|(x, weight)| x / root * weight).collect()
            };
            values[0].chunks(width).flat_map(row).collect()
        },
    );
    check(
        &[x.clone(), ([out, width], noise(9, out * width))],
        |t| linear(t[0].clone(), t[1].clone()),
        |values| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
            let row = |x: &[f64]| -> Vec<f64> { values[1].chunks(width).map(|w| dot(x, w)).collect() };
            values[0].chunks(width).flat_map(row).collect()
        },
    );
    check(
        &[x.clone(), ([rows, width], noise(10, rows * width))],
        |t| swiglu(t[0].clone() * 4.0, t[1].clone()),
        |values| {
            let silu = |x: f64| 4.0 * x / (1.0 + (-4.0 * x).exp());
            values[0].iter().zip(&values[1]).map(|(gate, up)| silu(*gate) * up).collect()
        },
    );
}

#[test]
fn swiglu_of_extreme_gates_is_finite_in_value_and_gradient() {
    let gate = tensor(&[-1e4, -100.0, 0.0, 100.0, 1e4], [1, 5]);
    let up = tensor(&[1.0; 5], [1, 5]);
    let output = swiglu(gate.clone(), up.clone());
    assert_near("value", &numbers(output.clone()), &[0.0, 0.0, 0.0, 100.0, 1e4], 1e-6);
    let gradients = output.sum().backward();
    assert_near("gate", &numbers(gate.grad(&gradients).unwrap()), &[0.0, 0.0, 0.5, 1.0, 1.0], 1e-6);
    assert_near("up", &numbers(up.grad(&gradients).unwrap()), &[0.0, 0.0, 0.0, 100.0, 1e4], 1e-6);
}

/// A loss to be held to its reference: logits of `rows` by `vocab`, the teacher's wider by `extra`.
#[derive(Debug, Clone)]
struct Case {
    mix: Distillation,
    rows: usize,
    vocab: usize,
    extra: usize,
    seed: u64,
    scale: f64,
}

impl Case {
    fn student(&self) -> Vec<f64> {
        noise(self.seed, self.rows * self.vocab).iter().map(|z| f64::from((z * self.scale) as f32)).collect()
    }

    /// Row-major `[rows, vocab + extra]`.
    fn teacher(&self) -> Vec<f64> {
        let values = noise(self.seed ^ 0xabcd, self.rows * (self.vocab + self.extra));
        values.iter().map(|z| f64::from((z * self.scale) as f32)).collect()
    }

    fn targets(&self) -> Vec<usize> {
        (0..self.rows).map(|row| (row * 7 + self.seed as usize) % self.vocab).collect()
    }

    /// Hidden states that are the unit vectors, so that the head holds the logits themselves.
    fn projection(&self, logits: &[f64], vocab: usize) -> Projection {
        let n = self.rows;
        let unit: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i % (n + 1) == 0))).collect();
        Projection { hidden: tensor(&unit, [n, n]), head: tensor(&turned(logits, n, vocab), [vocab, n]) }
    }

    fn taught(&self) -> Projection {
        let projection = self.projection(&self.teacher(), self.vocab + self.extra);
        Projection { hidden: projection.hidden.without_autodiff(), head: projection.head.without_autodiff() }
    }

    fn target_tensor(&self) -> Tensor<1, Int> {
        let targets: Vec<i64> = self.targets().iter().map(|&t| t as i64).collect();
        Tensor::from_data(TensorData::new(targets, [self.rows]), &Device::flex())
    }

    /// Hard and soft loss of these student logits, by definition.
    fn reference(&self, student: &[f64]) -> (f64, f64) {
        let (teacher, targets) = (self.teacher(), self.targets());
        let (mut hard, mut soft) = (0.0, 0.0);
        for (row, target) in targets.iter().enumerate() {
            let student = &student[row * self.vocab..(row + 1) * self.vocab];
            let teacher = &teacher[row * (self.vocab + self.extra)..][..self.vocab];
            hard -= log_softmax(student, 1.0)[*target];
            soft += self
                .mix
                .divergence
                .map_or(0.0, |kind| divergence(kind, student, teacher, self.mix.temperature));
        }
        (hard / self.rows as f64, soft / self.rows as f64)
    }

    fn total(&self, student: &[f64]) -> f64 {
        let (hard, soft) = self.reference(student);
        self.mix.hard_weight * hard + (1.0 - self.mix.hard_weight) * soft
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn turned(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

fn kind() -> impl Strategy<Value = Divergence> {
    let weight = prop_oneof![Just(0.0), Just(1.0), Just(0.5), 0.01..0.99f64];
    (0..7u8, weight).prop_map(|(kind, x)| match kind {
        0 => Divergence::ForwardKl,
        1 => Divergence::ReverseKl,
        2 => Divergence::JensenShannon { beta: x },
        3 => Divergence::SkewForwardKl { skew: x },
        4 => Divergence::SkewReverseKl { skew: x },
        5 => Divergence::TotalVariation,
        _ => Divergence::LogitMse,
    })
}

fn case(scale: impl Strategy<Value = f64>) -> impl Strategy<Value = Case> {
    let temperature = prop_oneof![Just(1.0), (-2.3..3.0f64).prop_map(f64::exp)];
    let weight = prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64];
    (kind(), temperature, weight, 1..6usize, 2..12usize, 0..4usize, any::<u64>(), scale).prop_map(
        |(kind, temperature, hard_weight, rows, vocab, extra, seed, scale)| Case {
            mix: Distillation { divergence: Some(kind), temperature, hard_weight },
            rows,
            vocab,
            extra,
            seed,
            scale,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_and_gradients_are_those_of_the_definition(case in case(0.1..8.0f64)) {
        let logits = case.student();
        let student = case.projection(&logits, case.vocab);
        let losses = distillation_loss(student.clone(), Some(case.taught()), case.target_tensor(), &case.mix);
        let (hard, soft) = case.reference(&logits);
        // How far apart scaled logits may be decides how exact single precision can be.
        let spread = 1.0 + case.scale / case.mix.temperature;
        let tolerance = 2e-6 * spread * (1.0 + case.mix.temperature * case.mix.temperature);
        assert_near("hard", &numbers(losses.hard.clone()), &[hard], 2e-6 * (1.0 + case.scale));
        assert_near("soft", &numbers(losses.soft.clone().unwrap()), &[soft], tolerance);
        assert_near("total", &numbers(losses.total.clone()), &[case.total(&logits)], tolerance);

        let gradients = losses.total.backward();
        let head = numbers(student.head.grad(&gradients).unwrap());
        let expected = differences(&logits, |logits| case.total(logits));
        assert_near("gradient", &head, &turned(&expected, case.rows, case.vocab), 10.0 * tolerance);
        // The hidden states' gradient is that of the logits times the head.
        let hidden = numbers(student.hidden.grad(&gradients).unwrap());
        let product = |row: usize, i: usize| -> f64 {
            (0..case.vocab).map(|v| expected[row * case.vocab + v] * logits[i * case.vocab + v]).sum()
        };
        let n = case.rows;
        let expected: Vec<f64> = (0..n * n).map(|place| product(place / n, place % n)).collect();
        assert_near("hidden", &hidden, &expected, 10.0 * tolerance * (1.0 + case.scale * case.vocab as f64));
    }

    #[test]
    fn extreme_logits_give_finite_losses_and_gradients(case in case(prop_oneof![Just(1e4), Just(1e3), 10.0..1e4f64])) {
        let student = case.projection(&case.student(), case.vocab);
        let losses = distillation_loss(student.clone(), Some(case.taught()), case.target_tensor(), &case.mix);
        let soft = numbers(losses.soft.clone().unwrap())[0];
        prop_assert!(soft.is_finite() && soft >= -1e-3 * case.mix.temperature.powi(2), "{soft}");
        prop_assert!(numbers(losses.hard.clone())[0].is_finite());
        let gradients = losses.total.backward();
        for gradient in [student.hidden.grad(&gradients), student.head.grad(&gradients)] {
            prop_assert!(numbers(gradient.unwrap()).iter().all(|g| g.is_finite()));
        }
        // A row's gradient in the logits sums to zero where a softmax comes last.
        let (hard, expected) = case.reference(&case.student());
        let found = numbers(losses.hard)[0];
        prop_assert!((found - hard).abs() <= 1e-4 * (1.0 + hard), "hard {found} for {hard}");
        if matches!(case.mix.divergence, Some(Divergence::ForwardKl | Divergence::TotalVariation | Divergence::LogitMse)) {
            let allowed = 1e-3 * (expected.abs() + case.mix.temperature.powi(2));
            prop_assert!((soft - expected).abs() <= allowed, "soft {soft} for {expected}");
        }
    }

    #[test]
    fn measuring_gives_the_sums_that_the_loss_averages(case in case(0.1..8.0f64)) {
        let (student, n) = (case.projection(&case.student(), case.vocab), case.rows as f64);
        let losses = distillation_loss(student.clone(), Some(case.taught()), case.target_tensor(), &case.mix);
        let measured = measure(student, Some(case.taught()), case.target_tensor(), &case.mix);
        let teacher = measured.teacher.unwrap();
        prop_assert_eq!(measured.rows, case.rows as u64);
        assert_near("hard", &[measured.hard / n], &numbers(losses.hard), 1e-5);
        assert_near("soft", &[teacher.soft.unwrap() / n], &numbers(losses.soft.unwrap()), 1e-5);

        let best = |logits: &[f64], width: usize| -> Vec<usize> {
            let row = |row: &[f64]| (0..case.vocab).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            logits.chunks(width).map(row).collect()
        };
        let (student, teacher_best) =
            (best(&case.student(), case.vocab), best(&case.teacher(), case.vocab + case.extra));
        let same = |a: &[usize], b: &[usize]| a.iter().zip(b).filter(|(a, b)| a == b).count() as u64;
        prop_assert_eq!(measured.correct, same(&student, &case.targets()));
        prop_assert_eq!(teacher.correct, same(&teacher_best, &case.targets()));
        prop_assert_eq!(teacher.agreed, same(&student, &teacher_best));
    }
}

#[test]
fn rows_in_many_chunks_give_the_loss_and_gradient_of_one() {
    // The vocabulary is wide enough that the rows need three chunks; each third of them is one.
    let (rows, vocab, width) = (384, 2048, 4);
    let mix = Distillation { divergence: Some(Divergence::ReverseKl), temperature: 2.0, hard_weight: 0.4 };
    let hidden = noise(1, rows * width);
    let head = noise(2, vocab * width);
    let targets: Vec<i64> = (0..rows as i64).map(|row| row * 5 % vocab as i64).collect();
    let run = |first: usize, count: usize| {
        let part = &hidden[first * width..(first + count) * width];
        let student =
            Projection { hidden: tensor(part, [count, width]), head: tensor(&head, [vocab, width]) };
        let teacher = Projection {
            hidden: tensor(part, [count, width]).without_autodiff() * 1.5,
            head: tensor(&head, [vocab, width]).without_autodiff() * 1.1,
        };
        let targets = TensorData::new(targets[first..first + count].to_vec(), [count]);
        let targets = Tensor::from_data(targets, &Device::flex());
        let losses = distillation_loss(student.clone(), Some(teacher), targets, &mix);
        let gradients = losses.total.backward();
        (numbers(losses.total)[0], numbers(student.head.grad(&gradients).unwrap()))
    };
    let (whole, gradient) = run(0, rows);
    let parts: Vec<_> = (0..3).map(|part| run(part * 128, 128)).collect();
    let mean = parts.iter().map(|(total, _)| total).sum::<f64>() / 3.0;
    assert!((whole - mean).abs() < 1e-6 * whole.abs(), "{whole} for {mean}");
    let scale = gradient.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (index, found) in gradient.iter().enumerate() {
        let expected = parts.iter().map(|(_, gradient)| gradient[index]).sum::<f64>() / 3.0;
        assert!((found - expected).abs() < 1e-5 * scale, "{found} for {expected}");
    }
}
