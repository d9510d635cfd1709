//! `summary.json`: what a run came to, and the digests of what it left, so that damage is seen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::file::{parse_json, write_atomic};
use super::records::RunSummary;

/// A file as it was when its run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3 digest.
    pub digest: String,
}

impl FileMark {
    /// The file at `path` as it is now; none where there is none.
    fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut hasher = blake3::Hasher::new();
        match hasher.update_mmap(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("read", path))?,
        };
        Ok(Some(Self { bytes: hasher.count(), digest: hasher.finalize().to_hex().to_string() }))
    }

    /// Compares the length alone, which costs no reading.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the file is missing or of another length.
    pub(super) fn check_length(&self, path: &Path) -> Result<(), StoreError> {
        let found = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("read", path)(error));
            }
            _ => return Err(damaged(path, "it is missing")),
        };
        if found == self.bytes {
            return Ok(());
        }
        Err(damaged(path, format!("it has {found} bytes, {} when the run ended", self.bytes)))
    }

    /// Compares the content.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the file is missing or is not what it was.
    pub(super) fn check(&self, path: &Path) -> Result<(), StoreError> {
        self.check_length(path)?;
        match Self::of(path)? {
            Some(found) if found == *self => Ok(()),
            Some(_) => Err(changed(path)),
            None => Err(damaged(path, "it is missing")),
        }
    }

    /// Compares content that was read.
    pub(super) fn check_content(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        if content.len() as u64 == self.bytes && *blake3::hash(content).to_hex() == *self.digest {
            return Ok(());
        }
        Err(changed(path))
    }
}

/// Files by their path in the run directory.
pub(super) type FileMarks = BTreeMap<String, FileMark>;

/// The content of `summary.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    #[serde(flatten)]
    pub(super) summary: RunSummary,
    /// What the run left; empty in files of earlier versions.
    #[serde(default)]
    pub(super) files: FileMarks,
    /// Digest of the text of this file without the line that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

impl Outcome {
    /// What a run came to that left everything else in `directory`.
    pub(super) fn of(summary: &RunSummary, directory: &Path) -> Result<Self, StoreError> {
        Ok(Self { summary: summary.clone(), files: marks(directory)?, checksum: None })
    }

    /// Writes it, with the digest of its own text.
    pub(super) fn write(mut self, path: &Path) -> Result<(), StoreError> {
        self.checksum = Some(String::new());
        self.checksum = Some(checksum(&self.to_text(path)?));
        write_atomic(path, &self.to_text(path)?)
    }

    fn to_text(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| damaged(path, error.to_string()))?;
        Ok((text + "\n").into_bytes())
    }

    /// Reads it; none where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("read", path))?,
        };
        let outcome: Self = parse_json(path, &text)?;
        match &outcome.checksum {
            Some(expected) if *expected != checksum(&text) => Err(damaged(path, "its checksum is another")),
            _ => Ok(Some(outcome)),
        }
    }
}

/// Digest of all lines but the one with the checksum itself.
fn checksum(text: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    let lines = text.split_inclusive(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.trim_ascii_start().starts_with(b"\"checksum\"")) {
        hasher.update(line);
    }
    hasher.finalize().to_hex().to_string()
}

/// What a run that ends leaves.
fn marks(directory: &Path) -> Result<FileMarks, StoreError> {
    let mut marks = FileMarks::new();
    let mut add = |name: String| -> Result<(), StoreError> {
        if let Some(mark) = FileMark::of(&directory.join(&name))? {
            marks.insert(name, mark);
        }
        Ok(())
    };
    add("run.json".to_owned())?;
    add("metrics.jsonl".to_owned())?;
    for name in ["model", "best"] {
        let model = directory.join(name);
        let listing = match fs::read_dir(&model) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(StoreError::io("read", &model))?,
        };
        for entry in listing {
            let entry = entry.map_err(StoreError::io("read", &model))?;
            let metadata = File::open(entry.path()).and_then(|file| file.metadata());
            if metadata.is_ok_and(|metadata| metadata.is_file()) {
                add(format!("{name}/{}", entry.file_name().to_string_lossy()))?;
            }
        }
    }
    Ok(marks)
}

fn changed(path: &Path) -> StoreError {
    damaged(path, "its digest is not the one that it had when the run ended")
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.into() }
}
