//! `[data]`: what the student learns from and is measured on.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the student learns from and is measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL file or files to train on, relative to the experiment file.
    pub train: PathList,
    /// JSONL file or files to measure on, never trained on.
    pub validation: PathList,
    /// The form of the records; `auto` reads it off the first record.
    pub format: DataFormat,
    /// The field that holds the user's text, for `prompt_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The field that holds the assistant's text, for `prompt_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// A system message put before each conversation that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Directory with `tokenizer.json` (and `tokenizer_config.json`), or the `tokenizer.json`
    /// itself. Left out: the teacher's, else the student's directory. `tokenized` data needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// A Jinja file used in place of the tokenizer's own chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Tokens in a sequence; longer records are truncated.
    #[schemars(range(min = 2))]
    pub max_length: usize,
    /// Put several short records into one sequence in place of padding. Records in one sequence
    /// see each other, as in pre-training.
    pub packing: bool,
    /// Draw a new order of the sequences in every epoch; `false` keeps the file's order.
    pub shuffle: bool,
    /// What to do with a line that is not a valid record.
    pub on_bad_record: OnBadRecord,
    /// Use only this many training records, from the start of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_limit: Option<usize>,
    /// Use only this many validation records, from the start of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub validation_limit: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: PathList::default(),
            validation: PathList::default(),
            format: DataFormat::Auto,
            prompt: None,
            response: None,
            system: None,
            tokenizer: None,
            chat_template: None,
            max_length: 512,
            packing: false,
            shuffle: true,
            on_bad_record: OnBadRecord::Error,
            train_limit: None,
            validation_limit: None,
        }
    }
}

/// One path or a list of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PathList {
    /// A single file.
    One(PathBuf),
    /// Several files, read in this order.
    Many(Vec<PathBuf>),
    /// No file.
    #[default]
    None,
}

impl PathList {
    /// The paths in order.
    pub fn as_slice(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
            Self::None => &[],
        }
    }
}

/// The form of a JSONL record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Read off the first record.
    Auto,
    /// `{"conversations": [{"role"|"from", "content"|"value"}, …]}` (MiniMind, ShareGPT).
    Conversations,
    /// `{"messages": [{"role", "content"}, …]}` (OpenAI, Hugging Face).
    Messages,
    /// A prompt and a response under the fields that `data.prompt` and `data.response` name.
    PromptResponse,
    /// `{"text": "…"}`: every token counts.
    Text,
    /// `{"input_ids": […], "labels": […]}`, −100 where a token does not count.
    Tokenized,
}

/// What to do with a line that is not a valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// Stop, and name the file and line.
    Error,
    /// Leave the line out, and count it.
    Skip,
}
