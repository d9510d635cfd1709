//! A signal in a file, and the teacher that takes its place where the file turns out to be damaged.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::{DType, Device, TensorData};
use half::bf16;
use rayon::prelude::*;

use super::super::error::DistillError;
use super::online;
use crate::cache::{Damage, Element, Header, SignalFile};
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

    /// Damage of the file.
    pub(super) fn damage(&self, reason: &str) -> Damage {
        self.file.damage(reason)
    }

    /// Whether the teacher itself has taken the file's place.
    pub(super) fn is_replaced(&self) -> bool {
        self.instead.get().is_some()
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
                let teacher = online::load(&self.directory, self.precision, &self.device)?;
                Ok(run(self.instead.get_or_init(|| teacher)))
            }
        }
    }

    /// The hidden states of some sequences, `[n, hidden]`, one sequence after the other, in the type that
    /// products on the device take.
    pub(super) fn states(&self, sequences: &[u32]) -> Result<TensorData, Damage> {
        let header = self.header();
        let width = header.width as usize;
        let count = sequences.iter().map(|&sequence| self.file.rows(sequence as usize)).sum::<usize>();
        let (data, dtype) = match header.element {
            Element::F32 => {
                let mut values = vec![0_f32; count * width];
                self.fill(sequences, count, [bytemuck::cast_slice_mut(&mut values)])?;
                (TensorData::new(values, [count, width]), DType::F32)
            }
            Element::Bf16 => {
                let mut values = vec![bf16::ZERO; count * width];
                self.fill(sequences, count, [bytemuck::cast_slice_mut(&mut values)])?;
                (TensorData::new(values, [count, width]), DType::BF16)
            }
        };
        // A device without bfloat16 is given the same numbers in single precision.
        let dtype = if self.device.supports_dtype(dtype) { dtype } else { DType::F32 };
        Ok(data.convert_dtype(dtype))
    }

    /// Reads `count` rows into columns, each with its share of every row: the rows of these sequences, one
    /// sequence after the other.
    pub(super) fn fill<const N: usize>(
        &self,
        sequences: &[u32],
        count: usize,
        mut columns: [&mut [u8]; N],
    ) -> Result<(), Damage> {
        let row_bytes = columns.each_ref().map(|column| column.len() / count.max(1));
        let mut parts = Vec::with_capacity(sequences.len());
        for &sequence in sequences {
            let rows = self.file.rows(sequence as usize);
            if columns.iter().zip(row_bytes).any(|(column, bytes)| column.len() < rows * bytes) {
                return Err(self.file.damage("it has more rows than the batch"));
            }
            let mut index = 0;
            let pieces = columns.each_mut().map(|column| {
                let (piece, rest) = std::mem::take(column).split_at_mut(rows * row_bytes[index]);
                *column = rest;
                index += 1;
                piece
            });
            parts.push((sequence as usize, pieces));
        }
        if columns.iter().any(|column| !column.is_empty()) {
            return Err(self.file.damage("it has fewer rows than the batch"));
        }
        parts.into_par_iter().try_for_each(|(sequence, mut pieces)| self.file.read(sequence, &mut pieces))
    }
}
