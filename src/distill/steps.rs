//! Which micro-batches make up which optimizer step.

use super::state::TrainingState;
use crate::data::{self, Batch, Batches};
use crate::experiment::config::RunConfig;

/// Hands out the micro-batches of each optimizer step. A step never reaches over the end of an epoch:
/// the last one of an epoch may have fewer.
pub(super) struct Steps<'a> {
    /// Optimizer steps of the whole run.
    pub(super) total: u64,
    batches_per_epoch: u64,
    accumulation: usize,
    epoch: Box<dyn Fn(u64) -> Batches<'a> + 'a>,
    current: Option<(u64, Batches<'a>)>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(config: &RunConfig, split: &'a data::Dataset, pad_id: u32) -> Self {
        let (train, shuffle) = (config.train.clone(), config.data.shuffle);
        let epoch = move |epoch| data::epoch(split, train.batch_size, shuffle, train.seed, epoch, pad_id);
        let batches_per_epoch = epoch(0).len() as u64;
        let accumulation = config.train.accumulation.max(1);
        let steps_per_epoch = batches_per_epoch.div_ceil(accumulation as u64);
        let total = match config.train.steps {
            Some(steps) => steps as u64,
            None => steps_per_epoch.saturating_mul(config.train.epochs as u64),
        };
        Self { total, batches_per_epoch, accumulation, epoch: Box::new(epoch), current: None }
    }

    /// The micro-batches of the next step; moves the state's step, position and tokens on.
    pub(super) fn next(&mut self, state: &mut TrainingState) -> Vec<Batch> {
        if state.position.batch >= self.batches_per_epoch {
            state.position.epoch += 1;
            state.position.batch = 0;
        }
        let epoch = state.position.epoch;
        if self.current.as_ref().is_none_or(|(number, _)| *number != epoch) {
            let mut batches = (self.epoch)(epoch);
            if let Some(used) = state.position.batch.checked_sub(1) {
                batches.nth(used as usize);
            }
            self.current = Some((epoch, batches));
        }
        let batches = self.current.as_mut().map(|(_, batches)| batches);
        let micro_batches: Vec<Batch> = batches.into_iter().flatten().take(self.accumulation).collect();
        state.step += 1;
        state.position.batch += micro_batches.len() as u64;
        state.tokens += micro_batches.iter().map(|batch| batch.tokens).sum::<u64>();
        micro_batches
    }

    /// Passes over the data so far.
    pub(super) fn epochs(&self, state: &TrainingState) -> f64 {
        state.position.epoch as f64 + state.position.batch as f64 / self.batches_per_epoch.max(1) as f64
    }
}
