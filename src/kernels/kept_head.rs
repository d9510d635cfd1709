//! The output head of a teacher whose hidden states are kept, or made elsewhere.

use burn::tensor::{DType, Tensor};

use super::device::is_processor;
use super::flex::head::pack_head;
use super::loss_tensors::{Projection, Taught};
use super::precision::Precision;
use super::products::{Packed, Products};

/// The output head of a teacher of whom nothing else is in memory.
#[derive(Debug, Clone)]
pub enum KeptHead {
    /// On the processor.
    Packed(Packed),
    /// Elsewhere: the rows of the student's vocabulary, in the type that products take them in, if the
    /// device has it.
    Whole(Box<Tensor<2>>, Precision),
}

impl KeptHead {
    /// The first `vocab` rows of a head, `[v_t, h_t]`, `v_t ≥ vocab`.
    ///
    /// # Panics
    /// Where the head has fewer rows.
    pub fn new(weight: Tensor<2>, vocab: usize, precision: Precision) -> Self {
        if is_processor(&weight.device()) {
            return Self::Packed(pack_head(weight, vocab, precision));
        }
        let rounds = precision == Precision::Bf16 && weight.device().supports_dtype(DType::BF16);
        let rows = weight.narrow(0, 0, vocab);
        Self::Whole(Box::new(if rounds { rows.cast(DType::BF16) } else { rows }), precision)
    }

    /// What the teacher says where it has these hidden states, `[n, h_t]`.
    pub fn teach(&self, hidden: Tensor<2>) -> Taught {
        match self {
            Self::Packed(head) => Taught::Packed(hidden, head.clone()),
            Self::Whole(head, precision) => {
                let how = Products { precision: *precision, packed: None };
                Taught::Hidden(Projection { hidden, head: (**head).clone(), how })
            }
        }
    }
}
