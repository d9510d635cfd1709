//! Appending to `metrics.jsonl` of a run that this process holds.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::checkpoint::MetricsMark;
use super::error::StoreError;
use super::lease::Lease;
use super::measured::MetricRow;

/// Appends measurements, each as one whole line, for as long as the run is held.
#[derive(Debug)]
pub struct MetricsWriter<'a> {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: blake3::Hasher,
    lease: &'a Lease,
}

impl<'a> MetricsWriter<'a> {
    /// Begins the file at `path` anew.
    pub(super) fn create(path: &Path, lease: &'a Lease) -> Result<Self, StoreError> {
        lease.check()?;
        let file = File::create(path).map_err(StoreError::io("write", path))?;
        Ok(Self { path: path.to_owned(), file, bytes: 0, hasher: blake3::Hasher::new(), lease })
    }

    /// Opens the file at `path` to go on after `mark`; what stands behind it is cut off.
    ///
    /// # Errors
    /// Where what stands before the mark is not what stood there; nothing is changed then.
    pub(super) fn resume(path: &Path, mark: &MetricsMark, lease: &'a Lease) -> Result<Self, StoreError> {
        let mut file =
            OpenOptions::new().read(true).append(true).open(path).map_err(StoreError::io("write", path))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&mut file).take(mark.bytes)).map_err(StoreError::io("read", path))?;
        if hasher.count() != mark.bytes || *hasher.finalize().to_hex() != *mark.digest {
            let reason = format!("its first {} bytes are not those of the checkpoint", mark.bytes);
            return Err(StoreError::Damaged { path: path.to_owned(), reason });
        }
        lease.check()?;
        file.set_len(mark.bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", path))?;
        Ok(Self { path: path.to_owned(), file, bytes: mark.bytes, hasher, lease })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// Where it cannot be written, or where the lease of the run is lost.
    pub fn append(&mut self, row: &MetricRow) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(row)
            .map_err(|e| StoreError::Damaged { path: self.path.clone(), reason: e.to_string() })?;
        line.push(b'\n');
        self.lease.check()?;
        self.file.write_all(&line).map_err(StoreError::io("write", &self.path))?;
        self.bytes += line.len() as u64;
        self.hasher.update(&line);
        Ok(())
    }

    /// Flushes what was written to the disk, and says what it is.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn mark(&self) -> Result<MetricsMark, StoreError> {
        self.file.sync_all().map_err(StoreError::io("write", &self.path))?;
        Ok(MetricsMark { bytes: self.bytes, digest: self.hasher.finalize().to_hex().to_string() })
    }
}
