//! What the teacher hands the student: its signal.

use super::batch::DeviceBatch;
use crate::kernels::Taught;
use crate::model::Transformer;

/// Where the teacher's last hidden states come from. The output head is applied inside the loss, so
/// that no logits of the whole vocabulary are ever handed over.
#[derive(Debug, Clone)]
pub enum Signal {
    /// The teacher runs on every batch.
    Online(Transformer),
}

impl Signal {
    /// What the loss takes of the teacher for a batch.
    pub fn teach(&self, batch: &DeviceBatch) -> Taught {
        match self {
            Self::Online(teacher) => {
                let hidden = teacher.forward_rows(batch.ids.clone(), batch.rows.clone());
                teacher.project(hidden).into()
            }
        }
    }
}
