//! Every kernel against the same thing written out in double precision, values and gradients.

use burn::tensor::{Device, Int, Tensor, TensorData};
use kdx::kernels::{
    Distillation, Divergence, Heads, Precision, Products, Projection, RotaryTable, Taught, causal_attention,
    distillation_loss, embed, linear, linear_add, measure, norm_heads, reference, rms_norm, swiglu,
};
use proptest::prelude::*;

use crate::support::device::{device, on};
use crate::support::reference::{attention, differences, divergence, log_softmax, noise};

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &device().autodiff()).require_grad()
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
pub fn attention_with_turned_queries_and_keys_and_its_gradients_are_those_of_the_definition() {
    let frequencies = [1.0, 0.1];
    let table = RotaryTable::new(&frequencies, 8, &device());
    for (batch, sequence, heads, kv_heads) in [(1, 1, 1, 1), (2, 5, 4, 2), (2, 3, 6, 1), (1, 7, 3, 3)] {
        let head_dim = 2 * frequencies.len();
        let sizes = Heads { batch, sequence, heads, kv_heads, head_dim };
        let row = (heads + 2 * kv_heads) * head_dim;
        let turned = |position: usize, head: &[f64]| -> Vec<f64> {
            let mut head = head.to_vec();
            for (pair, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[pair], head[pair + head_dim / 2]);
                head[pair] = a * cos - b * sin;
                head[pair + head_dim / 2] = b * cos + a * sin;
            }
            head
        };
        check(
            &[([batch * sequence, row], noise(1, batch * sequence * row))],
            |t| causal_attention(t[0].clone(), &table, sizes, Precision::F32),
            |values| {
                let of = |rows: &[f64]| {
                    let part = |first: usize, heads: usize, turn: bool| -> Vec<f64> {
                        let position = |(position, row): (usize, &[f64])| -> Vec<f64> {
                            let part = &row[first * head_dim..(first + heads) * head_dim];
                            if turn {
                                part.chunks(head_dim).flat_map(|head| turned(position, head)).collect()
                            } else {
                                part.to_vec()
                            }
                        };
                        rows.chunks(row).enumerate().flat_map(position).collect()
                    };
                    let (q, k) = (part(0, heads, true), part(heads, kv_heads, true));
                    attention(&q, &k, &part(heads + kv_heads, kv_heads, false), heads, kv_heads, head_dim)
                };
                values[0].chunks(sequence * row).flat_map(of).collect()
            },
        );
    }
}

#[test]
pub fn norms_of_heads_and_their_gradients_are_those_of_the_definition() {
    let (rows, head_dim) = (3, 4);
    for (heads, kv_heads) in [(1, 1), (4, 2), (3, 1)] {
        let width = (heads + 2 * kv_heads) * head_dim;
        let sizes = Heads { batch: 1, sequence: rows, heads, kv_heads, head_dim };
        check(
            &[
                ([rows, width], noise(15, rows * width)),
                ([1, head_dim], noise(16, head_dim)),
                ([1, head_dim], noise(17, head_dim)),
            ],
            |t| {
                let weights = [&t[1], &t[2]].map(|weight| weight.clone().reshape([head_dim]));
                norm_heads(t[0].clone(), weights, sizes, 1e-3)
            },
            |values| {
                let head = |(number, head): (usize, &[f64])| -> Vec<f64> {
                    let weight = match number % (heads + 2 * kv_heads) {
                        number if number < heads => &values[1],
                        number if number < heads + kv_heads => &values[2],
                        _ => return head.to_vec(),
                    };
                    let root = (head.iter().map(|x| x * x).sum::<f64>() / head_dim as f64 + 1e-3).sqrt();
                    head.iter().zip(weight).map(|(x, weight)| x / root * weight).collect()
                };
                values[0].chunks(head_dim).enumerate().flat_map(head).collect()
            },
        );
    }
}

