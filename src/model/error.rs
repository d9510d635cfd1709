//! What can be wrong with a model: its sizes, its `config.json`, its weights.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::report::LoadReport;
use crate::spec::SizeError;
use crate::store::StoreError;

/// A model could not be described, loaded or written.
#[derive(Debug, Error, Diagnostic)]
pub enum ModelError {
    /// Sizes declared in an experiment file that no model can have.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Size(#[from] SizeError),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no such directory.
    #[error("no model directory {}", path.display())]
    #[diagnostic(help("a model is a directory that holds `config.json` and `model.safetensors`"))]
    NoDirectory {
        /// What should be a directory.
        path: PathBuf,
    },
    /// The directory has no `config.json`.
    #[error("{} has no `config.json`", directory.display())]
    #[diagnostic(help(
        "`save_pretrained` of Hugging Face transformers writes one beside `model.safetensors`"
    ))]
    NoConfig {
        /// The model directory.
        directory: PathBuf,
    },
    /// `config.json` is not a JSON object.
    #[error("{} is not a JSON object: {reason}", path.display())]
    #[diagnostic(help("the file is damaged or not a model's: write the model again"))]
    ConfigNotJson {
        /// The configuration file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A key that has no safe default is missing.
    #[error("{}: key `{key}` is missing, expected {expected}", path.display())]
    #[diagnostic(help("write the model again with `save_pretrained`, or add the key by hand"))]
    MissingKey {
        /// The configuration file.
        path: PathBuf,
        /// The missing key.
        key: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A key holds what no model can have.
    #[error("{}: key `{key}` is {found}, expected {expected}", path.display())]
    #[diagnostic(help("the configuration does not belong to these weights, or was edited by hand"))]
    WrongValue {
        /// The configuration file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A model that kdx cannot compute.
    #[error("{}: key `{key}` is {found}, which kdx does not support; supported: {supported}", path.display())]
    #[diagnostic(help(
        "take a model of a supported kind: without this part, the numbers would be another model's"
    ))]
    Unsupported {
        /// The configuration file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What it holds.
        found: String,
        /// What kdx computes.
        supported: String,
    },
    /// More parameters than any machine holds: a mistyped size.
    #[error("the sizes make {parameters} parameters, more than kdx will allocate")]
    #[diagnostic(help("check `hidden_size`, `layers`, `intermediate_size` and `vocab_size`"))]
    TooLarge {
        /// What the sizes come to; saturated.
        parameters: u64,
    },
    /// The directory has no weights in a format that kdx reads.
    #[error("{} has no `model.safetensors` and no `model.safetensors.index.json`", directory.display())]
    #[diagnostic(help("{help}"))]
    NoWeights {
        /// The model directory.
        directory: PathBuf,
        /// What to do.
        help: String,
    },
    /// The index of a sharded checkpoint is not one.
    #[error("{} is not an index of shards: {reason}", path.display())]
    #[diagnostic(help(
        "expected `{{\"weight_map\": {{\"tensor\": \"file.safetensors\", …}}}}`; copy the file again"
    ))]
    DamagedIndex {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The index names a file that is not there.
    #[error("{} names the shard `{shard}`, which is not there", index.display())]
    #[diagnostic(help("the download or copy of the model is incomplete: fetch the missing file"))]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The absent file.
        shard: String,
    },
    /// The index says that a shard holds a tensor, and it does not.
    #[error("{} places `{tensor}` in `{shard}`, which does not hold it", index.display())]
    #[diagnostic(help("index and shards are of different models: copy all files again"))]
    NotInShard {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The file that should hold it.
        shard: String,
    },
    /// A safetensors file is cut short, or its header is wrong.
    #[error("{} is damaged: {reason}", path.display())]
    #[diagnostic(help("the file was cut short or is no safetensors file: fetch or write it again"))]
    DamagedWeights {
        /// The safetensors file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor of a type that kdx does not read.
    #[error("{}: tensor `{tensor}` has type {found}; kdx reads F32, F16 and BF16", path.display())]
    #[diagnostic(help(
        "convert it: `model.to(torch.float32).save_pretrained(…)`; quantized weights must be dequantized \
         first"
    ))]
    UnsupportedType {
        /// The safetensors file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// Weights that are infinite or not a number.
    #[error("{}: tensor `{tensor}` holds values that are not finite", path.display())]
    #[diagnostic(help("the training that wrote it diverged: use an earlier checkpoint"))]
    NotFinite {
        /// The safetensors file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// The tensors are not those of the model that `config.json` describes.
    #[error("the weights in {} do not fit the model: {}", directory.display(), report.in_words())]
    #[diagnostic(help(
        "`student.partial = true` loads what fits and starts the rest at random; a teacher must fit whole"
    ))]
    DoesNotFit {
        /// The model directory.
        directory: PathBuf,
        /// Which tensors.
        report: Box<LoadReport>,
    },
    /// The safetensors library could not lay out the file.
    #[error("cannot lay out {}: {reason}", path.display())]
    Layout {
        /// The file to be written.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// A file could not be put in place.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
}

impl ModelError {
    /// Wraps an error of the operating system: `map_err(ModelError::io("read", &path))`.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        // The store's error says what to do where the disk is full.
        move |source| match StoreError::io(action, path)(source) {
            StoreError::Io { action, path, source } => Self::Io { action, path, source },
            other => Self::Store(other),
        }
    }
}
