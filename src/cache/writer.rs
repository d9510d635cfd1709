//! A signal file in the making.
//!
//! It is filled as `KEY.partial` and becomes `KEY.bin` when it is whole. Every so often the data is flushed
//! to the disk and then recorded as done, so that after a kill, or a power cut, the next writer goes on from
//! there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::CacheError;
use super::format::{CHECKSUM, DATA_START, Header, Loss, Progress, checksum};
use super::lock::WriteLock;
use super::positioned::{read_exact_at, write_all_at};
use super::space;
use crate::store::file::sync_directory;

/// Bytes between two records of progress.
const COMMIT_BYTES: u64 = 64 << 20;
/// Time between two records of progress.
const COMMIT_TIME: Duration = Duration::from_secs(10);

/// A signal file in the making.
#[derive(Debug)]
pub struct Writer {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    header: Header,
    /// Rows before each sequence, and after the last.
    starts: Vec<u64>,
    row_bytes: u64,
    bytes: u64,
    uncommitted: u64,
    committed: Instant,
    lock: WriteLock,
}

impl Writer {
    /// Begins a file, or goes on with the part that an earlier writer left. `rows` are those of each
    /// sequence; the progress says how many sequences are done, in the order that all writers of this
    /// file share.
    ///
    /// # Errors
    /// Where the disk has no room for the file, or refuses.
    pub fn open(
        target: &Path,
        lock: WriteLock,
        header: Header,
        rows: &[u64],
    ) -> Result<(Self, Progress), CacheError> {
        let partial = target.with_extension("partial");
        let io = CacheError::io;
        let starts = starts(rows);
        let (Some(bytes), Some(row_bytes)) = (header.file_bytes(), header.row_bytes()) else {
            return Err(space::full(target, u64::MAX));
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&partial)
            .map_err(io("write", &partial))?;
        let mut record = [0; Progress::BYTES];
        let is_whole = file.metadata().is_ok_and(|metadata| metadata.len() == bytes);
        let known = (is_whole && read_exact_at(&file, &mut record, 0).is_ok())
            .then(|| Progress::decode(&header, &record))
            .flatten();
        let writer = Self {
            file,
            partial,
            target: target.to_owned(),
            header,
            starts,
            row_bytes,
            bytes,
            uncommitted: 0,
            committed: Instant::now(),
            lock,
        };
        let progress = known.unwrap_or_default();
        // A part has holes where it is not done, so its length says nothing.
        let done = (progress.sequences as f64 / rows.len().max(1) as f64 * bytes as f64) as u64;
        space::check(target, bytes - done.min(bytes))?;
        if known.is_none() {
            let empty = writer.file.set_len(0).and_then(|()| writer.file.set_len(bytes));
            empty.map_err(|error| writer.failed(error))?;
        }
        Ok((writer, progress))
    }

    /// What the file will hold.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the rows of a sequence, as pieces that follow each other.
    ///
    /// # Errors
    /// Where the disk is full, in which case the part is removed to make room for others, or refuses; or
    /// where another process writes the file by now.
    pub fn write(&mut self, sequence: usize, pieces: &[&[u8]]) -> Result<(), CacheError> {
        self.lock.check()?;
        let mut offset = DATA_START + self.starts[sequence] * self.row_bytes;
        for piece in pieces {
            write_all_at(&self.file, piece, offset).map_err(|error| self.failed(error))?;
            offset += piece.len() as u64;
            self.uncommitted += piece.len() as u64;
        }
        debug_assert_eq!(offset, DATA_START + self.starts[sequence + 1] * self.row_bytes);
        let checksum = checksum(pieces.iter().copied()).to_le_bytes();
        let place = self.bytes - (self.header.sequences - sequence as u64) * CHECKSUM;
        write_all_at(&self.file, &checksum, place).map_err(|error| self.failed(error))
    }

    /// Whether so much was written, or so long ago, that it is worth being recorded.
    pub fn is_due(&self) -> bool {
        self.uncommitted >= COMMIT_BYTES || self.committed.elapsed() >= COMMIT_TIME
    }

    /// Records what is done, once it is on the disk.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn commit(&mut self, progress: &Progress) -> Result<(), CacheError> {
        self.lock.check()?;
        let record = progress.encode(&self.header);
        self.file
            .sync_data()
            .and_then(|()| write_all_at(&self.file, &record, 0))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| self.failed(error))?;
        self.uncommitted = 0;
        self.committed = Instant::now();
        Ok(())
    }

    /// Puts the whole file in its place. An approximation says what it leaves out.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(mut self, loss: Option<Loss>) -> Result<(), CacheError> {
        self.lock.check()?;
        self.header.loss = loss;
        self.file
            .sync_data()
            .and_then(|()| write_all_at(&self.file, &self.header.encode(), 0))
            .and_then(|()| self.file.sync_all())
            .map_err(|error| self.failed(error))?;
        fs::rename(&self.partial, &self.target).map_err(CacheError::io("write", &self.target))?;
        sync_directory(self.target.parent().unwrap_or(Path::new(".")))?;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> CacheError {
        if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
            // Asked before the part makes room, so that it says what was free.
            let full = space::full(&self.target, self.bytes);
            let _ = fs::remove_file(&self.partial);
            return full;
        }
        CacheError::io("write", &self.partial)(error)
    }
}

/// Rows before each sequence, and after the last.
pub(super) fn starts(rows: &[u64]) -> Vec<u64> {
    let sums = rows.iter().scan(0, |sum, rows| {
        *sum += rows;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}