#[test]
pub fn norm_linear_and_swiglu_are_those_of_the_definition() {
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
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let product = |values: &[Vec<f64>], row: &[f64]| -> Vec<f64> {
        values.iter().flat_map(|weight| weight.chunks(width).map(|w| dot(row, w))).collect()
    };
    let weight = |seed, out: usize| ([out, width], noise(seed, out * width));
    check(
        &[x.clone(), weight(9, out), weight(10, 1), weight(11, 3)],
        |t| linear(t[0].clone(), [t[1].clone(), t[2].clone(), t[3].clone()], &Products::default()),
        |values| values[0].chunks(width).flat_map(|row| product(&values[1..], row)).collect(),
    );
    check(
        &[x.clone(), weight(12, out), ([rows, out], noise(13, rows * out))],
        |t| linear_add(t[0].clone(), t[1].clone(), t[2].clone(), &Products::default()),
        |values| {
            let added = values[0].chunks(width).flat_map(|row| product(&values[1..2], row));
            added.zip(&values[2]).map(|(product, residual)| product + residual).collect()
        },
    );
    check(
        &[([rows, 2 * width], noise(10, rows * 2 * width))],
        |t| swiglu(t[0].clone() * 4.0),
        |values| {
            let silu = |x: f64| 4.0 * x / (1.0 + (-4.0 * x).exp());
            let row = |row: &[f64]| -> Vec<f64> {
                (0..width).map(|i| silu(row[i]) * 4.0 * row[width + i]).collect()
            };
            values[0].chunks(2 * width).flat_map(row).collect()
        },
    );
}

#[test]
pub fn rows_are_gathered_and_their_gradients_added_up() {
    let rows = Tensor::<1, Int>::from_data(TensorData::new(vec![2i64, 0, 2], [3]), &device());
    check(
        &[([4, 3], noise(14, 12))],
        |t| embed(rows.clone(), t[0].clone()),
        |values| [2, 0, 2].iter().flat_map(|row| values[0][row * 3..][..3].to_vec()).collect(),
    );
}

#[test]
pub fn swiglu_of_extreme_gates_is_finite_in_value_and_gradient() {
    let joined = tensor(&[-1e4, -100.0, 0.0, 100.0, 1e4, 1.0, 1.0, 1.0, 1.0, 1.0], [1, 10]);
    let output = swiglu(joined.clone());
    assert_near("value", &numbers(output.clone()), &[0.0, 0.0, 0.0, 100.0, 1e4], 1e-6);
    let gradients = output.sum().backward();
    let expected = [0.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 100.0, 1e4];
    assert_near("gradient", &numbers(joined.grad(&gradients).unwrap()), &expected, 1e-6);
}

/// A loss to be held to its reference: logits of `rows` by `vocab`, the teacher's wider by `extra`.
#[derive(Debug, Clone)]
pub struct Case {
    pub mix: Distillation,
    pub rows: usize,
    pub vocab: usize,
    pub extra: usize,
    pub seed: u64,
    pub scale: f64,
}

impl Case {
    pub fn student(&self) -> Vec<f64> {
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
        Projection::new(tensor(&unit, [n, n]), tensor(&turned(logits, n, vocab), [vocab, n]))
    }

    fn taught(&self) -> Taught {
        self.projection(&self.teacher(), self.vocab + self.extra).without_autodiff().into()
    }

