//! What a run came to.

use std::time::{Duration, Instant};

use super::job::Outcome;
use super::log::rate;
use super::memory;
use super::state::TrainingState;
use crate::store::{Evaluation, FORMAT_VERSION, RunSummary};

/// What the summary says that does not change while a run trains.
#[derive(Debug)]
pub(super) struct Facts {
    /// When this attempt began.
    pub(super) started: Instant,
    /// What the attempts took whose work this one goes on with.
    pub(super) earlier: Duration,
    /// Of the student.
    pub(super) parameters: u64,
    /// Of the teachers.
    pub(super) teacher_parameters: Option<u64>,
    /// Records of the data that could not be used.
    pub(super) skipped: u64,
}

impl Facts {
    /// Of a run that stands at `state` after `epochs` passes over the data and so much time in steps, and was
    /// `measured` there: the student, and its teacher beside it.
    pub(super) fn summarize(
        &self,
        state: &TrainingState,
        epochs: f64,
        training: Duration,
        measured: Option<(Evaluation, Option<Evaluation>)>,
    ) -> RunSummary {
        let (validation, teacher_validation) = measured.unzip();
        RunSummary {
            format_version: FORMAT_VERSION,
            steps: state.step,
            epochs,
            tokens: state.tokens,
            tokens_per_second: rate(state.tokens, training),
            wall_seconds: (self.earlier + self.started.elapsed()).as_secs_f64(),
            parameters: self.parameters,
            teacher_parameters: self.teacher_parameters,
            validation,
            teacher_validation: teacher_validation.flatten(),
            best: state.best,
            skipped_records: self.skipped,
            diverged_at: None,
            peak_memory: memory::peak(),
        }
    }

    /// Of a run whose loss or gradient was no longer finite at `step`.
    pub(super) fn diverge(
        &self,
        step: u64,
        state: &TrainingState,
        epochs: f64,
        training: Duration,
    ) -> Outcome {
        let summary = self.summarize(state, epochs, training, None);
        Outcome::Diverged(RunSummary { diverged_at: Some(step), ..summary })
    }
}
