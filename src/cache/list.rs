//! What a cache directory holds.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::CacheError;
use super::format::{Header, SignalForm};
use super::reader::read_header;
use crate::data;

/// The directory of compiled kernels in that of the cache.
pub const KERNELS: &str = "kernels";

/// What a file of the cache is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A teacher's signal.
    Signal(Box<Header>),
    /// A teacher's signal in the making, or left by a writer that was killed.
    Partial,
    /// Tokens of a split.
    Tokens {
        /// Sequences.
        sequences: u64,
        /// Tokens of all sequences.
        tokens: u64,
    },
    /// Kernels that were compiled for one kind of GPU, and which of them are fast; a directory.
    Kernels,
    /// Of another version of kdx, damaged, or not kdx's.
    Unknown,
}

impl Kind {
    /// The word that tables use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Signal(header) => match header.form {
                SignalForm::Hidden => "hidden",
                SignalForm::Topk => "topk",
            },
            Self::Partial => "partial",
            Self::Tokens { .. } => "tokens",
            Self::Kernels => "kernels",
            Self::Unknown => "unknown",
        }
    }
}

/// A file of the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// When it was last read or written.
    pub last_used: SystemTime,
}

/// The files of a cache directory, the one that was used last first. Their number and their sizes are
/// small beside what reading them whole would take: only their beginnings are read.
///
/// # Errors
/// Where a directory cannot be read. One that is not there has no files.
pub fn list(cache_dir: &Path) -> Result<Vec<Entry>, CacheError> {
    let mut entries = Vec::new();
    for (name, kind_of) in [("signals", signal as fn(&Path) -> Option<Kind>), ("tokens", tokens)] {
        let directory = cache_dir.join(name);
        let listing = match fs::read_dir(&directory) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(CacheError::io("read", &directory)(error)),
        };
        for file in listing {
            let path = file.map_err(CacheError::io("read", &directory))?.path();
            // A file that another process has just removed is not there.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let Some(kind) = kind_of(&path).filter(|_| metadata.is_file()) else { continue };
            let last_used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(Entry { kind, bytes: bytes(&metadata), last_used, path });
        }
    }
    entries.extend(kernels(&cache_dir.join(KERNELS)));
    entries.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.path.cmp(&b.path)));
    Ok(entries)
}

/// The directories of GPUs, with the sizes and the latest time of the files in them.
fn kernels(directory: &Path) -> Vec<Entry> {
    let devices = fs::read_dir(directory).into_iter().flatten().flatten().map(|device| device.path());
    let entry = |path: PathBuf| {
        let mut entry = Entry { path, kind: Kind::Kernels, bytes: 0, last_used: SystemTime::UNIX_EPOCH };
        let mut left = vec![entry.path.clone()];
        while let Some(directory) = left.pop() {
            for file in fs::read_dir(directory).into_iter().flatten().flatten() {
                let Ok(metadata) = file.metadata() else { continue };
                if metadata.is_dir() {
                    left.push(file.path());
                } else {
                    entry.bytes += bytes(&metadata);
                    entry.last_used =
                        entry.last_used.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
                }
            }
        }
        entry
    };
    devices.filter(|path| path.is_dir()).map(entry).collect()
}

fn signal(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()? {
        "bin" => {
            let header = File::open(path).ok().and_then(|file| read_header(&file).ok());
            Some(header.map_or(Kind::Unknown, |header| Kind::Signal(Box::new(header))))
        }
        "partial" => Some(Kind::Partial),
        _ => None,
    }
}

fn tokens(path: &Path) -> Option<Kind> {
    if path.extension()? != "bin" {
        return None;
    }
    let contents = data::cache::contents(path);
    Some(contents.map_or(Kind::Unknown, |(sequences, tokens)| Kind::Tokens { sequences, tokens }))
}

/// A file in the making has holes, which take nothing.
#[cfg(unix)]
fn bytes(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn bytes(metadata: &Metadata) -> u64 {
    metadata.len()
}
