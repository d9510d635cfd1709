//! Losses of given logits against numbers that PyTorch computed in double precision.

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use kdx::kernels::{Distillation, Divergence, Projection, distillation_loss};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::device::device;
use crate::support::{close, root};

/// The folder of these numbers, which lies beside the repository and not in it.
fn folder() -> Option<PathBuf> {
    let folder = root().join("../shared/golden2/losses");
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

/// A tensor of a file in single precision.
fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = tensors.tensor(name).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The divergence of an entry, if it is one of ours.
fn divergence(entry: &Value) -> Option<Divergence> {
    let number = |key: &str| entry[key].as_f64();
    match entry["key"].as_str()?.split('/').next()? {
        "mixed_kl" => Some(Divergence::MixedKl { forward_weight: number("forward_weight")? }),
        // At its ends it is taken for a divergence of the two themselves, not for the mixture's nothing.
        "gkd" if [0.0, 1.0].contains(&number("beta")?) => None,
        "gkd" => Some(Divergence::JensenShannon { beta: number("beta")? }),
        _ => None,
    }
}

#[test]
fn mixed_and_jensen_shannon_divergences_and_their_gradients_are_those_of_pytorch() {
    let Some(folder) = folder() else { return };
    let (inputs, gradients) = ["inputs", "gradients"]
        .map(|name| fs::read(folder.join(name).with_extension("safetensors")).unwrap())
        .into();
    let (inputs, gradients) =
        (SafeTensors::deserialize(&inputs).unwrap(), SafeTensors::deserialize(&gradients).unwrap());
    let entries: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("losses.json")).unwrap()).unwrap();
    let [rows, vocab]: [usize; 2] = inputs.tensor("student").unwrap().shape().try_into().unwrap();
    let (student, teacher, other) =
        (floats(&inputs, "student"), floats(&inputs, "teacher"), floats(&inputs, "teacher_3"));

    let device = device().autodiff();
    // Hidden states that are the unit vectors, so that the head holds the logits themselves.
    let project = |logits: &[f32]| {
        let unit = Tensor::<2>::eye(rows, &device);
        let logits = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [rows, vocab]), &device);
        Projection::new(unit, logits.transpose().require_grad())
    };
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![0i64; rows], [rows]), &device);

    let mut found = 0;
    for entry in &entries {
        let Some(divergence) = divergence(entry) else { continue };
        let (key, temperature) = (entry["key"].as_str().unwrap(), entry["T"].as_f64().unwrap());
        let number = |name: &str| entry[name].as_f64().unwrap();
        let mix = Distillation { divergence: Some(divergence), temperature, hard_weight: 0.0 };
        let student = project(&student);
        let losses = distillation_loss(
            student.clone(),
            Some(project(&teacher).without_autodiff().into()),
            targets.clone(),
            &mix,
        );
        let total = f64::from(losses.total.clone().into_scalar::<f32>());
        close(key, total, number("value_times_T2"), 1e-5);

        // The stored gradients are of the divergence without its scale.
        let scale = temperature * temperature;
        let gradient = student.head.grad(&losses.total.backward()).unwrap().transpose();
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().map(|x| x / scale).collect();
        let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        let dot: f64 = gradient.iter().zip(&other).map(|(x, y)| x * f64::from(*y)).sum();
        close(&format!("{key}: norm"), norm, number("grad_norm"), 1e-5);
        close(&format!("{key}: inner product"), dot, number("grad_dot_teacher_3"), 1e-4);
        if gradients.tensor(key).is_ok() {
            for (found, expected) in gradient.iter().zip(floats(&gradients, key)) {
                assert!((found - f64::from(expected)).abs() <= 1e-5 * norm, "{key}: {found} for {expected}");
            }
        }
        found += 1;
    }
    assert_eq!(found, 15, "five of them at three temperatures");
}