    fn target_tensor(&self) -> Tensor<1, Int> {
        let targets: Vec<i64> = self.targets().iter().map(|&t| t as i64).collect();
        Tensor::from_data(TensorData::new(targets, [self.rows]), &device())
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

    /// Whether a token's probabilities are so nearly equal that the derivative of their difference has either
    /// sign: the kink of total variation.
    pub fn is_at_a_kink(&self, student: &[f64]) -> bool {
        let teacher = self.teacher();
        let rows = student.chunks(self.vocab).zip(teacher.chunks(self.vocab + self.extra));
        let mut apart = rows.flat_map(|(student, teacher)| {
            let q = log_softmax(student, self.mix.temperature);
            let p = log_softmax(&teacher[..self.vocab], self.mix.temperature);
            q.into_iter().zip(p).map(|(q, p)| (q - p).abs()).collect::<Vec<_>>()
        });
        self.mix.divergence == Some(Divergence::TotalVariation) && apart.any(|apart| apart < 1e-4)
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
    (0..8u8, weight).prop_map(|(kind, x)| match kind {
        0 => Divergence::ForwardKl,
        1 => Divergence::ReverseKl,
        2 => Divergence::JensenShannon { beta: x },
        3 => Divergence::SkewForwardKl { skew: x },
        4 => Divergence::SkewReverseKl { skew: x },
        5 => Divergence::MixedKl { forward_weight: x },
        6 => Divergence::TotalVariation,
        _ => Divergence::LogitMse,
    })
}

pub fn case(scale: impl Strategy<Value = f64>) -> impl Strategy<Value = Case> {
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

/// What a kernel gives, and the gradients of a weighted sum of it.
fn with_gradients<const D: usize>(
    inputs: &[([usize; D], Vec<f64>)],
    f: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) -> Vec<Vec<f64>> {
    let tensors: Vec<Tensor<D>> = inputs.iter().map(|(shape, values)| tensor(values, *shape)).collect();
    let output = f(&tensors);
    let weights = tensor(&noise(77, output.shape().num_elements()), output.dims()).detach();
    let gradients = (output.clone() * weights).sum().backward();
    let of = |t: &Tensor<D>| numbers(t.grad(&gradients).expect("a gradient"));
    std::iter::once(numbers(output)).chain(tensors.iter().map(of)).collect()
}

/// What [`agree`] allows in single precision.
const FP32: (f64, f64) = (1e-5, 0.1);

/// Kernel and reference agree to `tolerance` of the largest number, or of `floor` where all are smaller.
#[track_caller]
fn agree<const D: usize>(
    what: &str,
    (tolerance, floor): (f64, f64),
    inputs: &[([usize; D], Vec<f64>)],
    kernel: impl Fn(&[Tensor<D>]) -> Tensor<D>,
    plain: impl Fn(&[Tensor<D>]) -> Tensor<D>,
) {
    let (found, expected) =
        (with_gradients(inputs, kernel), on(&Device::flex(), || with_gradients(inputs, plain)));
    for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let size = expected.iter().fold(floor, |m: f64, x| m.max(x.abs()));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= tolerance * size, "{what}, part {part}: {a} for {b} of {size}");
        }
    }
}

