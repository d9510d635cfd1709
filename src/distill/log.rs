//! The losses of the steps on their way into `metrics.jsonl`.

use std::time::Duration;

use super::error::DistillError;
use super::job::Observer;
use super::taken::Taken;
use crate::kernels::Norm;
use crate::store::{MetricRow, MetricsMark, MetricsWriter, StepLosses, StoreError};

/// Writes rows and tells the observer.
pub(super) struct Log<'a> {
    writer: MetricsWriter<'a>,
    pub(super) observer: &'a mut dyn Observer,
    every: u64,
    /// Time spent in steps.
    pub(super) training: Duration,
    tokens: u64,
    /// Losses since the last row.
    pub(super) since: Vec<StepLosses>,
    /// Steps after those, which are not read yet.
    pending: Vec<Taken>,
    /// Norm of the newest gradient that was read.
    norm: f64,
    /// The first step whose loss or gradient was no longer finite.
    pub(super) diverged: Option<u64>,
}

impl<'a> Log<'a> {
    pub(super) fn new(writer: MetricsWriter<'a>, observer: &'a mut dyn Observer, every: u64) -> Self {
        Self {
            writer,
            observer,
            every: every.max(1),
            training: Duration::ZERO,
            tokens: 0,
            since: Vec::new(),
            pending: Vec::new(),
            norm: 0.0,
            diverged: None,
        }
    }

    /// Takes in a step. What the processor computed is read at once; what another device does, where a row
    /// or a checkpoint needs it, so that no step waits for the one before.
    pub(super) fn take(&mut self, taken: Taken) {
        self.tokens = taken.tokens;
        if self.pending.is_empty() && matches!(taken.norm, Norm::Known(_)) {
            self.read(taken);
        } else {
            self.pending.push(taken);
        }
    }

    /// Reads all steps that were taken in.
    pub(super) fn settle(&mut self) {
        for taken in std::mem::take(&mut self.pending) {
            self.read(taken);
        }
    }

    fn read(&mut self, taken: Taken) {
        let step = taken.step;
        let (means, norm) = taken.read();
        if self.diverged.is_none() && !(means.total.is_finite() && norm.is_finite()) {
            tracing::warn!("step {step}: loss {}, gradient norm {norm}", means.total);
            self.diverged = Some(step);
        }
        self.since.push(means);
        self.norm = norm;
    }

    /// Whether a step is followed by a row: every `every`-th is, and the last.
    pub(super) fn is_due(&self, step: u64, last: bool) -> bool {
        last || step.is_multiple_of(self.every)
    }

    /// Writes the row of a step that was settled: its losses are means over the steps since the row before,
    /// its gradient is the step's own.
    pub(super) fn row(&mut self, row: impl FnOnce(StepLosses, f64) -> MetricRow) -> Result<(), DistillError> {
        let row = row(mean(&self.since), self.norm);
        self.since.clear();
        self.write(&row)
    }

    /// Goes on where an earlier attempt stood.
    pub(super) fn resume(&mut self, training: Duration, tokens: u64, since: Vec<StepLosses>) {
        (self.training, self.tokens, self.since) = (training, tokens, since);
    }

    /// The rows so far, safe on the disk.
    pub(super) fn mark(&self) -> Result<MetricsMark, StoreError> {
        self.writer.mark()
    }

    pub(super) fn write(&mut self, row: &MetricRow) -> Result<(), DistillError> {
        self.writer.append(row)?;
        self.observer.metric(row, rate(self.tokens, self.training));
        Ok(())
    }
}

fn mean(means: &[StepLosses]) -> StepLosses {
    let over = |part: &dyn Fn(&StepLosses) -> f64| means.iter().map(part).sum::<f64>() / means.len() as f64;
    StepLosses {
        total: over(&|m| m.total),
        hard: over(&|m| m.hard),
        soft: means.iter().all(|m| m.soft.is_some()).then(|| over(&|m| m.soft.unwrap_or_default())),
    }
}

pub(super) fn rate(tokens: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}
