//! What the teacher hands the student: its signal.

use burn::tensor::Tensor;

use super::batch::DeviceBatch;
use crate::kernels::Projection;
use crate::model::Transformer;

/// Where the teacher's last hidden states come from. The output head is applied inside the loss, so
/// that no logits of the whole vocabulary are ever handed over.
#[derive(Debug, Clone)]
pub enum Signal {
    /// The teacher runs on every batch.
    Online(Transformer),
}

impl Signal {
    /// The last hidden states of the rows that count, `[n, hidden]`. Outside any graph.
    fn hidden(&self, batch: &DeviceBatch) -> Tensor<2> {
        match self {
            Self::Online(teacher) => teacher.forward_rows(batch.ids.clone(), batch.rows.clone()),
        }
    }

    /// The output head, `[vocab, hidden]`.
    fn head(&self) -> Tensor<2> {
        match self {
            Self::Online(teacher) => teacher.head(),
        }
    }

    /// What the loss takes of the teacher for a batch.
    pub fn project(&self, batch: &DeviceBatch) -> Projection {
        Projection { hidden: self.hidden(batch), head: self.head() }
    }
}