/// A loss and its gradients are those of the definition.
pub fn loss_by_definition(case: &Case) {
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

/// Losses of logits far apart, and their gradients, are finite.
pub fn extreme_loss(case: &Case) {
    let student = case.projection(&case.student(), case.vocab);
    let losses = distillation_loss(student.clone(), Some(case.taught()), case.target_tensor(), &case.mix);
    let soft = numbers(losses.soft.clone().unwrap())[0];
    assert!(soft.is_finite() && soft >= -1e-3 * case.mix.temperature.powi(2), "{soft}");
    assert!(numbers(losses.hard.clone())[0].is_finite());
    let gradients = losses.total.backward();
    for gradient in [student.hidden.grad(&gradients), student.head.grad(&gradients)] {
        assert!(numbers(gradient.unwrap()).iter().all(|g| g.is_finite()));
    }
    // A row's gradient in the logits sums to zero where a softmax comes last.
    let (hard, expected) = case.reference(&case.student());
    let found = numbers(losses.hard)[0];
    assert!((found - hard).abs() <= 1e-4 * (1.0 + hard), "hard {found} for {hard}");
    if matches!(
        case.mix.divergence,
        Some(Divergence::ForwardKl | Divergence::TotalVariation | Divergence::LogitMse)
    ) {
        let allowed = 1e-3 * (expected.abs() + case.mix.temperature.powi(2));
        assert!((soft - expected).abs() <= allowed, "soft {soft} for {expected}");
    }
}

/// What is measured is the sum of what the loss averages.
pub fn measured_sums(case: &Case) {
    let (student, n) = (case.projection(&case.student(), case.vocab), case.rows as f64);
    let losses = distillation_loss(student.clone(), Some(case.taught()), case.target_tensor(), &case.mix);
    let measured = measure(student, Some(case.taught()), case.target_tensor(), &case.mix);
    let teacher = measured.teacher.unwrap();
    assert_eq!(measured.rows, case.rows as u64);
    assert_near("hard", &[measured.hard / n], &numbers(losses.hard), 1e-5);
    assert_near("soft", &[teacher.soft.unwrap() / n], &numbers(losses.soft.unwrap()), 1e-5);

    let best = |logits: &[f64], width: usize| -> Vec<usize> {
        let row = |row: &[f64]| (0..case.vocab).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        logits.chunks(width).map(row).collect()
    };
    let (student, teacher_best) =
        (best(&case.student(), case.vocab), best(&case.teacher(), case.vocab + case.extra));
    let same = |a: &[usize], b: &[usize]| a.iter().zip(b).filter(|(a, b)| a == b).count() as u64;
    assert_eq!(measured.correct, same(&student, &case.targets()));
    assert_eq!(teacher.correct, same(&teacher_best, &case.targets()));
    assert_eq!(teacher.agreed, same(&student, &teacher_best));
}

/// Each operation is that of the reference.
pub fn operations_of_the_reference(n: usize, width: usize, out: [usize; 3], seed: u32, bf16: bool) {
    let seed = u64::from(seed);
    // In bfloat16 each product's operands, none beyond 1, are off by up to 1/256, however much the products cancel.
    let (precision, tolerance) = if bf16 { (Precision::Bf16, (2e-2, 1.0)) } else { (Precision::F32, FP32) };
    let products = Products { precision, packed: None };
    let input = |which: u64, rows: usize, columns: usize| {
        ([rows, columns], noise(seed.wrapping_add(which), rows * columns))
    };
    let [a, b, c] = out;
    agree(
        "linear",
        tolerance,
        &[input(0, n, width), input(1, a, width), input(2, b, width), input(3, c, width)],
        |t| linear(t[0].clone(), [t[1].clone(), t[2].clone(), t[3].clone()], &products),
        |t| reference::linear(t[0].clone(), [t[1].clone(), t[2].clone(), t[3].clone()], Precision::F32),
    );
    agree(
        "linear_add",
        tolerance,
        &[input(0, n, width), input(1, a, width), input(2, n, a)],
        |t| linear_add(t[0].clone(), t[1].clone(), t[2].clone(), &products),
        |t| reference::linear_add(t[0].clone(), t[1].clone(), t[2].clone(), Precision::F32),
    );
    // Where x is near nothing its gradient is the small difference of large numbers.
    agree(
        "rms_norm",
        (1e-4, 0.1),
        &[input(0, n, width), input(1, 1, width)],
        |t| rms_norm(t[0].clone(), t[1].clone().reshape([width]), 1e-5),
        |t| reference::rms_norm(t[0].clone(), t[1].clone().reshape([width]), 1e-5),
    );
    agree(
        "swiglu",
        FP32,
        &[input(0, n, 2 * width)],
        |t| swiglu(t[0].clone() * 3.0),
        |t| reference::swiglu(t[0].clone() * 3.0),
    );
    let rows: Vec<i64> = (0..n).map(|i| ((i * i + i / 3) % a) as i64).collect();
    let rows = || Tensor::<1, Int>::from_data(TensorData::new(rows.clone(), [n]), &device());
    agree(
        "embed",
        FP32,
        &[input(0, a, width)],
        |t| embed(rows(), t[0].clone()),
        |t| reference::embed(rows(), t[0].clone()),
    );
    let sizes = Heads {
        batch: 1 + n % 3,
        sequence: n,
        heads: (1 + b % 3) * (1 + c % 2),
        kv_heads: 1 + c % 2,
        head_dim: 2 * (1 + width / 8),
    };
    let frequencies: Vec<f64> = (0..sizes.head_dim / 2).map(|i| 0.5_f64.powi(i as i32)).collect();
    let table = || RotaryTable::new(&frequencies, n + 1, &device());
    let row = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim;
    agree(
        "attention",
        tolerance,
        &[input(0, sizes.batch * n, row)],
        |t| causal_attention(t[0].clone() * 2.0, &table(), sizes, precision),
        |t| reference::causal_attention(t[0].clone() * 2.0, &table(), sizes, Precision::F32),
    );
}

/// A loss, its gradients and what is measured are those of the reference.
pub fn loss_of_the_reference(case: &Case) {
    let run = |plain: bool| {
        let student = case.projection(&case.student(), case.vocab);
        let (teacher, targets) = (Some(case.taught()), case.target_tensor());
        let losses = if plain {
            reference::distillation_loss(student.clone(), teacher, targets, &case.mix)
        } else {
            distillation_loss(student.clone(), teacher, targets, &case.mix)
        };
        // Twice the loss, so that what comes from above counts.
        let gradients = (losses.total.clone() * 2.0).backward();
        let of = |t: &Tensor<2>| numbers(t.grad(&gradients).unwrap());
        [numbers(losses.total), numbers(losses.hard), of(&student.hidden), of(&student.head)]
    };
    let tolerance = 4e-5 * (1.0 + case.scale) * (1.0 + case.mix.temperature.powi(2));
    for (found, expected) in run(false).iter().zip(&on(&Device::flex(), || run(true))) {
        assert_near("loss", found, expected, tolerance);
    }
    let measured = |plain: bool| {
        let student = case.projection(&case.student(), case.vocab);
        let of = if plain { reference::measure } else { measure };
        of(student, Some(case.taught()), case.target_tensor(), &case.mix)
    };
    let (found, expected) = (measured(false), on(&Device::flex(), || measured(true)));
    let (taught, plain) = (found.teacher.unwrap(), expected.teacher.unwrap());
    assert_eq!(
        (found.rows, found.correct, taught.agreed, taught.correct),
        (expected.rows, expected.correct, plain.agreed, plain.correct)
    );
    assert_near("hard", &[found.hard, taught.hard], &[expected.hard, plain.hard], tolerance);
    assert_near("soft", &[taught.soft.unwrap()], &[plain.soft.unwrap()], tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_and_gradients_are_those_of_the_definition(case in case(0.1..8.0f64)) {
        prop_assume!(!case.is_at_a_kink(&case.student()));
        loss_by_definition(&case);
    }

    #[test]
    fn extreme_logits_give_finite_losses_and_gradients(case in case(prop_oneof![Just(1e4), Just(1e3), 10.0..1e4f64])) {
        extreme_loss(&case);
    }

    #[test]
    fn measuring_gives_the_sums_that_the_loss_averages(case in case(0.1..8.0f64)) {
        measured_sums(&case);
    }
}

#[test]
pub fn rows_in_many_chunks_give_the_loss_and_gradient_of_one() {
    // More rows than a chunk has; each third of them is less than one.
    let (rows, vocab, width) = (384, 640, 4);
    let mix = Distillation { divergence: Some(Divergence::ReverseKl), temperature: 2.0, hard_weight: 0.4 };
    let hidden = noise(1, rows * width);
    let head = noise(2, vocab * width);
    let targets: Vec<i64> = (0..rows as i64).map(|row| row * 5 % vocab as i64).collect();
    let run = |first: usize, count: usize| {
        let part = &hidden[first * width..(first + count) * width];
        let student = Projection::new(tensor(part, [count, width]), tensor(&head, [vocab, width]));
        let teacher = Projection::new(student.hidden.clone() * 1.5, student.head.clone() * 1.1);
        let targets = TensorData::new(targets[first..first + count].to_vec(), [count]);
        let targets = Tensor::from_data(targets, &device());
        let losses = distillation_loss(student.clone(), Some(teacher.into()), targets, &mix);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_are_the_plain_tensors_of_the_reference(
        n in 1..70usize, width in 1..80usize, out in [1..50usize, 1..50, 1..50], seed in any::<u32>(),
        bf16 in any::<bool>(),
    ) {
        operations_of_the_reference(n, width, out, seed, bf16);
    }

    #[test]
    fn the_loss_is_that_of_the_reference(case in case(0.1..8.0f64)) {
        prop_assume!(!case.is_at_a_kink(&case.student()));
        loss_of_the_reference(&case);
    }
}
