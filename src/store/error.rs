//! What can go wrong with the files of a store.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

/// A file of the store could not be read or written.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    #[diagnostic(help("remove the run with `kdx rm RUN`, and the next sweep repeats it"))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by another version of kdx.
    #[error("{} has format version {found}, this kdx reads {expected}", path.display())]
    #[diagnostic(help("use the kdx that wrote it, or sweep into another store with --store DIR"))]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The version that this kdx reads.
        expected: u32,
    },
    /// No experiment of that name was swept into this store.
    #[error("no experiment `{name}` in {}", root.display())]
    #[diagnostic(help("{known}"))]
    NoExperiment {
        /// The name that was asked for.
        name: String,
        /// The store.
        root: PathBuf,
        /// What there is, as a sentence.
        known: String,
    },
    /// No run of that id is in this store.
    #[error("no run `{id}` in {}", root.display())]
    #[diagnostic(help(
        "`kdx ls` lists the runs; the first digits of an id are enough where they are unique"
    ))]
    NoRun {
        /// The id that was asked for.
        id: String,
        /// The store.
        root: PathBuf,
    },
    /// Another process works on the run.
    #[error("another process works on {}", path.display())]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
}

impl StoreError {
    /// Wraps an error of the operating system: `map_err(StoreError::io("write", &path))`.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
