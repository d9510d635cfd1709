//! The arithmetic against numbers that PyTorch and transformers computed in double precision.

use std::fs;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use kdx::kernels::{Distillation, Divergence, Losses, Products, Projection, distillation_loss, linear};
use kdx::model::{self, NamePath, Transformer, Weights};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::device::device;
use crate::support::{close, golden, ids};

const SHAPE: [usize; 2] = [4, 48];

/// How far numbers may be off, as fractions of those expected.
pub struct Bounds {
    pub logits: f64,
    pub losses: f64,
    pub gradients: f64,
}

const OF_PROCESSOR: Bounds = Bounds { logits: 1e-4, losses: 1e-5, gradients: 1e-4 };

fn expected() -> Value {
    serde_json::from_slice(&fs::read(golden("golden.json")).unwrap()).unwrap()
}

/// Input ids and labels of the three batches, `[4, 48]` each.
fn batches() -> Vec<(Vec<i64>, Vec<i64>)> {
    let bytes = fs::read(golden("batches.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<i64> {
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let size = SHAPE[0] * SHAPE[1];
    let (inputs, labels) = (values("input_ids"), values("labels"));
    inputs.chunks(size).map(<[i64]>::to_vec).zip(labels.chunks(size).map(<[i64]>::to_vec)).collect()
}

/// The rows that count, as positions in the flat batch, and their targets: the label one to the right.
fn rows(labels: &[i64]) -> (Vec<i64>, Vec<i64>) {
    let [_, sequence] = SHAPE;
    let counts = |p: &usize| !(p + 1).is_multiple_of(sequence) && labels[p + 1] != -100;
    (0..labels.len()).filter(counts).map(|p| (p as i64, labels[p + 1])).unzip()
}

fn int(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// The rows of batch 0 that count, for both models, with their targets.
fn case(student: &Transformer, teacher: &Transformer) -> (Projection, Projection, Tensor<1, Int>) {
    let device = device();
    let (inputs, labels) = batches().swap_remove(0);
    let (positions, targets) = rows(&labels);
    let positions = int(positions, &device);
    let project = |model: &Transformer| {
        let hidden = model.forward(ids(&inputs, SHAPE, &device)).select(0, positions.clone());
        model.project(hidden)
    };
    (project(student), project(teacher), int(targets, &device))
}

fn load(name: &str, device: &Device) -> Transformer {
    model::load(&golden(name), device).unwrap().0
}

#[test]
fn logits_are_those_of_transformers() {
    logits(&OF_PROCESSOR);
}

#[test]
fn every_loss_and_its_gradient_norm_is_that_of_pytorch() {
    losses(&OF_PROCESSOR);
}

#[test]
fn the_gradient_of_every_parameter_is_that_of_pytorch() {
    gradients_by_name(&OF_PROCESSOR);
}

pub fn logits(bounds: &Bounds) {
    let device = device();
    let expected = expected();
    let (student, teacher, _) = case(&load("student", &device), &load("teacher", &device));
    let logits = |p: Projection, vocab: usize| -> Tensor<2> {
        linear(p.hidden, [p.head], &Products::default()).narrow(1, 0, vocab)
    };
    for (name, projection) in [("student", student), ("teacher", teacher)] {
        let logits = logits(projection, 320);
        let sum: f64 = logits.clone().into_data().iter::<f64>().map(f64::abs).sum();
        close(name, sum, expected[format!("{name}_logits_sum_abs")].as_f64().unwrap(), 0.1 * bounds.logits);
        let row: Vec<f64> = logits.narrow(0, 0, 1).into_data().iter::<f64>().collect();
        let expected: Vec<f64> = expected[format!("{name}_logits_row0")]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        // Relative to the row's scale: single logits pass through zero.
        let scale = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert_eq!(row.len(), expected.len());
        for (found, expected) in row.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= bounds.logits * expected.abs().max(0.01 * scale),
                "{name}: {found} for {expected}"
            );
        }
    }
}

fn divergence(kind: &str, x: Option<f64>) -> Divergence {
    match kind {
        "forward_kl" => Divergence::ForwardKl,
        "reverse_kl" => Divergence::ReverseKl,
        "js" => Divergence::JensenShannon { beta: x.unwrap() },
        "skew_forward_kl" => Divergence::SkewForwardKl { skew: x.unwrap() },
        "skew_reverse_kl" => Divergence::SkewReverseKl { skew: x.unwrap() },
        "tvd" => Divergence::TotalVariation,
        "logit_mse" => Divergence::LogitMse,
        other => panic!("no divergence {other}"),
    }
}

fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(tensor.clone().into_scalar::<f32>())
}

