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

use super::config::ModelConfig;
use super::error::ModelError;
use super::init;
use super::report::{LoadReport, Mismatch};
use super::transformer::Transformer;
use super::weights::{self, Checkpoint, Weights};
use crate::store::file::{replace_directory, write_json};
use crate::store::{NamedArray, write_arrays};

/// The output head, where it is not the embedding.
const HEAD: &str = "lm_head.weight";
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
/// Where kdx does not compute the directory's model, a file is damaged, or a tensor is missing, left over
/// or of another shape than `config.json` says.
pub fn load(directory: &Path, device: &Device) -> Result<(Transformer, ModelConfig, LoadReport), ModelError> {
    let config = ModelConfig::read(directory)?;
    let (weights, report) = read_fitting(&config, directory)?;
    if !report.is_complete() {
        return Err(ModelError::DoesNotFit { directory: directory.to_owned(), report: Box::new(report) });
    }
    Ok((Transformer::from_weights(&config, weights, device), config, report))
}

/// Loads the output head alone, `[vocab, hidden]`: the embedding where they are tied.
///
/// # Errors
/// Where kdx does not compute the directory's model, a file is damaged, or the head is missing or of another
/// shape than `config.json` says.
pub fn load_head(directory: &Path, device: &Device) -> Result<(Tensor<2>, ModelConfig), ModelError> {
    let config = ModelConfig::read(directory)?;
    let parameter = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { HEAD };
    let tensor = config.family.name_tensor(parameter);
    let expected = vec![config.vocab_size, config.hidden_size];
    let mut report = LoadReport::default();
    match weights::read_one(directory, &tensor)? {
        Some((values, shape)) if shape == expected => {
            let data = TensorData::new(values, [config.vocab_size, config.hidden_size]);
            return Ok((Tensor::from_data(data, device), config));
        }
        Some((_, found)) => report.mismatched.push(Mismatch { tensor, found, expected }),
        None => report.missing.push(tensor),
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
    let (mut weights, report) = read_fitting(config, directory)?;
    for (name, shape) in config.tensors() {
        weights
            .entry(name)
            .or_insert_with_key(|name| init::draw_tensor(name, &shape, config.initializer_range, seed));
    }
    Ok((Transformer::from_weights(config, weights, device), report))
}

/// A parameter of the model that a tensor of a checkpoint is.
struct Place {
    parameter: String,
    shape: Vec<usize>,
}

/// Lists the tensors of a model's checkpoint by the names that its family gives them.
fn list_places(config: &ModelConfig) -> BTreeMap<String, Place> {
    let tensors = config.tensors().into_iter();
    tensors
        .map(|(parameter, shape)| (config.family.name_tensor(&parameter), Place { parameter, shape }))
        .collect()
}

/// Reads the tensors of a directory that have a place in the model, by parameter, and how the two compare, by
/// the checkpoint's names.
fn read_fitting(config: &ModelConfig, directory: &Path) -> Result<(Weights, LoadReport), ModelError> {
    if !directory.is_dir() {
        return Err(ModelError::NoDirectory { path: directory.to_owned() });
    }
    let places = list_places(config);
    let fits = |name: &str, shape: &[usize]| places.get(name).is_some_and(|place| place.shape == shape);
    let Checkpoint { weights: mut found, others } = weights::read(directory, fits)?;
    let mut report = LoadReport::default();
    for (name, shape) in others {
        match places.get(&name) {
            Some(place) => {
                let expected = place.shape.clone();
                report.mismatched.push(Mismatch { tensor: name, found: shape, expected });
            }
            None if is_derived(config, &name) => {}
            None => report.left_over.push(name),
        }
    }
    let mut weights = Weights::new();
    for (name, Place { parameter, .. }) in places {
        if let Some(values) = found.remove(&name) {
            weights.insert(parameter, values);
            report.loaded.push(name);
        } else if !report.mismatched.iter().any(|mismatch| mismatch.tensor == name) {
            report.missing.push(name);
        }
    }
    Ok((weights, report))
}

/// Tells tensors that follow from the others: transformers ignores them too.
fn is_derived(config: &ModelConfig, name: &str) -> bool {
    (config.tie_word_embeddings && name == config.family.name_tensor(HEAD))
        || name.ends_with(".rotary_emb.inv_freq")
}

/// Replaces `directory` by a model, see [`write`]. A crash at any instant leaves no half-written model: the
/// directory is filled beside its place and then put there.
///
/// # Errors
/// Where a file cannot be written.
pub fn save(
    model: &Transformer,
    config: &ModelConfig,
    tokenizer: Option<&Path>,
    directory: &Path,
) -> Result<(), ModelError> {
    replace_directory(directory, |building| write(model, config, tokenizer, building))
}

/// Writes a model as transformers loads it into an empty directory, with the tokenizer's files copied from
/// `tokenizer` (a directory, or a file in one). All of it is flushed to the disk, but the directory itself.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(
    model: &Transformer,
    config: &ModelConfig,
    tokenizer: Option<&Path>,
    directory: &Path,
) -> Result<(), ModelError> {
    write_json(&directory.join("config.json"), &config.to_json())?;
    write_json(&directory.join("generation_config.json"), &config.to_generation_json())?;
    if let Some(tokenizer) = tokenizer {
        copy_tokenizer(tokenizer, directory)?;
    }
    write_weights(&model.weights(), config, &directory.join("model.safetensors"))
}

fn write_weights(weights: &Weights, config: &ModelConfig, path: &Path) -> Result<(), ModelError> {
    let layout = |reason: String| ModelError::Layout { path: path.to_owned(), reason };
    let mut arrays = Vec::new();
    let places = list_places(config);
    for (name, Place { parameter, shape }) in &places {
        let values =
            weights.get(parameter).ok_or_else(|| layout(format!("{parameter}: not in the model")))?;
        arrays.push(NamedArray { name, shape: shape.clone(), values });
    }
    // Transformers asks which framework wrote the file; what it means is the layout.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(write_arrays(path, arrays, Some(metadata))?)
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
