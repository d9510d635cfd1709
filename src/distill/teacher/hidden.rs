//! Hidden states read back from a file.

use burn::tensor::{DType, Tensor, TensorData};
use half::bf16;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::stored::Stored;
use crate::cache::{Damage, Element};
use crate::kernels::{KeptHead, Taught};

/// The last hidden states of a split, in a file, and the output head that goes with them: all that is in
/// memory of the teacher.
#[derive(Debug)]
pub struct HiddenStates {
    stored: Stored,
    head: KeptHead,
}

impl HiddenStates {
    pub(super) fn new(stored: Stored, head: KeptHead) -> Self {
        Self { stored, head }
    }

    /// See [`Signal::teach`](super::Signal::teach).
    pub(super) fn teach(&self, batch: &DeviceBatch) -> Result<Taught, DistillError> {
        let read = || Ok(self.head.teach(self.read(batch)?));
        self.stored.read_or(read, |teacher| super::run(teacher, batch))
    }

    /// The states of a batch, `[n, hidden]`.
    fn read(&self, batch: &DeviceBatch) -> Result<Tensor<2>, Damage> {
        let header = self.stored.header();
        let (count, width) = (batch.count, header.width as usize);
        let (data, dtype) = match header.element {
            Element::F32 => {
                let mut values = vec![0_f32; count * width];
                self.stored.fill(batch, [bytemuck::cast_slice_mut(&mut values)])?;
                (TensorData::new(values, [count, width]), DType::F32)
            }
            Element::Bf16 => {
                let mut values = vec![bf16::ZERO; count * width];
                self.stored.fill(batch, [bytemuck::cast_slice_mut(&mut values)])?;
                (TensorData::new(values, [count, width]), DType::BF16)
            }
        };
        // A device without bfloat16 is given the same numbers in single precision.
        let dtype = if self.stored.device.supports_dtype(dtype) { dtype } else { DType::F32 };
        Ok(Tensor::from_data(data.convert_dtype(dtype), (&self.stored.device, dtype)))
    }
}
