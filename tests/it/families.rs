//! Families of models: each computes what its definition says, trains, teaches, resumes and is written back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use kdx::distill::Outcome;
use kdx::interrupt::Interrupt;
use kdx::kernels::{Heads, Precision, RotaryTable, reference};
use kdx::model::{self, ModelConfig, NamePath, Transformer, Weights};
use kdx::spec::{RunConfig, SizeConfig};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::runs::{Bench, Seen, golden_config};
use crate::support::checkpoint::edit_tensors;
use crate::support::reference::noise;
use crate::support::{golden, ids, root};

/// As many tokens as the golden data have.
const VOCAB: usize = 320;

/// What every family makes something else of.
fn base() -> Value {
    json!({
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 10, "vocab_size": VOCAB, "rope_theta": 1000.0,
        "rms_norm_eps": 1e-5, "initializer_range": 0.2, "tie_word_embeddings": true,
    })
}

/// The families, with all that their configurations can switch on.
fn families() -> Vec<(&'static str, Value)> {
    let edited = |architecture: &str, edits: Value| {
        let mut value = base();
        value["architectures"] = json!([architecture]);
        for (key, edit) in edits.as_object().unwrap() {
            value[key] = edit.clone();
        }
        value
    };
    vec![
        ("llama", edited("LlamaForCausalLM", json!({ "attention_bias": true, "mlp_bias": true }))),
        ("qwen2", edited("Qwen2ForCausalLM", json!({ "tie_word_embeddings": false }))),
        ("qwen3", edited("Qwen3ForCausalLM", json!({}))),
        ("qwen3 with biases", edited("Qwen3ForCausalLM", json!({ "attention_bias": true }))),
    ]
}

/// Writes a random model of this configuration, its norms and biases away from one and zero.
fn write(directory: &Path, config: &Value) -> ModelConfig {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let config = ModelConfig::read(directory).unwrap();
    let model = Transformer::random(&config, 5, &Device::flex());
    model::save(&model, &config, None, directory).unwrap();
    edit_tensors(directory, |tensors| {
        for (number, (_, shape, bytes)) in tensors.values_mut().enumerate() {
            if let [width] = shape[..] {
                let old = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                let moved = old.zip(noise(number as u64 + 1, width)).map(|(old, by)| old + 0.3 * by as f32);
                *bytes = moved.flat_map(f32::to_le_bytes).collect();
            }
        }
    });
    config
}

fn load(directory: &Path) -> Transformer {
    model::load(directory, &Device::flex().autodiff()).unwrap().0
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{what}[{index}]: {a} for {b} of {size}");
    }
}

/// A file of the larger set of reference numbers, which is not part of the repository.
fn reference_file(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/golden2/families").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn logits_of_every_family_are_those_of_transformers() {
    let (Some(inputs), Some(logits)) =
        (reference_file("inputs.safetensors"), reference_file("logits.safetensors"))
    else {
        return;
    };
    let (inputs, logits) = (fs::read(inputs).unwrap(), fs::read(logits).unwrap());
    let (inputs, logits) =
        (SafeTensors::deserialize(&inputs).unwrap(), SafeTensors::deserialize(&logits).unwrap());
    let tokens = inputs.tensor("ids").unwrap();
    let shape = [tokens.shape()[0], tokens.shape()[1]];
    let tokens = tokens.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
    let tokens = ids(&tokens.collect::<Vec<_>>(), shape, &Device::flex());
    let models = [
        "llama",
        "llama_bias",
        "llama_head_dim",
        "llama_fp16",
        "llama_bf16",
        "llama_sharded",
        "qwen2",
        "qwen3",
    ];
    for name in models {
        let Some(directory) = reference_file(name) else { continue };
        let (model, config, _) = model::load(&directory, &Device::flex()).unwrap();
        let found = numbers(model.logits(tokens.clone()));
        let expected = logits.tensor(name.trim_end_matches("_sharded")).unwrap();
        let expected = expected.data().chunks_exact(4);
        let expected: Vec<f64> =
            expected.map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect();
        assert_near(name, &found, &expected, 1e-5);
        // As kdx writes it, it is the same model.
        let root = tempfile::tempdir().unwrap();
        let copy = root.path().join("copy");
        model::save(&model, &config, None, &copy).unwrap();
        let (again, read, _) = model::load(&copy, &Device::flex()).unwrap();
        assert_eq!(read, config, "{name}");
        assert_eq!(numbers(again.logits(tokens.clone())), found, "{name}");
    }
}