/// The gradients of a model's parameters by name.
struct ByName<'a> {
    gradients: &'a Gradients,
    path: NamePath,
    found: Weights,
}

impl ModuleVisitor for ByName<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.gradients).expect("a gradient for every parameter");
        self.found.insert(self.path.name(), gradient.into_data().iter::<f32>().collect());
    }
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
}

fn gradients(student: &Transformer, losses: &Losses) -> Weights {
    let gradients = losses.total.backward();
    let mut by_name = ByName { gradients: &gradients, path: NamePath::default(), found: Weights::new() };
    student.visit(&mut by_name);
    by_name.found
}

fn norm(gradients: &Weights) -> f64 {
    gradients.values().flatten().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt()
}

pub fn losses(bounds: &Bounds) {
    let student = load("student", &device().autodiff());
    let teacher = load("teacher", &device());
    let expected = expected();
    let cases = expected["losses"].as_array().unwrap();
    assert_eq!(cases.len(), 21);
    for case_ in cases {
        let kind = case_["kind"].as_str().unwrap();
        let number = |key: &str| case_[key].as_f64().unwrap();
        let mix = Distillation {
            divergence: Some(divergence(kind, case_["x"].as_f64())),
            temperature: number("temperature"),
            hard_weight: number("alpha"),
        };
        let (projected, taught, targets) = case(&student, &teacher);
        assert_eq!(targets.dims()[0], case_["rows"].as_u64().unwrap() as usize);
        let losses = distillation_loss(projected, Some(taught.into()), targets, &mix);
        let what = |part: &str| format!("{kind} at {}: {part}", mix.temperature);
        close(&what("hard"), scalar(&losses.hard), number("hard"), bounds.losses);
        close(&what("soft"), scalar(losses.soft.as_ref().unwrap()), number("soft"), bounds.losses);
        close(&what("total"), scalar(&losses.total), number("total"), bounds.losses);
        close(&what("gradient"), norm(&gradients(&student, &losses)), number("grad_norm"), bounds.gradients);
    }
}

pub fn gradients_by_name(bounds: &Bounds) {
    let student = load("student", &device().autodiff());
    let teacher = load("teacher", &device());
    let (projected, taught, targets) = case(&student, &teacher);
    let mix = Distillation { divergence: Some(Divergence::ForwardKl), temperature: 1.5, hard_weight: 0.5 };
    let found = gradients(&student, &distillation_loss(projected, Some(taught.into()), targets, &mix));

    let bytes = fs::read(golden("grads_forward_kl.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(found.len(), expected.len());
    for (name, view) in expected.iter() {
        let expected: Vec<f64> = view
            .data()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect();
        let difference: f64 =
            found[name].iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        let scale: f64 = expected.iter().map(|b| b * b).sum();
        let off = (difference / scale).sqrt();
        assert!(off < bounds.gradients, "{name} is off by {off:.2e}");
        // And element by element, down to a fiftieth of the largest.
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (a, b) in found[name].iter().zip(&expected) {
            let most = bounds.gradients * b.abs().max(0.02 * largest);
            assert!((f64::from(*a) - b).abs() <= most, "{name}: {a} for {b}");
        }
    }
}
