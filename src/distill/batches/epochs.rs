//! One epoch over the training data after the other.

use super::super::state::{Position, TrainingState};
use super::{Batches, MicroBatches};
use crate::data::{self, Batch, Dataset};
use crate::spec::TrainConfig;

/// Goes over the training data, in another order each epoch where they are shuffled. A step never reaches
/// over the end of an epoch: the last one of an epoch may have fewer micro-batches.
pub(in super::super) struct Epochs<'a> {
    total_steps: u64,
    batches_per_epoch: u64,
    accumulation: usize,
    epoch: Box<dyn Fn(u64) -> data::Batches<'a> + 'a>,
    /// What is left of an epoch, and the position at which that begins.
    rest: Option<(Position, data::Batches<'a>)>,
    /// The micro-batches after a position, where they were asked for ahead of time.
    ahead: Option<(Position, MicroBatches)>,
}

impl<'a> Epochs<'a> {
    /// Over `data`, of which short rows are filled with `pad_id`.
    pub(in super::super) fn new(config: &TrainConfig, shuffle: bool, data: &'a Dataset, pad_id: u32) -> Self {
        let (batch_size, seed) = (config.batch_size, config.seed);
        let epoch = move |epoch| data::epoch(data, batch_size, shuffle, seed, epoch, pad_id);
        let batches_per_epoch = epoch(0).len() as u64;
        let accumulation = config.accumulation.max(1);
        let steps_per_epoch = batches_per_epoch.div_ceil(accumulation as u64);
        let total_steps = match config.steps {
            Some(steps) => steps as u64,
            None => steps_per_epoch.saturating_mul(config.epochs as u64),
        };
        Self { total_steps, batches_per_epoch, accumulation, epoch: Box::new(epoch), rest: None, ahead: None }
    }

    /// The micro-batches of the step after a position.
    fn read(&mut self, position: Position) -> MicroBatches {
        // The end of an epoch is the beginning of the next.
        let start = if position.batch < self.batches_per_epoch {
            position
        } else {
            Position { epoch: position.epoch + 1, batch: 0 }
        };
        let mut rest = match self.rest.take() {
            Some((begin, rest)) if begin == start => rest,
            _ => self.open(start),
        };
        let batches: Vec<Batch> = rest.by_ref().take(self.accumulation).collect();
        let after = Position { batch: start.batch + batches.len() as u64, ..start };
        self.rest = Some((after, rest));
        MicroBatches { batches, after }
    }

    /// What is left of an epoch from a position on.
    fn open(&self, start: Position) -> data::Batches<'a> {
        let mut rest = (self.epoch)(start.epoch);
        if let Some(used) = start.batch.checked_sub(1) {
            rest.nth(used as usize);
        }
        rest
    }
}

impl Batches for Epochs<'_> {
    fn total_steps(&self) -> u64 {
        self.total_steps
    }

    fn next(&mut self, state: &TrainingState) -> MicroBatches {
        match self.ahead.take() {
            Some((position, next)) if position == state.position => next,
            _ => self.read(state.position),
        }
    }

    fn peek(&mut self, state: &TrainingState, next: &MicroBatches) -> &[Batch] {
        if state.step + 1 < self.total_steps {
            self.ahead = Some((next.after, self.read(next.after)));
        }
        self.ahead.as_ref().map_or(&[], |(_, ahead)| &ahead.batches)
    }

    fn count_epochs(&self, position: Position) -> f64 {
        position.epoch as f64 + position.batch as f64 / self.batches_per_epoch.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::data::Sequence;
    use crate::model::{ModelConfig, Transformer};
    use crate::spec::SizeConfig;

    fn data() -> Dataset {
        let sequence = |id| Sequence { input_ids: vec![id; 3], labels: vec![1; 3] };
        Dataset::from_sequences((0..7).map(sequence).collect())
    }

    /// Four batches an epoch, in steps of three and one.
    fn epochs(data: &Dataset) -> Epochs<'_> {
        let config = TrainConfig { batch_size: 2, accumulation: 3, epochs: 3, ..TrainConfig::default() };
        Epochs::new(&config, true, data, 0)
    }

    fn state() -> TrainingState {
        let size =
            SizeConfig { hidden_size: Some(8), layers: Some(1), heads: Some(1), ..SizeConfig::default() };
        let config = ModelConfig::from_size(&size, 16).unwrap();
        TrainingState::new(Transformer::random(&config, 0, &Device::flex()), 0)
    }

    fn sequences(batches: &[Batch]) -> Vec<Vec<u32>> {
        batches.iter().map(|batch| batch.sequences.clone()).collect()
    }

    #[test]
    fn what_is_peeked_at_is_what_comes_next() {
        let data = data();
        let (mut peeking, mut plain) = (epochs(&data), epochs(&data));
        assert_eq!(peeking.total_steps(), 6);
        let mut state = state();
        let mut peeked: Option<Vec<Vec<u32>>> = None;
        while state.step < peeking.total_steps() {
            let next = peeking.next(&state);
            let expected = plain.next(&state);
            assert!(!next.batches.is_empty());
            assert_eq!(sequences(&next.batches), sequences(&expected.batches));
            assert_eq!((next.after, next.tokens()), (expected.after, expected.tokens()));
            assert!(peeked.is_none_or(|peeked| peeked == sequences(&next.batches)));
            peeked = Some(sequences(peeking.peek(&state, &next)));
            (state.step, state.position) = (state.step + 1, next.after);
        }
        assert_eq!(peeked, Some(Vec::new()));
        assert_eq!(plain.count_epochs(state.position), 3.0);
    }

    #[test]
    fn a_step_that_was_given_up_is_given_the_same_batches_again() {
        let data = data();
        let (mut again, mut plain) = (epochs(&data), epochs(&data));
        let mut state = state();
        for _ in 0..5 {
            let given_up = again.next(&state);
            again.peek(&state, &given_up);
            let next = again.next(&state);
            assert_eq!(sequences(&next.batches), sequences(&plain.next(&state).batches));
            assert_eq!(next.after, given_up.after);
            (state.step, state.position) = (state.step + 1, next.after);
        }
    }
}
