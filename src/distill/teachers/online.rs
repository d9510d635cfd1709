//! The teacher itself: loaded, and run on a batch.

use std::path::Path;

use burn::tensor::Device;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use crate::kernels::{Precision, Taught};
use crate::model::{self, Transformer};

/// Loads a teacher, ready to run.
pub(super) fn load(
    directory: &Path,
    precision: Precision,
    device: &Device,
) -> Result<Transformer, DistillError> {
    let (model, ..) = model::load(directory, device).map_err(DistillError::teacher)?;
    Ok(model.with_precision(precision).frozen())
}

/// Runs the teacher on a batch.
pub(super) fn run(teacher: &Transformer, batch: &DeviceBatch) -> Taught {
    teacher.project(teacher.forward_rows(batch.ids.clone(), batch.rows.clone())).into()
}
