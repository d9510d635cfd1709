//! The losses of the steps on their way into `metrics.jsonl`.

use std::time::Duration;

use burn::tensor::Tensor;

use super::error::DistillError;
use super::train::Observer;
use crate::kernels::Losses;
use crate::store::{MetricRow, MetricsMark, MetricsWriter, StepLosses, StoreError};

/// Losses of a step while its micro-batches come in; on the device, so that nothing waits.
pub(super) struct Sums {
    total: Tensor<1>,
    hard: Tensor<1>,
    soft: Option<Tensor<1>>,
}

impl Sums {
    pub(super) fn add(sums: Option<Self>, losses: Losses, share: f64) -> Self {
        let total = losses.total.without_autodiff() * share;
        let hard = losses.hard * share;
        let soft = losses.soft.map(|soft| soft * share);
        match sums {
            None => Self { total, hard, soft },
            Some(sums) => Self {
                total: sums.total + total,
                hard: sums.hard + hard,
                soft: sums.soft.zip(soft).map(|(a, b)| a + b),
            },
        }
    }

    pub(super) fn read(self) -> StepLosses {
        let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
        StepLosses { total: number(self.total), hard: number(self.hard), soft: self.soft.map(number) }
    }
}

/// Writes rows and tells the observer.
pub(super) struct Log<'a> {
    writer: MetricsWriter,
    pub(super) observer: &'a mut dyn Observer,
    every: u64,
    /// Time spent in steps.
    pub(super) training: Duration,
    tokens: u64,
    /// Losses since the last row.
    pub(super) since: Vec<StepLosses>,
}

impl<'a> Log<'a> {
    pub(super) fn new(writer: MetricsWriter, observer: &'a mut dyn Observer, every: u64) -> Self {
        Self { writer, observer, every: every.max(1), training: Duration::ZERO, tokens: 0, since: Vec::new() }
    }

    /// Takes in a step, and writes a row at every `every`-th and at the last: its losses are means
    /// over the steps since the row before.
    pub(super) fn step(
        &mut self,
        means: &StepLosses,
        last: bool,
        row: impl FnOnce(StepLosses) -> MetricRow,
    ) -> Result<(), DistillError> {
        self.since.push(*means);
        let row = row(mean(&self.since));
        self.tokens = row.tokens;
        if last || row.step.is_multiple_of(self.every) {
            self.since.clear();
            self.write(&row)?;
        }
        Ok(())
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
