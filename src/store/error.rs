//! What can go wrong with the files of a store.

use std::io::ErrorKind;
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
    /// There is no room on the disk.
    #[error("cannot {action} {}: the disk is full: {source}", path.display())]
    #[diagnostic(help(
        "make room, as with `kdx gc`, or use `--store DIR` on another disk; the same command then goes on"
    ))]
    Full {
        /// What was tried, as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    #[diagnostic(help(
        "`kdx verify --reset` sets damaged runs aside, and the next `kdx sweep` begins them again, as it \
         does by itself with a run that cannot be read"
    ))]
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
    /// This process stood still for so long that another one has taken its place.
    #[error("the lease of {} is lost to {owner}: nothing more is written there", path.display())]
    #[diagnostic(help(
        "this process stood still for longer than a lease (KDX_LEASE_SECONDS, 60 by default); the run is the \
         other's now"
    ))]
    LeaseLost {
        /// The run directory, or that of the cache.
        path: PathBuf,
        /// Who has it now, in words.
        owner: String,
    },
    /// `KDX_LEASE_SECONDS` cannot be used.
    #[error("KDX_LEASE_SECONDS must be a number of seconds from 0.1 to 86400, found `{found}`")]
    #[diagnostic(help("unset it: leases then last 60 seconds"))]
    LeaseSeconds {
        /// What it holds.
        found: String,
    },
}

impl StoreError {
    /// Wraps an error of the operating system: `map_err(StoreError::io("write", &path))`.
    pub fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::Full { action, path: path.to_owned(), source }
            }
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// Whether the file was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}