/// The model of a configuration in plain tensors: logits `[batch * sequence, vocab]`.
fn compute_plainly(config: &ModelConfig, weights: &BTreeMap<String, Plain>, tokens: &[i64]) -> Tensor<2> {
    let device = Device::flex();
    let sequence = tokens.len();
    let matrix = |name: &str| weights[name].matrix.clone().unwrap();
    let linear = |x: Tensor<2>, name: &str| {
        let product = x.matmul(matrix(&format!("{name}.weight")).transpose());
        match weights.get(&format!("{name}.bias")) {
            Some(bias) => product + bias.vector().unsqueeze(),
            None => product,
        }
    };
    let norm = |x: Tensor<2>, name: &str| {
        reference::rms_norm(x, weights[&format!("{name}.weight")].vector(), config.rms_norm_eps)
    };
    let norm_each = |x: Tensor<2>, name: &str, heads: usize| {
        if !weights.contains_key(&format!("{name}.weight")) {
            return x;
        }
        let each = x.reshape([sequence * heads, config.head_dim]);
        norm(each, name).reshape([sequence, heads * config.head_dim])
    };
    let half = config.head_dim as f64 / 2.0;
    let frequencies: Vec<f64> =
        (0..config.head_dim / 2).map(|pair| config.rope.theta.powf(-(pair as f64) / half)).collect();
    let table = RotaryTable::new(&frequencies, sequence, &device);
    let ModelConfig { heads, kv_heads, head_dim, .. } = *config;
    let sizes = Heads { batch: 1, sequence, heads, kv_heads, head_dim };
    let rows = Tensor::<1, Int>::from_data(TensorData::new(tokens.to_vec(), [sequence]), &device);
    let mut x = matrix("model.embed_tokens.weight").select(0, rows);
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let normed = norm(x.clone(), &name("input_layernorm"));
        let product = |part: &str| linear(normed.clone(), &name(&format!("self_attn.{part}_proj")));
        let query = norm_each(product("q"), &name("self_attn.q_norm"), heads);
        let key = norm_each(product("k"), &name("self_attn.k_norm"), kv_heads);
        let qkv = Tensor::cat(vec![query, key, product("v")], 1);
        let seen = reference::causal_attention(qkv, &table, sizes, Precision::F32);
        x = x + linear(seen, &name("self_attn.o_proj"));
        let normed = norm(x.clone(), &name("post_attention_layernorm"));
        let gate = linear(normed.clone(), &name("mlp.gate_proj"));
        let gated = reference::swiglu(Tensor::cat(vec![gate, linear(normed, &name("mlp.up_proj"))], 1));
        x = x + linear(gated, &name("mlp.down_proj"));
    }
    let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
    norm(x, "model.norm").matmul(matrix(&format!("{head}.weight")).transpose())
}

/// A parameter outside any module.
struct Plain {
    vector: Option<Tensor<1>>,
    matrix: Option<Tensor<2>>,
}

impl Plain {
    fn new(values: Vec<f32>, shape: &[usize]) -> Self {
        let device = Device::flex().autodiff();
        let data = TensorData::new(values, shape.to_vec());
        match shape.len() {
            1 => Self { vector: Some(Tensor::from_data(data, &device).require_grad()), matrix: None },
            _ => Self { vector: None, matrix: Some(Tensor::from_data(data, &device).require_grad()) },
        }
    }

    fn vector(&self) -> Tensor<1> {
        self.vector.clone().unwrap()
    }

    fn gradient(&self, gradients: &Gradients) -> Vec<f64> {
        match (&self.vector, &self.matrix) {
            (Some(vector), _) => numbers(vector.grad(gradients).unwrap()),
            (_, Some(matrix)) => numbers(matrix.grad(gradients).unwrap()),
            _ => unreachable!(),
        }
    }
}

/// Gradients of a model by parameter.
struct OfModel<'a> {
    path: NamePath,
    gradients: &'a Gradients,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for OfModel<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.gradients).expect("a gradient for every parameter");
        self.found.insert(self.path.name(), numbers(gradient));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

#[test]
fn logits_and_gradients_of_every_family_are_those_of_plain_tensors() {
    let tokens = [3, 14, 15, 92, 65, 35, 89, 79, 3];
    for (name, config) in families() {
        let root = tempfile::tempdir().unwrap();
        let config = write(&root.path().join("model"), &config);
        let model = load(&root.path().join("model"));
        let logits = model.logits(ids(&tokens, [1, tokens.len()], &Device::flex()));
        let logits = logits.reshape([tokens.len(), VOCAB]);
        let values: Weights = model.weights();
        let weights = config.tensors().into_iter();
        let weights: BTreeMap<String, Plain> =
            weights.map(|(name, shape)| (name.clone(), Plain::new(values[&name].clone(), &shape))).collect();
        let expected = compute_plainly(&config, &weights, &tokens);
        assert_near(name, &numbers(logits.clone()), &numbers(expected.clone()), 1e-5);

        let mask: Vec<f32> = noise(7, tokens.len() * VOCAB).into_iter().map(|x| x as f32).collect();
        let mask = TensorData::new(mask, [tokens.len(), VOCAB]);
        let mask = || Tensor::<2>::from_data(mask.clone(), &Device::flex().autodiff());
        let gradients = (logits * mask()).sum().backward();
        let mut found =
            OfModel { path: NamePath::default(), gradients: &gradients, found: Default::default() };
        model.visit(&mut found);
        let gradients = (expected * mask()).sum().backward();
        assert!(found.found.keys().eq(weights.keys()));
        for (parameter, found) in found.found {
            let what = format!("{name}: the gradient of {parameter}");
            assert_near(&what, &found, &weights[&parameter].gradient(&gradients), 2e-5);
        }
    }
}

