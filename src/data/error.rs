//! What can go wrong between a file of records and the tokens to train on.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::record::RecordProblem;

/// Data, a tokenizer or a chat template could not be used.
#[derive(Debug, Error, Diagnostic)]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
        /// What to do.
        #[help]
        help: Option<String>,
    },
    /// No file was named.
    #[error("`{key}` names no file, expected one JSONL file or a list of them")]
    #[diagnostic(help(
        "name one: `{key} = \"data.jsonl\"`, relative to the experiment file; it cannot be an empty list"
    ))]
    NoFiles {
        /// The key of the experiment file.
        key: &'static str,
    },
    /// A setting of `[data]` does not go with another.
    #[error("`{key}`: {problem}")]
    Setting {
        /// The key of the experiment file.
        key: &'static str,
        /// What was found and what was expected.
        problem: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A line is not a record.
    #[error("{}:{line}: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What was found and what was expected.
        problem: RecordProblem,
        /// What to do.
        #[help]
        help: String,
    },
    /// Files without a single record that could be used.
    #[error("no record to use in {}: {reason}", list(paths))]
    NoRecords {
        /// The files.
        paths: Vec<PathBuf>,
        /// Where the records went.
        reason: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A token id that the model has no row for.
    #[error(
        "{}:{line}: found the token id {id}, expected ids below {vocab_size}, the size of {vocabulary}",
        path.display()
    )]
    BeyondVocabulary {
        /// The file.
        path: PathBuf,
        /// The line of the record (the first one, of a packed sequence).
        line: u64,
        /// The largest such id of the sequence.
        id: u32,
        /// Ids must be below this.
        vocab_size: usize,
        /// Whose vocabulary it is.
        vocabulary: &'static str,
        /// What to do.
        #[help]
        help: String,
    },
    /// Nothing says how text becomes tokens.
    #[error("no tokenizer for {}: {}", data.display(), looked_in(looked))]
    #[diagnostic(help(
        "set `data.tokenizer` to a directory with a tokenizer.json; `kdx tokenizer train` makes one"
    ))]
    NoTokenizer {
        /// The file whose records are text.
        data: PathBuf,
        /// Directories without a `tokenizer.json`.
        looked: Vec<PathBuf>,
    },
    /// A tokenizer file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// `tokenizer.json` or `tokenizer_config.json`.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A chat template cannot be compiled.
    #[error("the chat template of {origin} has an error in line {line}: {reason}")]
    #[diagnostic(help("correct the template, or use another one: `data.chat_template = \"FILE.jinja\"`"))]
    Template {
        /// The file that holds it.
        origin: String,
        /// The line of the template, from 1.
        line: usize,
        /// What the engine says.
        reason: String,
    },
    /// A tokenizer cannot be trained with these settings.
    #[error("{problem}")]
    Train {
        /// What was found and what was expected.
        problem: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A directory that would be overwritten.
    #[error("{} is there already", path.display())]
    #[diagnostic(help("choose another directory, or replace it with --force"))]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A cache or tokenizer file could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl DataError {
    /// Wraps an error of the operating system: `map_err(DataError::io("read", &path))`.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| {
            let help = (source.kind() == std::io::ErrorKind::NotFound)
                .then(|| "check the name; paths in an experiment file are relative to that file".to_owned());
            Self::Io { action, path: path.to_owned(), source, help }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn looked_in(looked: &[PathBuf]) -> String {
    if looked.is_empty() {
        "`data.tokenizer` is not set, and there is no teacher or student directory to take it from".to_owned()
    } else {
        format!("`data.tokenizer` is not set, and there is no tokenizer.json in {}", list(looked))
    }
}
