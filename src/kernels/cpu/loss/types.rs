//! What the loss takes, and what it gives.

use crate::kernels::cpu::isa::Isa;
use crate::kernels::cpu::matrix::{Element, MatRef};
use crate::kernels::cpu::pack::PackedMatrix;
use crate::kernels::loss_spec::Distillation;
use crate::kernels::precision::Precision;
use rayon::prelude::*;

/// A target that does not count.
pub const IGNORED: i32 = -100;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossConfig {
    /// The losses and how they are mixed.
    pub mix: Distillation,
    /// Whether to count where student and teacher agree (a teacher is needed).
    pub agreement: bool,
}

/// An output layer's weight, packed for the logits.
pub struct Head {
    pub(super) logits: PackedMatrix,
}

impl Head {
    /// Packs `weight`, vocabulary × hidden size (of a teacher with more words, the first that count).
    pub fn new<T: Element>(isa: Isa, precision: Precision, weight: MatRef<T>) -> Self {
        Head { logits: PackedMatrix::new(isa, precision, weight.t()) }
    }

    /// Words of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.logits.columns()
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.logits.bytes()
    }
}

/// Hidden states, rows × hidden size, and the output layer for them.
#[derive(Clone, Copy)]
pub struct Side<'a, T> {
    /// The last hidden states, after the final norm.
    pub hidden: MatRef<'a, T>,
    /// The packed output layer.
    pub head: &'a Head,
}

/// What the teacher says of the rows.
#[derive(Clone, Copy)]
pub enum Teacher<'a, T> {
    /// Hidden states, and the output layer that makes logits of them.
    Hidden(Side<'a, T>),
    /// The largest logits of each row.
    TopK(TopK<'a>),
}

/// The largest logits of each row, and one that stands for each of the others.
#[derive(Debug, Clone, Copy)]
pub struct TopK<'a> {
    /// Logits kept of a row.
    pub k: usize,
    /// Their places, rows × k, each below the vocabulary.
    pub ids: &'a [i32],
    /// Their values, rows × k.
    pub logits: &'a [f32],
    /// The logit of every other place, one a row.
    pub rest: &'a [f32],
}

impl TopK<'_> {
    /// Writes the logits of the rows from `first` on.
    pub(super) fn fill(&self, first: usize, v: usize, logits: &mut [f32]) {
        logits.par_chunks_mut(v).enumerate().for_each(|(i, row)| {
            let row_of = first + i;
            row.fill(self.rest[row_of]);
            let kept = row_of * self.k..(row_of + 1) * self.k;
            for (&id, &logit) in self.ids[kept.clone()].iter().zip(&self.logits[kept]) {
                row[id as usize] = logit;
            }
        });
    }
}

/// Where gradients go, and what they take besides.
pub struct Gradients<'a> {
    /// What they are multiplied by: the gradient of the whole with respect to this loss.
    pub scale: f32,
    /// The student's output layer, of which its head was packed: vocabulary × hidden size.
    pub weight: MatRef<'a>,
    /// Rows × hidden size; overwritten.
    pub hidden: &'a mut [f32],
    /// Vocabulary × hidden size; overwritten.
    pub head: &'a mut [f32],
}

/// The losses and what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// Mean cross-entropy with the labels. 0 when no row counts, as the others.
    pub hard: f64,
    /// The soft loss, T² included.
    pub soft: f64,
    /// w · hard + (1 − w) · soft.
    pub total: f64,
    /// Rows that count.
    pub rows: u64,
    /// Rows whose label is the student's first choice.
    pub correct: u64,
    /// What is counted of the teacher, if asked for.
    pub agreement: Agreement,
}

/// How student and teacher compare.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Rows where both have the same first choice.
    pub agreed: u64,
    /// Sum of the teacher's cross-entropies with the labels.
    pub hard: f64,
    /// Rows whose label is the teacher's first choice.
    pub correct: u64,
}
