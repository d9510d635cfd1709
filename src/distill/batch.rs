//! A batch on the device: token ids, the rows that count in the loss, and their targets.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::data::{Batch, IGNORED};

/// A batch as the models take it. Outside any graph.
#[derive(Debug, Clone)]
pub struct DeviceBatch {
    /// Token ids, `[batch, sequence]`.
    pub ids: Tensor<2, Int>,
    /// Places in the flattened batch whose next token counts, `[n]`, ascending.
    pub rows: Tensor<1, Int>,
    /// The tokens to be predicted there, `[n]`.
    pub targets: Tensor<1, Int>,
    /// How many rows count.
    pub count: usize,
    /// The sequences of the data set whose rows these are, in their order.
    pub sequences: Vec<u32>,
}

impl DeviceBatch {
    /// Moves a batch to the device. None where nothing in it counts.
    ///
    /// Labels stand beside their own token; the hidden state of a position predicts the next one, so
    /// a row counts where the label to its right does.
    pub fn new(batch: &Batch, device: &Device) -> Option<Self> {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (row, labels) in batch.labels.chunks(batch.seq.max(1)).enumerate() {
            for (column, &label) in labels.iter().enumerate().skip(1) {
                if label != IGNORED {
                    rows.push((row * batch.seq + column - 1) as i32);
                    targets.push(label);
                }
            }
        }
        let count = rows.len();
        if count == 0 {
            return None;
        }
        let vector = |values| Tensor::from_data(TensorData::new(values, [count]), device);
        let ids = TensorData::new(batch.input_ids.clone(), [batch.batch, batch.seq]);
        Some(Self {
            ids: Tensor::from_data(ids, device),
            rows: vector(rows),
            targets: vector(targets),
            count,
            sequences: batch.sequences.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_where_the_label_to_its_right_does() {
        let batch = Batch {
            input_ids: vec![5, 6, 7, 8, 9, 0],
            // The first label is nobody's target; the last column predicts nothing.
            labels: vec![5, -100, 7, 8, 9, -100],
            batch: 2,
            seq: 3,
            tokens: 5,
            sequences: vec![0, 1],
        };
        let found = DeviceBatch::new(&batch, &Device::flex()).unwrap();
        assert_eq!(found.rows.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(found.targets.into_data().iter::<i64>().collect::<Vec<_>>(), [7, 9]);
        assert_eq!(found.count, 2);
        let masked = Batch { labels: vec![1, -100, -100, 2, -100, -100], ..batch };
        assert!(DeviceBatch::new(&masked, &Device::flex()).is_none());
    }
}
