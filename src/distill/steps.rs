//! Which micro-batches make up which optimizer step.

use super::state::{Position, TrainingState};
use crate::data::{self, Batch, Batches};
use crate::spec::Stage;

/// Hands out the micro-batches of each optimizer step. A step never reaches over the end of an epoch:
/// the last one of an epoch may have fewer.
pub(super) struct Steps<'a> {
    /// Optimizer steps of the whole run.
    pub(super) total: u64,
    batches_per_epoch: u64,
    accumulation: usize,
    epoch: Box<dyn Fn(u64) -> Batches<'a> + 'a>,
    current: Option<(u64, Batches<'a>)>,
    /// The micro-batches after a position, where they were asked for ahead of time.
    ahead: Option<(Position, Vec<Batch>)>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(config: &Stage, split: &'a data::Dataset, pad_id: u32) -> Self {
        let (train, shuffle) = (config.train.clone(), config.data.shuffle);
        let epoch = move |epoch| data::epoch(split, train.batch_size, shuffle, train.seed, epoch, pad_id);
        let batches_per_epoch = epoch(0).len() as u64;
        let accumulation = config.train.accumulation.max(1);
        let steps_per_epoch = batches_per_epoch.div_ceil(accumulation as u64);
        let total = match config.train.steps {
            Some(steps) => steps as u64,
            None => steps_per_epoch.saturating_mul(config.train.epochs as u64),
        };
        Self { total, batches_per_epoch, accumulation, epoch: Box::new(epoch), current: None, ahead: None }
    }

    /// The micro-batches of the next step; moves the state's step, position and tokens on.
    pub(super) fn next(&mut self, state: &mut TrainingState) -> Vec<Batch> {
        let micro_batches = match self.ahead.take() {
            Some((position, batches)) if position == state.position => batches,
            _ => self.batches(state.position),
        };
        state.step += 1;
        state.position = self.start(state.position);
        state.position.batch += micro_batches.len() as u64;
        state.tokens += micro_batches.iter().map(|batch| batch.tokens).sum::<u64>();
        micro_batches
    }

    /// The micro-batches that the step after this state will take; none after the last one.
    pub(super) fn ahead(&mut self, state: &TrainingState) -> &[Batch] {
        if state.step < self.total {
            let batches = self.batches(state.position);
            self.ahead = Some((state.position, batches));
        }
        self.ahead.as_ref().map_or(&[], |(_, batches)| batches)
    }

    /// Where the step after a position begins: the end of an epoch is the beginning of the next.
    fn start(&self, position: Position) -> Position {
        if position.batch < self.batches_per_epoch {
            return position;
        }
        Position { epoch: position.epoch + 1, batch: 0 }
    }

    fn batches(&mut self, position: Position) -> Vec<Batch> {
        let Position { epoch, batch } = self.start(position);
        if self.current.as_ref().is_none_or(|(number, _)| *number != epoch) {
            let mut batches = (self.epoch)(epoch);
            if let Some(used) = batch.checked_sub(1) {
                batches.nth(used as usize);
            }
            self.current = Some((epoch, batches));
        }
        let batches = self.current.as_mut().map(|(_, batches)| batches);
        batches.into_iter().flatten().take(self.accumulation).collect()
    }

    /// Passes over the data so far.
    pub(super) fn epochs(&self, state: &TrainingState) -> f64 {
        state.position.epoch as f64 + state.position.batch as f64 / self.batches_per_epoch.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::data::{Dataset, Sequence};
    use crate::model::{ModelConfig, Transformer};
    use crate::spec::{RunConfig, SizeConfig};

    #[test]
    fn what_is_looked_at_ahead_of_time_is_what_comes_next() {
        let sequence = |id| Sequence { input_ids: vec![id; 3], labels: vec![1; 3] };
        let data = Dataset::from_sequences((0..7).map(sequence).collect());
        let mut config = Stage::new(&RunConfig::default(), None, None);
        (config.train.batch_size, config.train.accumulation, config.train.epochs) = (2, 3, 3);
        let size =
            SizeConfig { hidden_size: Some(8), layers: Some(1), heads: Some(1), ..SizeConfig::default() };
        let student = Transformer::random(&ModelConfig::from_size(&size, 16).unwrap(), 0, &Device::flex());
        let (mut state, mut plain) = (TrainingState::new(student.clone()), TrainingState::new(student));
        let (mut steps, mut plain_steps) = (Steps::new(&config, &data, 0), Steps::new(&config, &data, 0));
        // Four batches an epoch, in steps of three and one.
        assert_eq!(steps.total, 6);
        let sequences = |batches: &[Batch]| batches.iter().map(|b| b.sequences.clone()).collect::<Vec<_>>();
        while state.step < steps.total {
            let ahead = sequences(steps.ahead(&state));
            let next = steps.next(&mut state);
            assert_eq!(sequences(&next), sequences(&plain_steps.next(&mut plain)));
            assert_eq!(sequences(&next), ahead);
            assert_eq!(
                (state.step, state.position, state.tokens),
                (plain.step, plain.position, plain.tokens)
            );
            assert!(!next.is_empty());
        }
        assert!(steps.ahead(&state).is_empty());
    }
}
