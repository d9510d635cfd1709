//! Model directories in the layout of Hugging Face.
//!
//! ```text
//! config.json              sizes
//! generation_config.json   special tokens
//! model.safetensors        weights in f32; read also sharded, in f16 and in bf16
//! tokenizer.json …         copied where known
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::config::ModelConfig;
use super::error::ModelError;
use super::init;
use super::report::{LoadReport, Mismatch};
use super::transformer::Transformer;
use super::weights::{self, Checkpoint, Weights};
use crate::store::UNFINISHED_MODEL;
use crate::store::file::{sync_directory, write_json};

/// What a tokenizer may consist of.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// Loads a model that must fit whole.
///
/// # Errors
/// Where the directory is not a Llama model's, a file is damaged, or a tensor is missing, left over
/// or of another shape than `config.json` says.
pub fn load(directory: &Path, device: &Device) -> Result<(Transformer, ModelConfig, LoadReport), ModelError> {
    let config = ModelConfig::read(directory)?;
    let (weights, report) = fitting(&config, directory)?;
    if !report.is_complete() {
        return Err(ModelError::DoesNotFit { directory: directory.to_owned(), report: Box::new(report) });
    }
    Ok((Transformer::from_weights(&config, weights, device), config, report))
}

/// Loads the output head alone, `[vocab, hidden]`: the embedding where they are tied.
///
/// # Errors
/// Where the directory is not a Llama model's, a file is damaged, or the head is missing or of another
/// shape than `config.json` says.
pub fn load_head(directory: &Path, device: &Device) -> Result<(Tensor<2>, ModelConfig), ModelError> {
    let config = ModelConfig::read(directory)?;
    let tensor = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let expected = vec![config.vocab_size, config.hidden_size];
    let mut report = LoadReport::default();
    match weights::read_one(directory, tensor)? {
        Some((values, shape)) if shape == expected => {
            let data = TensorData::new(values, [config.vocab_size, config.hidden_size]);
            return Ok((Tensor::from_data(data, device), config));
        }
        Some((_, found)) => {
            report.mismatched.push(Mismatch { tensor: tensor.to_owned(), found, expected });
        }
        None => report.missing.push(tensor.to_owned()),
    }
    Err(ModelError::DoesNotFit { directory: directory.to_owned(), report: Box::new(report) })
}

/// Loads what fits into a model of these sizes, and starts the rest at random from the seed.
///
/// # Errors
/// Where the weights cannot be read. That nothing fits is not an error; the report says so.
pub fn load_partial(
    config: &ModelConfig,
    directory: &Path,
    seed: u64,
    device: &Device,
) -> Result<(Transformer, LoadReport), ModelError> {
    let (mut weights, report) = fitting(config, directory)?;
    for (name, shape) in config.tensors() {
        weights
            .entry(name)
            .or_insert_with_key(|name| init::tensor(name, &shape, config.initializer_range, seed));
    }
    Ok((Transformer::from_weights(config, weights, device), report))
}

/// The tensors of a directory that have a place in the model, and how the two compare.
fn fitting(config: &ModelConfig, directory: &Path) -> Result<(Weights, LoadReport), ModelError> {
    if !directory.is_dir() {
        return Err(ModelError::NoDirectory { path: directory.to_owned() });
    }
    let expected: BTreeMap<String, Vec<usize>> = config.tensors().into_iter().collect();
    let fits = |name: &str, shape: &[usize]| expected.get(name).is_some_and(|expected| expected == shape);
    let Checkpoint { weights, others } = weights::read(directory, fits)?;
    let mut report = LoadReport::default();
    for (name, shape) in others {
        match expected.get(&name) {
            Some(expected) => {
                report.mismatched.push(Mismatch { tensor: name, found: shape, expected: expected.clone() });
            }
            None if is_derived(config, &name) => {}
            None => report.left_over.push(name),
        }
    }
    let mismatched: Vec<&String> = report.mismatched.iter().map(|m| &m.tensor).collect();
    for name in expected.keys() {
        if weights.contains_key(name) {
            report.loaded.push(name.clone());
        } else if !mismatched.contains(&name) {
            report.missing.push(name.clone());
        }
    }
    Ok((weights, report))
}

/// Tensors that follow from the others: transformers ignores them too.
fn is_derived(config: &ModelConfig, name: &str) -> bool {
    (config.tie_word_embeddings && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq")
}

/// Writes a model as a directory that transformers loads, with the tokenizer's files copied from
/// `tokenizer` (a directory, or a file in one). A crash at any instant leaves no half-written model:
/// the directory is filled beside its place and then put there, replacing an older one.
///
/// # Errors
/// Where a file cannot be written.
pub fn save(
    model: &Transformer,
    config: &ModelConfig,
    tokenizer: Option<&Path>,
    directory: &Path,
) -> Result<(), ModelError> {
    let parent = directory.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(ModelError::io("create", parent))?;
    let building = tempfile::Builder::new()
        .prefix(UNFINISHED_MODEL)
        .tempdir_in(parent)
        .map_err(ModelError::io("create a directory in", parent))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(building.path(), readable).map_err(ModelError::io("open up", building.path()))?;
    }
    write_json(&building.path().join("config.json"), &config.to_json())?;
    write_json(&building.path().join("generation_config.json"), &config.generation_json())?;
    if let Some(tokenizer) = tokenizer {
        copy_tokenizer(tokenizer, building.path())?;
    }
    write_weights(&model.weights(), config, &building.path().join("model.safetensors"))?;
    sync_directory(building.path())?;
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(ModelError::io("replace", directory))?;
    }
    let built = building.keep();
    fs::rename(&built, directory).map_err(ModelError::io("write", directory))?;
    sync_directory(parent)?;
    Ok(())
}

fn write_weights(weights: &Weights, config: &ModelConfig, path: &Path) -> Result<(), ModelError> {
    let layout = |reason: String| ModelError::Layout { path: path.to_owned(), reason };
    let shapes: BTreeMap<String, Vec<usize>> = config.tensors().into_iter().collect();
    let views = weights.iter().map(|(name, values)| {
        let shape = shapes.get(name).cloned().unwrap_or_default();
        let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values));
        view.map(|view| (name, view)).map_err(|e| layout(format!("{name}: {e}")))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    // Transformers asks which framework wrote the file; what it means is the layout.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => ModelError::io("write", path)(source),
        other => layout(other.to_string()),
    })?;
    File::open(path).and_then(|file| file.sync_all()).map_err(ModelError::io("write", path))
}

fn copy_tokenizer(from: &Path, to: &Path) -> Result<(), ModelError> {
    let directory = if from.is_dir() { from } else { from.parent().unwrap_or(Path::new(".")) };
    for name in TOKENIZER_FILES {
        // A `tokenizer.json` by another name is copied under the name that everyone looks for.
        let source =
            if name == "tokenizer.json" && from.is_file() { from.to_owned() } else { directory.join(name) };
        if source.is_file() {
            let target = to.join(name);
            let bytes = fs::read(&source).map_err(ModelError::io("read", &source))?;
            fs::write(&target, bytes).map_err(ModelError::io("write", &target))?;
            File::open(&target).and_then(|file| file.sync_all()).map_err(ModelError::io("write", &target))?;
        }
    }
    Ok(())
}
