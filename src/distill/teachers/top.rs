//! The largest logits of each row, and one that stands for all others.
//!
//! A row keeps the `k` largest of its logits with their tokens, and `rest`, the logarithm of the mean
//! exponential of all others. Read back, every other token has the logit `rest`. So the probabilities of the
//! kept tokens and that of all others together are exact at temperature 1; what is lost is how that tail is
//! spread over its tokens, and at other temperatures its mass.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::stored::Stored;
use crate::cache::Damage;
use crate::kernels::{Packed, Precision, Products, Taught, TopK, linear};
use crate::model::Transformer;

/// Logits of a chunk of rows: what is in memory of them at once.
const CHUNK_LOGITS: usize = 1 << 24;

/// How much of a teacher's logits is kept.
#[derive(Debug, Clone)]
pub(super) struct Shortlist {
    /// Logits of a row that are kept.
    pub(super) k: usize,
    /// The student's vocabulary, to which the teacher's is cut.
    pub(super) vocab: usize,
    products: Products,
}

/// What is kept of some rows.
#[derive(Debug, Default)]
pub(super) struct TopRows {
    /// `[rows, k]`, the largest first; of equal ones the smaller token first.
    pub(super) logits: Vec<f32>,
    /// `[rows, k]`
    pub(super) ids: Vec<i32>,
    /// `[rows]`
    pub(super) rest: Vec<f32>,
    /// Sums over the rows, at temperature 1: the mass of the tokens that are not kept, and
    /// KL(teacher ‖ what is kept of it).
    pub(super) sums: [f64; 2],
}

impl Shortlist {
    pub(super) fn new(k: usize, vocab: usize, precision: Precision) -> Self {
        Self { k, vocab, products: Products { precision, packed: Some(Packed::default()) } }
    }

    /// Runs the teacher on a batch.
    pub(super) fn run(&self, teacher: &Transformer, batch: &DeviceBatch) -> TopRows {
        let hidden = teacher.forward_rows(batch.ids.clone(), batch.rows.clone());
        let head = teacher.head().narrow(0, 0, self.vocab);
        let mut kept = TopRows::default();
        let chunk = (CHUNK_LOGITS / self.vocab.max(1)).max(1);
        for first in (0..batch.count).step_by(chunk) {
            let rows = hidden.clone().narrow(0, first, chunk.min(batch.count - first));
            let logits: Vec<f32> =
                linear(rows, [head.clone()], &self.products).into_data().iter::<f32>().collect();
            let cut: Vec<Cut> = logits.par_chunks(self.vocab).map(|row| Cut::of(row, self.k)).collect();
            for row in cut {
                kept.ids.extend(&row.ids);
                kept.logits.extend(&row.logits);
                kept.rest.push(row.rest);
                kept.sums[0] += row.tail_mass;
                kept.sums[1] += row.divergence;
            }
        }
        kept
    }
}

/// What is kept of one row.
struct Cut {
    ids: Vec<i32>,
    logits: Vec<f32>,
    rest: f32,
    tail_mass: f64,
    divergence: f64,
}

impl Cut {
    /// Cuts a row of logits down to its `k` largest, `1 ≤ k ≤` its length.
    fn of(row: &[f32], k: usize) -> Self {
        let mut ids: Vec<u32> = (0..row.len() as u32).collect();
        let logit = |id: u32| row[id as usize];
        let largest_first = |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then(a.cmp(b));
        if k < ids.len() {
            ids.select_nth_unstable_by(k, largest_first);
        }
        let (kept, others) = ids.split_at_mut(k);
        kept.sort_unstable_by(largest_first);
        // In the order of the tokens, so that the sums do not depend on how the selection went.
        others.sort_unstable();

        let exact = |id: &u32| f64::from(logit(*id));
        let (of_kept, of_others) =
            (log_sum_exp(kept.iter().map(exact)), log_sum_exp(others.iter().map(exact)));
        let total = log_sum_exp([of_kept, of_others].into_iter());
        // Where all are kept there is no other, and any number will do that is one.
        let rest = if others.is_empty() { 0.0 } else { of_others - (others.len() as f64).ln() };
        let divergence = others.iter().map(exact).map(|logit| (logit - total).exp() * (logit - rest)).sum();
        Self {
            ids: kept.iter().map(|id| id.cast_signed()).collect(),
            logits: kept.iter().map(|&id| logit(id)).collect(),
            rest: rest as f32,
            tail_mass: (of_others - total).exp(),
            divergence,
        }
    }
}

