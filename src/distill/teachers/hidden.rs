//! Hidden states read back from a file.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::ahead::Ahead;
use super::online;
use super::stored::Stored;
use crate::cache::Damage;
use crate::data::Batch;
use crate::kernels::{KeptHead, Taught, is_processor};

/// The last hidden states of a split, in a file, and the output head that goes with them: all that is in
/// memory of the teacher.
#[derive(Debug)]
pub struct HiddenStates {
    stored: Arc<Stored>,
    head: KeptHead,
    /// Where the device computes by itself while the next states are read.
    ahead: Option<Ahead>,
}

impl HiddenStates {
    pub(super) fn new(stored: Stored, head: KeptHead) -> Self {
        let stored = Arc::new(stored);
        let ahead = if is_processor(&stored.device) { None } else { Ahead::new(&stored) };
        Self { stored, head, ahead }
    }

    /// See [`Signal::teach`](super::signal::Signal::teach).
    pub(super) fn teach(&self, batch: &DeviceBatch) -> Result<Taught, DistillError> {
        let read = || Ok(self.head.teach(self.read(batch)?));
        self.stored.read_or(read, |teacher| online::run(teacher, batch))
    }

    /// See [`Signal::reads_ahead`](super::signal::Signal::reads_ahead).
    pub(super) fn reads_ahead(&self) -> bool {
        self.ahead.is_some() && !self.stored.is_replaced()
    }

    /// See [`Signal::read_ahead`](super::signal::Signal::read_ahead).
    pub(super) fn read_ahead(&self, batches: &[Batch]) {
        for batch in batches {
            if let Some(ahead) = &self.ahead {
                ahead.ask(&batch.sequences);
            }
        }
    }

    /// The states of a batch, `[n, hidden]`.
    fn read(&self, batch: &DeviceBatch) -> Result<Tensor<2>, Damage> {
        let early = self.ahead.as_ref().and_then(|ahead| ahead.take(&batch.sequences));
        let states = early.unwrap_or_else(|| self.stored.states(&batch.sequences))?;
        if states.shape()[0] != batch.count {
            return Err(self.stored.damage("it has other rows than the batch"));
        }
        let dtype = states.dtype();
        Ok(Tensor::from_data(states, (&self.stored.device, dtype)))
    }
}
