//! Where what a teacher says comes from.

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::hidden::HiddenStates;
use super::online;
use super::top::TopLogits;
use crate::data::Batch;
use crate::kernels::Taught;
use crate::model::Transformer;

/// Where what the teacher says comes from. The output head is applied to hidden states inside the loss,
/// so that no logits of the whole vocabulary are ever handed over.
#[derive(Debug)]
pub enum Signal {
    /// The teacher runs on every batch.
    Online(Box<Transformer>),
    /// Its last hidden states are read from a file.
    Hidden(HiddenStates),
    /// Its largest logits are read from a file.
    Topk(Box<TopLogits>),
}

impl Signal {
    /// What the loss takes of the teacher for a batch. Outside any graph.
    ///
    /// # Errors
    /// Where a file turns out to be damaged, and the teacher cannot be loaded to take its place.
    pub fn teach(&self, batch: &DeviceBatch) -> Result<Taught, DistillError> {
        match self {
            Self::Online(teacher) => Ok(online::run(teacher, batch)),
            Self::Hidden(states) => states.teach(batch),
            Self::Topk(logits) => logits.teach(batch),
        }
    }

    /// Whether it wants to know what it will be asked for, see [`Self::read_ahead`].
    pub(super) fn reads_ahead(&self) -> bool {
        matches!(self, Self::Hidden(states) if states.reads_ahead())
    }

    /// Begins to read what these batches will take, while the device is busy with those before.
    pub(super) fn read_ahead(&self, batches: &[Batch]) {
        if let Self::Hidden(states) = self {
            states.read_ahead(batches);
        }
    }
}