/// The logarithm of the sum of exponentials; minus infinity of none.
fn log_sum_exp(logits: impl Iterator<Item = f64> + Clone) -> f64 {
    let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    logits.map(|logit| (logit - highest).exp()).sum::<f64>().ln() + highest
}

/// The largest logits of a split, in a file. Nothing is in memory of the teacher.
#[derive(Debug)]
pub struct TopLogits {
    stored: Stored,
    shortlist: Shortlist,
}

impl TopLogits {
    pub(super) fn new(stored: Stored, shortlist: Shortlist) -> Self {
        Self { stored, shortlist }
    }

    /// See [`Signal::teach`](super::signal::Signal::teach).
    pub(super) fn teach(&self, batch: &DeviceBatch) -> Result<Taught, DistillError> {
        let rows = self.stored.read_or(|| self.read(batch), |teacher| self.shortlist.run(teacher, batch))?;
        Ok(self.tensors(rows, &self.stored.device).into())
    }

    fn read(&self, batch: &DeviceBatch) -> Result<TopRows, Damage> {
        let kept = batch.count * self.shortlist.k;
        let (mut logits, mut ids) = (vec![0_f32; kept], vec![0_i32; kept]);
        let mut rest = vec![0_f32; batch.count];
        let columns = [
            bytemuck::cast_slice_mut(&mut logits),
            bytemuck::cast_slice_mut(&mut ids),
            bytemuck::cast_slice_mut(&mut rest),
        ];
        self.stored.fill(&batch.sequences, batch.count, columns)?;
        Ok(TopRows { logits, ids, rest, sums: [0.0; 2] })
    }

    fn tensors(&self, rows: TopRows, device: &Device) -> TopK {
        let (count, k) = (rows.rest.len(), self.shortlist.k);
        TopK {
            ids: Tensor::<2, Int>::from_data(TensorData::new(rows.ids, [count, k]), device),
            logits: Tensor::from_data(TensorData::new(rows.logits, [count, k]), device),
            rest: Tensor::from_data(TensorData::new(rows.rest, [count]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distribution at temperature 1 of logits in double precision.
    fn softmax(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit.exp() / total).collect()
    }

    fn restored(cut: &Cut, vocab: usize) -> Vec<f64> {
        let mut logits = vec![f64::from(cut.rest); vocab];
        for (&id, &logit) in cut.ids.iter().zip(&cut.logits) {
            logits[id as usize] = logit.into();
        }
        logits
    }

    #[test]
    fn kept_probabilities_and_the_mass_of_the_others_are_exact() {
        let row: Vec<f32> = (0..50_i32).map(|i| ((i * 37 % 50) as f32 - 25.0) * 0.2).collect();
        let exact = softmax(&row.iter().map(|&logit| logit.into()).collect::<Vec<f64>>());
        for k in [1, 2, 7, 49, 50] {
            let cut = Cut::of(&row, k);
            let found = softmax(&restored(&cut, 50));
            assert!(cut.logits.is_sorted_by(|a, b| a >= b));
            for &id in &cut.ids {
                assert!((found[id as usize] - exact[id as usize]).abs() < 1e-7, "{k}");
            }
            let kept: f64 = cut.ids.iter().map(|&id| exact[id as usize]).sum();
            assert!((cut.tail_mass - (1.0 - kept)).abs() < 1e-12);
            let divergence: f64 = exact.iter().zip(&found).map(|(p, q)| p * (p / q).ln()).sum();
            assert!((cut.divergence - divergence).abs() < 1e-6, "{k}: {} {divergence}", cut.divergence);
            let smallest = cut.logits.last().unwrap();
            assert!(row.iter().filter(|logit| *logit > smallest).count() == k - 1, "{k}");
        }
    }

    #[test]
    fn equal_and_extreme_logits_are_cut_too() {
        let flat = Cut::of(&[1.5; 8], 3);
        assert_eq!((flat.ids.as_slice(), flat.rest), (&[0, 1, 2][..], 1.5));
        assert!(flat.divergence.abs() < 1e-12 && (flat.tail_mass - 0.625).abs() < 1e-12);
        let sharp = Cut::of(&[-1e4, 1e4, -1e4, -1e4], 1);
        assert_eq!((sharp.ids.as_slice(), sharp.tail_mass), (&[1][..], 0.0));
        assert!(sharp.rest == -1e4 && sharp.divergence == 0.0);
        assert!(softmax(&restored(&Cut::of(&[3.0, 2.0], 2), 2))[0] > 0.7);
    }
}
