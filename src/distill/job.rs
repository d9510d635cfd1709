//! A run to be trained, who follows it, and how it ends.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::store::{HeldRun, MetricRow, RunRecord, RunSummary};

/// One run to be trained.
#[derive(Debug)]
pub struct Job<'a> {
    /// What the run is.
    pub record: &'a RunRecord,
    /// Where it writes: the run is this process's until it is done.
    pub dir: &'a HeldRun,
    /// The model that it starts from, where it starts from one.
    pub start_dir: Option<PathBuf>,
    /// The models of its teachers, in the record's order.
    pub teacher_dirs: Vec<PathBuf>,
    /// Where tokens are cached.
    pub cache_dir: &'a Path,
    /// Where the tensors live.
    pub device: Device,
    /// The step at which it pauses, with a checkpoint; none to train it to its end.
    pub until: Option<u64>,
}

/// Who follows a run while it trains. Called on the thread that trains.
pub trait Observer: Send {
    /// Something is made before the first step that may take long, as the teacher's signal: `done` parts
    /// of `total`.
    fn preparing(&mut self, _what: &str, _done: u64, _total: u64) {}
    /// The run cannot go on until another process has made something. Called again and again.
    fn waiting(&mut self, _what: &str) {}
    /// Data and models are ready; the first step is about to be taken.
    fn started(&mut self, total_steps: u64, parameters: u64);
    /// The run goes on after this step, where an earlier attempt left a checkpoint.
    fn resumed(&mut self, _step: u64) {}
    /// The run begins again, as the checkpoint of an earlier attempt cannot be used.
    fn restarted(&mut self, _reason: &str) {}
    /// A checkpoint was written after this step.
    fn checkpoint(&mut self, _step: u64) {}
    /// A row was written. `tokens_per_second` is over the training so far, evaluation left out.
    fn metric(&mut self, row: &MetricRow, tokens_per_second: f64);
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Trained to its last step and measured; the model is written.
    Finished(RunSummary),
    /// The loss or the gradient was no longer finite; no model is written.
    Diverged(RunSummary),
    /// Trained to the step that was asked for, with a checkpoint.
    Paused,
    /// Stopped on request, with a checkpoint if it had begun to train.
    Interrupted,
}
