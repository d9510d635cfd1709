//! Where the micro-batches of each optimizer step come from.
//!
//! ```text
//! epochs  one epoch over the training data after the other
//! ```

pub(super) mod epochs;

use super::state::{Position, TrainingState};
use crate::data::Batch;

/// What the student sees in one optimizer step.
#[derive(Debug, Clone)]
pub struct MicroBatches {
    /// Their gradients are averaged; never empty.
    pub batches: Vec<Batch>,
    /// Where the data stand once the step is done.
    pub after: Position,
}

impl MicroBatches {
    /// Tokens that go through the student, padding left out.
    pub fn tokens(&self) -> u64 {
        self.batches.iter().map(|batch| batch.tokens).sum()
    }
}

/// Hands out the micro-batches of each optimizer step.
pub trait Batches {
    /// Optimizer steps of the whole run.
    fn total_steps(&self) -> u64;

    /// The micro-batches of the step after this state. They follow from the state alone: asked again, as
    /// after a checkpoint, it gives the same ones.
    fn next(&mut self, state: &TrainingState) -> MicroBatches;

    /// The micro-batches of the step after `next`, so that what belongs to them can be read ahead of time;
    /// none where `next` is the last.
    fn peek(&mut self, state: &TrainingState, next: &MicroBatches) -> &[Batch];

    /// Passes over the data up to a position.
    fn count_epochs(&self, position: Position) -> f64;
}
