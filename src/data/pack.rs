//! Putting several short records into one sequence.

use super::dataset::{Origin, Sequence};
use super::record::IGNORED;

/// Joins records, in order, as long as they fit into `max_length` tokens; records are not split.
///
/// Attention is not kept apart: a record sees those before it in its sequence, as in
/// pre-training. The first token of a record is no target, since nothing before it says that it
/// comes.
pub(super) fn pack(
    records: Vec<Sequence>,
    origins: Vec<Origin>,
    max_length: usize,
) -> (Vec<Sequence>, Vec<Origin>) {
    let mut packed: Vec<Sequence> = Vec::new();
    let mut first_lines = Vec::new();
    for (mut record, origin) in records.into_iter().zip(origins) {
        if let Some(label) = record.labels.first_mut() {
            *label = IGNORED;
        }
        match packed.last_mut() {
            Some(last) if last.input_ids.len() + record.input_ids.len() <= max_length => {
                last.input_ids.append(&mut record.input_ids);
                last.labels.append(&mut record.labels);
            }
            _ => {
                packed.push(record);
                first_lines.push(origin);
            }
        }
    }
    (packed, first_lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u32, length: u32) -> Sequence {
        let input_ids: Vec<u32> = (first..first + length).collect();
        Sequence { labels: input_ids.iter().map(|id| id.cast_signed()).collect(), input_ids }
    }

    #[test]
    fn records_are_joined_in_order_and_never_split() {
        let records = vec![record(10, 3), record(20, 2), record(30, 2), record(40, 5), record(50, 1)];
        let origins: Vec<Origin> = (1..=5).map(|line| Origin { file: 0, line }).collect();
        let (packed, origins) = pack(records, origins, 6);
        let ids: Vec<&[u32]> = packed.iter().map(|s| s.input_ids.as_slice()).collect();
        assert_eq!(ids, [&[10, 11, 12, 20, 21][..], &[30, 31], &[40, 41, 42, 43, 44, 50]]);
        assert_eq!(packed[0].labels, [-100, 11, 12, -100, 21]);
        assert_eq!(packed[2].labels, [-100, 41, 42, 43, 44, -100]);
        assert_eq!(origins.iter().map(|o| o.line).collect::<Vec<_>>(), [1, 3, 4]);
        // Every target is predicted from a token of its own record.
        assert_eq!(packed.iter().map(Sequence::targets).sum::<usize>(), 2 + 1 + 1 + 4);
    }
}