#[test]
fn every_family_is_written_back_to_the_same_logits() {
    let tokens = ids(&[1, 2, 3, 4, 5, 6], [2, 3], &Device::flex());
    for (name, config) in families() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        write(&first, &config);
        let (model, config, _) = model::load(&first, &Device::flex()).unwrap();
        model::save(&model, &config, None, &second).unwrap();
        let (again, read, report) = model::load(&second, &Device::flex()).unwrap();
        assert!(report.is_complete());
        assert_eq!(read, config, "{name}");
        assert_eq!(numbers(again.logits(tokens.clone())), numbers(model.logits(tokens.clone())), "{name}");
        assert_eq!(
            numbers(model.frozen().logits(tokens.clone())),
            numbers(model.logits(tokens.clone())),
            "{name}: packed"
        );
    }
}

#[test]
fn a_part_of_every_family_is_loaded_and_the_rest_started() {
    for (name, config) in families() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        let full = write(&directory, &config);
        let sizes = SizeConfig { layers: Some(3), intermediate_size: Some(48), ..SizeConfig::default() };
        let config = full.clone().resize(&sizes).unwrap();
        let (part, report) = model::load_partial(&config, &directory, 11, &Device::flex()).unwrap();
        let random = Transformer::random(&config, 11, &Device::flex()).weights();
        let (stored, part) = (load(&directory).weights(), part.weights());
        assert!(report.left_over.is_empty() && !report.missing.is_empty(), "{name}: {}", report.in_words());
        assert!(report.missing.iter().all(|tensor| tensor.starts_with("model.layers.2.")), "{name}");
        assert!(report.mismatched.iter().all(|mismatch| mismatch.tensor.contains(".mlp.")), "{name}");
        for (tensor, values) in &part {
            let source = if report.loaded.contains(tensor) { &stored } else { &random };
            assert_eq!(values, &source[tensor], "{name}: {tensor}");
        }
    }
}

/// Runs to the end on so many threads: the metrics and the model.
fn finish(bench: &Bench, config: &RunConfig, threads: usize) -> (Vec<u8>, Vec<u8>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| bench.run(config.clone())).0;
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    let model = bench.dir.model_dir().join("model.safetensors");
    (fs::read(bench.dir.path().join("metrics.jsonl")).unwrap(), fs::read(model).unwrap())
}

#[test]
fn students_of_every_family_learn_and_resume_to_the_same_bytes() {
    for (name, student) in families() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        let start = write(&directory, &student);
        let mut config = golden_config();
        config.student.path = Some(directory);
        config.train.epochs = 4;
        let whole = Bench::new();
        let expected = finish(&whole, &config, 1);
        let rows = whole.dir.metrics().unwrap();
        // Three batches an epoch, in order: the same one at the start and in the last epoch.
        let (first, last) = (rows[0].loss, rows[rows.len() - 3].loss);
        assert!(last < first, "{name}: {last} after {first}");

        let bench = Bench::new();
        let stop = Arc::new(Interrupt::new());
        let mut seen = Seen { stop_after: Some((3, Arc::clone(&stop))), ..Seen::default() };
        assert_eq!(bench.observed(config.clone(), &mut seen, &stop).unwrap(), Outcome::Interrupted);
        assert!(finish(&bench, &config, 2) == expected, "{name}: resumed on two threads, other bytes");

        let (trained, read, report) = model::load(&bench.dir.model_dir(), &Device::flex()).unwrap();
        assert!(report.is_complete());
        assert_eq!((read.family, read.parts), (start.family, start.parts), "{name}");
        let start = load(config.student.path.as_ref().unwrap()).weights();
        for (parameter, values) in trained.weights() {
            assert_ne!(values, start[&parameter], "{name}: {parameter} was not trained");
        }
    }
}

#[test]
fn every_family_teaches() {
    for (name, teacher) in families() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        write(&directory, &teacher);
        let mut config = golden_config();
        config.teacher.as_mut().unwrap().path = Some(directory);
        config.student.path = Some(golden("student"));
        config.train.epochs = 1;
        let bench = Bench::new();
        finish(&bench, &config, 2);
        let rows = bench.dir.metrics().unwrap();
        assert!(rows.iter().all(|row| row.value("soft_loss").is_some_and(|loss| loss > 0.0)), "{name}");
    }
}
