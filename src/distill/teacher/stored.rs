//! A signal in a file, and the teacher that takes its place where the file turns out to be damaged.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use crate::cache::{Damage, Header, SignalFile};
use crate::kernels::Precision;
use crate::model::Transformer;

/// A signal in a file.
#[derive(Debug)]
pub(super) struct Stored {
    file: SignalFile,
    /// Where the teacher is.
    directory: PathBuf,
    pub(super) precision: Precision,
    pub(super) device: Device,
    /// The teacher itself, once the file turned out to be damaged.
    instead: OnceLock<Transformer>,
}

impl Stored {
    pub(super) fn new(file: SignalFile, directory: PathBuf, precision: Precision, device: Device) -> Self {
        Self { file, directory, precision, device, instead: OnceLock::new() }
    }

    pub(super) fn header(&self) -> &Header {
        self.file.header()
    }

    /// What `read` finds in the file. Where the file is damaged it is removed, and what `run` makes of the
    /// teacher takes its place, for the rest of the run: that gives the same numbers.
    pub(super) fn read_or<T>(
        &self,
        read: impl FnOnce() -> Result<T, Damage>,
        run: impl FnOnce(&Transformer) -> T,
    ) -> Result<T, DistillError> {
        if let Some(teacher) = self.instead.get() {
            return Ok(run(teacher));
        }
        match read() {
            Ok(found) => Ok(found),
            Err(damage) => {
                self.file.discard(&damage);
                tracing::warn!("the teacher runs on every batch for the rest of this run");
                let teacher = super::load(&self.directory, self.precision, &self.device)?;
                Ok(run(self.instead.get_or_init(|| teacher)))
            }
        }
    }

    /// Reads the rows of a batch into columns, each with its share of every row: the rows of its
    /// sequences, one sequence after the other.
    pub(super) fn fill<const N: usize>(
        &self,
        batch: &DeviceBatch,
        mut columns: [&mut [u8]; N],
    ) -> Result<(), Damage> {
        let row_bytes = columns.each_ref().map(|column| column.len() / batch.count.max(1));
        for &sequence in &batch.sequences {
            let rows = self.file.rows(sequence as usize);
            if columns.iter().zip(row_bytes).any(|(column, bytes)| column.len() < rows * bytes) {
                return Err(self.file.damage("it has more rows than the batch"));
            }
            let mut index = 0;
            let mut pieces = columns.each_mut().map(|column| {
                let (piece, rest) = std::mem::take(column).split_at_mut(rows * row_bytes[index]);
                *column = rest;
                index += 1;
                piece
            });
            self.file.read(sequence as usize, &mut pieces)?;
        }
        if columns.iter().all(|column| column.is_empty()) {
            Ok(())
        } else {
            Err(self.file.damage("it has fewer rows than the batch"))
        }
    }
}
