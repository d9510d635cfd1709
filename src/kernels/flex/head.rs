//! Output heads in the form that the loss reads, packed when they are needed or once and for all.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::tensor::{dims, isa, numbers};
use crate::kernels::cpu::MatRef;
use crate::kernels::cpu::loss::Head;
use crate::kernels::precision::Precision;
use crate::kernels::products::{Packed, Products};

/// Packs the first `vocab` rows of a head, `[rows, hidden]`, for products in this precision.
///
/// # Panics
/// Where the head has fewer rows.
pub fn pack_head(head: Tensor<2>, vocab: usize, precision: Precision) -> Packed {
    let head = FlexTensor::from_data(head.without_autodiff().into_data());
    Packed::new(pack_rows(&head, vocab, precision))
}

fn pack_rows(head: &FlexTensor, vocab: usize, precision: Precision) -> Head {
    let [_, width] = dims(head);
    Head::new(isa(), precision, MatRef::new(&numbers(head)[..vocab * width], vocab, width))
}

/// A head that a loss can read.
pub(super) enum ReadyHead<'a> {
    /// Packed for this loss.
    Made(Head),
    /// Packed before.
    Kept(&'a Head),
}

impl<'a> ReadyHead<'a> {
    /// The first `vocab` rows of a head, from where such heads are kept or packed now.
    pub fn new(head: &FlexTensor, vocab: usize, how: &'a Products) -> Self {
        let pack = || pack_rows(head, vocab, how.precision);
        match how.packed.as_ref().map(|packed| packed.get_or_pack(pack)) {
            Some(kept) if kept.vocabulary() == vocab => Self::Kept(kept),
            // A frozen head was perhaps packed for a narrower student.
            _ => Self::Made(pack()),
        }
    }

    /// A head that was packed by [`pack_head`].
    pub fn kept(packed: &'a Packed) -> Self {
        Self::Kept(packed.get_or_pack(|| panic!("a head that was never packed")))
    }

    /// The packed head.
    pub fn head(&self) -> &Head {
        match self {
            Self::Made(head) => head,
            Self::Kept(head) => head,
        }
    }
}
