//! Batches of an epoch: the order of the sequences and their padding.

use super::dataset::Dataset;
use super::record::IGNORED;
use crate::spec::Random;

/// Sequences side by side, filled up to the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, row-major `[batch, seq]`, padded on the right.
    pub input_ids: Vec<i32>,
    /// Labels, row-major `[batch, seq]`; −100 on padding and wherever a token does not count.
    pub labels: Vec<i32>,
    /// Rows.
    pub batch: usize,
    /// Columns.
    pub seq: usize,
    /// Tokens, padding left out.
    pub tokens: u64,
    /// The sequence of the data set that each row is, `[batch]`.
    pub sequences: Vec<u32>,
}

impl Batch {
    /// These sequences of a data set, in this order, side by side.
    ///
    /// # Panics
    /// Where the data set has no such sequence.
    pub fn new(dataset: &Dataset, sequences: &[u32], pad_id: u32) -> Self {
        let rows = sequences.iter().map(|&index| &dataset.sequences[index as usize]);
        let batch = rows.len();
        let seq = rows.clone().map(|row| row.input_ids.len()).max().unwrap_or(0);
        let mut input_ids = Vec::with_capacity(batch * seq);
        let mut labels = Vec::with_capacity(batch * seq);
        let mut tokens = 0;
        for (index, row) in rows.enumerate() {
            tokens += row.input_ids.len() as u64;
            input_ids.extend(row.input_ids.iter().map(|id| id.cast_signed()));
            input_ids.resize((index + 1) * seq, pad_id.cast_signed());
            labels.extend_from_slice(&row.labels);
            labels.resize((index + 1) * seq, IGNORED);
        }
        Self { input_ids, labels, batch, seq, tokens, sequences: sequences.to_vec() }
    }
}

/// The batches of one epoch, in order. The last one may be smaller.
///
/// [`Iterator::nth`] skips without making the batches in between, so that a run can be resumed at
/// any position.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    order: Vec<u32>,
    batch_size: usize,
    pad_id: u32,
    next: usize,
}

/// The batches of epoch number `epoch`. The order is that of the files, or with `shuffle` a
/// permutation that depends on `seed`, `epoch` and the number of sequences alone.
pub fn epoch(
    dataset: &Dataset,
    batch_size: usize,
    shuffle: bool,
    seed: u64,
    epoch: u64,
    pad_id: u32,
) -> Batches<'_> {
    let mut order: Vec<u32> = (0..dataset.len() as u32).collect();
    if shuffle {
        Random::new("kdx 2025 order of the sequences of an epoch", &[seed, epoch]).shuffle(&mut order);
    }
    Batches { dataset, order, batch_size: batch_size.max(1), pad_id, next: 0 }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let rows = self.order.chunks(self.batch_size).nth(self.next)?;
        self.next += 1;
        Some(Batch::new(self.dataset, rows, self.pad_id))
    }

    fn nth(&mut self, n: usize) -> Option<Batch> {
        self.next = self.next.saturating_add(n);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.order.len().div_ceil(self.batch_size).saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}

#[cfg(test)]
mod tests {
    use super::super::dataset::Sequence;
    use super::*;

    fn dataset(lengths: &[usize]) -> Dataset {
        let sequence = |(index, &length): (usize, &usize)| Sequence {
            input_ids: vec![index as u32 + 1; length],
            labels: vec![index as i32 + 1; length],
        };
        Dataset::from_sequences(lengths.iter().enumerate().map(sequence).collect())
    }

    fn first_column(batches: Batches) -> Vec<i32> {
        batches.flat_map(|b| b.input_ids.chunks(b.seq).map(|row| row[0]).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn rows_are_padded_on_the_right_to_the_longest_of_their_batch() {
        let data = dataset(&[2, 3, 1]);
        let batches: Vec<Batch> = epoch(&data, 2, false, 0, 0, 9).collect();
        assert_eq!(batches.len(), 2);
        assert_eq!((batches[0].batch, batches[0].seq, batches[0].tokens), (2, 3, 5));
        assert_eq!(batches[0].input_ids, [1, 1, 9, 2, 2, 2]);
        assert_eq!(batches[0].labels, [1, 1, -100, 2, 2, 2]);
        assert_eq!((batches[1].batch, batches[1].seq, batches[1].tokens), (1, 1, 1));
    }

    #[test]
    fn without_shuffling_the_order_is_the_file_s() {
        let data = dataset(&[1; 7]);
        assert_eq!(first_column(epoch(&data, 3, false, 5, 2, 0)), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_shuffled_order_depends_on_seed_and_epoch_and_has_every_sequence_once() {
        let data = dataset(&[1; 50]);
        let order = |seed, number| first_column(epoch(&data, 8, true, seed, number, 0));
        assert_eq!(order(1, 0), order(1, 0));
        let sequences = epoch(&data, 8, true, 1, 0, 0).flat_map(|batch| batch.sequences);
        assert_eq!(sequences.map(|index| index as i32 + 1).collect::<Vec<_>>(), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=50).collect::<Vec<_>>());
        // The order of a stored run must not change with a new version. These numbers come from
        // another implementation of BLAKE3, ChaCha8 and the draws.
        assert_eq!(order(0, 0)[..8], [47, 1, 29, 9, 18, 12, 42, 46]);
    }

    #[test]
    fn an_epoch_can_be_entered_at_any_batch() {
        let data = dataset(&[2; 23]);
        let all: Vec<Batch> = epoch(&data, 4, true, 3, 1, 0).collect();
        for start in 0..=all.len() {
            let mut rest = epoch(&data, 4, true, 3, 1, 0);
            if start > 0 {
                rest.nth(start - 1);
            }
            assert_eq!(rest.len(), all.len() - start);
            assert_eq!(rest.collect::<Vec<_>>(), all[start..]);
        }
        assert!(epoch(&data, 4, true, 3, 1, 0).nth(usize::MAX).is_none());
    }

    #[test]
    fn an_empty_data_set_has_no_batches() {
        assert_eq!(epoch(&dataset(&[]), 4, true, 0, 0, 0).len(), 0);
    }
}
