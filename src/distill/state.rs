//! All that changes while a run trains: what a checkpoint has to hold.

use super::optimizer::Optimizer;
use crate::model::Transformer;
use crate::spec::Random;
use crate::store::{Best, Evaluation};

/// All that changes while a run trains. Whatever else the training uses is a function of the run's
/// configuration and files; the order of the data depends on the seed and the epoch alone.
#[derive(Debug, Clone)]
pub struct TrainingState {
    /// The model that is trained, on an autodiff device.
    pub student: Transformer,
    /// The optimizer's moments.
    pub optimizer: Optimizer,
    /// Optimizer steps taken.
    pub step: u64,
    /// Where the data stand.
    pub position: Position,
    /// Tokens that went through the student, padding left out.
    pub tokens: u64,
    /// What a step draws from where it needs chance.
    pub(crate) random: Random,
    /// The newest evaluation.
    pub measured: LastMeasured,
    /// The best evaluation, where its model is kept.
    pub best: Option<Best>,
}

/// The newest evaluation of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LastMeasured {
    /// The step after which it was; 0 before the first one.
    pub step: u64,
    /// The student, and its teacher beside it; none where there is nothing to measure on.
    pub figures: Option<(Evaluation, Option<Evaluation>)>,
}

/// A place in the training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Micro-batches of that epoch already used.
    pub batch: u64,
}

impl TrainingState {
    /// The state before the first step of a run with this seed.
    pub fn new(student: Transformer, seed: u64) -> Self {
        Self {
            student,
            optimizer: Optimizer::default(),
            step: 0,
            position: Position::default(),
            tokens: 0,
            random: Random::new("kdx 2026 draws of training steps", &[seed]),
            measured: LastMeasured::default(),
            best: None,
        }
    }
}
