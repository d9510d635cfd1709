//! What the teacher hands the student: its signal.
//!
//! ```text
//! choose   which signal a run uses: what was asked for, and what fits on the disk
//! plan     the file that a split's signal is in: its key, its size
//! build    computes a signal, once for all runs, epochs and processes
//! hidden   hidden states read back
//! ahead    reading them before they are needed
//! top      the largest logits: cut down, and read back
//! stored   a signal in a file, and what takes its place
//! ```

mod ahead;
mod build;
mod choose;
mod hidden;
mod plan;
mod stored;
mod top;

use std::path::Path;

use burn::tensor::Device;

use super::batch::DeviceBatch;
use super::error::DistillError;
use crate::data::Batch;
use crate::kernels::{Precision, Taught};
use crate::model::{self, Transformer};
pub(super) use choose::{Request, Teacher};
use hidden::HiddenStates;
use top::TopLogits;

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
            Self::Online(teacher) => Ok(run(teacher, batch)),
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

/// Loads a teacher, ready to run.
fn load(directory: &Path, precision: Precision, device: &Device) -> Result<Transformer, DistillError> {
    let (model, ..) = model::load(directory, device).map_err(DistillError::teacher)?;
    Ok(model.with_precision(precision).frozen())
}

/// Runs the teacher on a batch.
fn run(teacher: &Transformer, batch: &DeviceBatch) -> Taught {
    teacher.project(teacher.forward_rows(batch.ids.clone(), batch.rows.clone())).into()
}
