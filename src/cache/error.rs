//! What can go wrong with files that can be made again.

use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::size::ByteSize;
use crate::store::StoreError;

/// A file of the cache could not be written or read.
#[derive(Debug, Error, Diagnostic)]
pub enum CacheError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    #[diagnostic(help(
        "the cache lies in the store (`--store DIR`); `teacher.signal = \"online\"` needs none"
    ))]
    Io {
        /// What was tried, as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk has no room for a file.
    #[error(
        "no room for {}: it takes {}, and {} is free",
        path.display(),
        ByteSize(*needed),
        free.map_or("an unknown amount".to_owned(), |free| ByteSize(free).to_string())
    )]
    #[diagnostic(help(
        "`kdx cache gc --max-size SIZE` removes what was not used for longest; `teacher.signal = \"online\"` \
         needs no file; `--store DIR` takes another disk"
    ))]
    Full {
        /// The file.
        path: PathBuf,
        /// Bytes of the whole file.
        needed: u64,
        /// Bytes that can still be written; none where the system does not say.
        free: Option<u64>,
    },
    /// A file of the store.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
}

impl CacheError {
    /// Wraps an error of the operating system: `map_err(CacheError::io("write", &path))`.
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Why a file of the cache is not used. Never more than a warning: it is made again.
#[derive(Debug, Error)]
#[error("{} is damaged or not kdx's: {reason}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}
