//! Hidden states read back from a file.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::bf16;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use crate::cache::{Damage, Element, SignalFile};
use crate::kernels::{HeadProducts, Projection, Taught};
use crate::model::Transformer;

/// The output head of a teacher, and how products with it are made.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) weight: Tensor<2>,
    pub(super) how: HeadProducts,
}

/// The last hidden states of a split, in a file, and the output head that goes with them: all that is in
/// memory of the teacher.
#[derive(Debug)]
pub struct HiddenStates {
    file: SignalFile,
    head: Head,
    directory: PathBuf,
    device: Device,
    /// The teacher itself, once the file turned out to be damaged.
    instead: OnceLock<Transformer>,
}

impl HiddenStates {
    pub(super) fn new(file: SignalFile, head: Head, directory: PathBuf, device: Device) -> Self {
        Self { file, head, directory, device, instead: OnceLock::new() }
    }

    /// See [`Signal::teach`](super::Signal::teach). Where the file is found to be damaged it is removed,
    /// and the teacher itself takes its place for the rest of the run: that gives the same numbers.
    pub(super) fn teach(&self, batch: &DeviceBatch) -> Result<Taught, DistillError> {
        if let Some(teacher) = self.instead.get() {
            return Ok(super::run(teacher, batch));
        }
        match self.read(batch) {
            Ok(hidden) => {
                let Head { weight, how } = self.head.clone();
                Ok(Projection { hidden, head: weight, how }.into())
            }
            Err(damage) => {
                self.file.discard(&damage);
                tracing::warn!("the teacher runs on every batch for the rest of this run");
                let teacher = super::load(&self.directory, self.head.how.precision, &self.device)?;
                Ok(super::run(self.instead.get_or_init(|| teacher), batch))
            }
        }
    }

    /// The rows of a batch: those of its sequences, one sequence after the other.
    fn read(&self, batch: &DeviceBatch) -> Result<Tensor<2>, Damage> {
        let (count, width) = (batch.count, self.file.header().width as usize);
        let (data, dtype) = match self.file.header().element {
            Element::F32 => {
                let mut values = vec![0_f32; count * width];
                self.fill(batch, bytemuck::cast_slice_mut(&mut values))?;
                (TensorData::new(values, [count, width]), DType::F32)
            }
            Element::Bf16 => {
                let mut values = vec![bf16::ZERO; count * width];
                self.fill(batch, bytemuck::cast_slice_mut(&mut values))?;
                (TensorData::new(values, [count, width]), DType::BF16)
            }
        };
        Ok(Tensor::from_data(data, (&self.device, dtype)))
    }

    fn fill(&self, batch: &DeviceBatch, mut buffer: &mut [u8]) -> Result<(), Damage> {
        let row_bytes = buffer.len() / batch.count.max(1);
        for &sequence in &batch.sequences {
            let rows = self.file.rows(sequence as usize);
            let Some((piece, rest)) = buffer.split_at_mut_checked(rows * row_bytes) else {
                return Err(self.file.damage("it has other rows than the batch"));
            };
            self.file.read(sequence as usize, &mut [piece])?;
            buffer = rest;
        }
        if buffer.is_empty() { Ok(()) } else { Err(self.file.damage("it has fewer rows than the batch")) }
    }
}
