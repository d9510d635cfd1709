//! The tables of a report: one row a run, one row a measurement.

use polars::prelude::*;
use polars_io::prelude::{CsvWriter, ParquetWriter, SerWriter};
use serde_json::Value;

use super::ReportError;
use super::collect::{Collected, CollectedRun};
use super::flatten::{column, union_of_keys};
use super::grid::BASELINE;
use crate::spec::Purpose;
use crate::store::{Evaluation, MetricRow, RunId, RunSummary, Split};

/// Held-out cross-entropy on the labels, nats a token: what the pages rank by.
pub const HARD_LOSS: &str = "validation/hard_loss";
/// Held-out divergence from the teacher, nats a token, temperature² included.
pub const SOFT_LOSS: &str = "validation/soft_loss";
/// Fraction of held-out positions where student and teacher have the same most likely token.
pub const AGREEMENT: &str = "validation/agreement";
/// `exp` of the hard loss.
pub const PERPLEXITY: &str = "validation/perplexity";
/// Fraction of held-out positions where the most likely token is the label.
pub const ACCURACY: &str = "validation/accuracy";

/// One row a run, in the plan's order:
///
/// * `run_id`, `experiment`, `status`, `attempt`, `seed`,
/// * each configuration key under its dotted name (`loss.temperature`), lists as JSON,
/// * what the run came to: `validation/hard_loss`, `validation/soft_loss`, `validation/agreement`,
///   `validation/perplexity`, `parameters`, `tokens`, `tokens_per_second`, `wall_seconds`,
/// * further figures, the run's device and times, and why it failed.
///
/// Figures of runs that did not end are null, and so are the held-out ones of runs that were stopped early. Losses are in nats a token, memory in bytes.
pub fn runs(collected: &Collected) -> Result<DataFrame, ReportError> {
    let runs = &collected.runs;
    let experiment = collected.experiment.name.as_str();
    let mut columns = vec![
        text("run_id", runs, |run| Some(run.run_id.0.clone())),
        text("experiment", runs, |_| Some(experiment.to_owned())),
        text("status", runs, |run| Some(run.standing.as_str().to_owned())),
        of("attempt", runs, |run| run.status.as_ref().map(|status| status.attempt)),
        of("seed", runs, CollectedRun::seed),
    ];
    columns.extend(configuration(runs));
    columns.extend([
        validation(HARD_LOSS, runs, |v| Some(v.hard_loss)),
        validation(SOFT_LOSS, runs, |v| v.soft_loss),
        validation(AGREEMENT, runs, |v| v.agreement),
        validation(PERPLEXITY, runs, |v| Some(v.perplexity)),
        summary("parameters", runs, |s| Some(s.parameters)),
        summary("tokens", runs, |s| Some(s.tokens)),
        summary("tokens_per_second", runs, |s| Some(s.tokens_per_second)),
        summary("wall_seconds", runs, |s| Some(s.wall_seconds)),
        validation(ACCURACY, runs, |v| Some(v.accuracy)),
        validation("validation/tokens", runs, |v| Some(v.tokens)),
        teacher("teacher/hard_loss", runs, |v| v.hard_loss),
        teacher("teacher/perplexity", runs, |v| v.perplexity),
        teacher("teacher/accuracy", runs, |v| v.accuracy),
        summary("teacher_parameters", runs, |s| s.teacher_parameters),
        text("teacher_run", runs, |run| run.needed_run(Purpose::Teacher).map(|id| id.0.clone())),
        text("start_run", runs, |run| run.needed_run(Purpose::Start).map(|id| id.0.clone())),
        Column::new(BASELINE.into(), collected.baselines()),
        summary("steps", runs, |s| Some(s.steps)),
        summary("epochs", runs, |s| Some(s.epochs)),
        summary("diverged_at", runs, |s| s.diverged_at),
        summary("skipped_records", runs, |s| Some(s.skipped_records)),
        summary("peak_memory", runs, |s| (s.peak_memory > 0).then_some(s.peak_memory)),
        text("device", runs, |run| run.status.as_ref().map(|status| status.device.clone())),
        of("threads", runs, |run| run.status.as_ref().map(|status| status.threads as u64)),
        text("started", runs, |run| run.status.as_ref().map(|status| status.started.clone())),
        text("updated", runs, |run| run.status.as_ref().map(|status| status.updated.clone())),
        text("reason", runs, |run| run.reason().map(str::to_owned)),
        text("point", runs, |run| Some(run.point_json())),
    ]);
    Ok(DataFrame::new(runs.len(), columns)?)
}

/// Whether a column of the runs table is part of the configuration: those have dotted names.
pub fn is_configuration_column(name: &str) -> bool {
    name.contains('.') && !name.contains('/')
}

/// Configuration keys that hold paths: they say where a file lies on one machine.
pub const PATH_KEYS: [&str; 6] =
    ["data.train", "data.validation", "data.tokenizer", "data.chat_template", "student.path", "teacher.path"];

fn configuration(runs: &[CollectedRun]) -> Vec<Column> {
    // Keys of whole configurations first: they bring the order in which keys are declared.
    let (whole, planned): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.record.is_some());
    let rows = whole.iter().chain(&planned).map(|run| run.config.as_slice());
    let keys = union_of_keys(rows);
    let found: Vec<std::collections::HashMap<&str, &Value>> =
        runs.iter().map(|run| run.config.iter().map(|(k, v)| (k.as_str(), v)).collect()).collect();
    keys.iter()
        .filter(|key| is_configuration_column(key))
        .map(|key| column(key, &found.iter().map(|row| row.get(key.as_str()).copied()).collect::<Vec<_>>()))
        .collect()
}

fn of<T, F>(name: &str, runs: &[CollectedRun], value: F) -> Column
where
    F: Fn(&CollectedRun) -> Option<T>,
    Series: NamedFrom<Vec<Option<T>>, [Option<T>]>,
{
    Column::new(name.into(), runs.iter().map(value).collect::<Vec<_>>())
}

fn text(name: &str, runs: &[CollectedRun], value: impl Fn(&CollectedRun) -> Option<String>) -> Column {
    Column::new(name.into(), runs.iter().map(value).collect::<Vec<_>>())
}

fn summary<T>(name: &str, runs: &[CollectedRun], value: impl Fn(&RunSummary) -> Option<T>) -> Column
where
    Series: NamedFrom<Vec<Option<T>>, [Option<T>]>,
{
    of(name, runs, |run| run.summary.as_ref().and_then(&value))
}

fn validation<T>(name: &str, runs: &[CollectedRun], value: impl Fn(&Evaluation) -> Option<T>) -> Column
where
    Series: NamedFrom<Vec<Option<T>>, [Option<T>]>,
{
    // What a diverged student measures is no result, nor what one came to that was stopped early.
    let finished = |run: &CollectedRun| {
        run.is_finished()
            .then_some(run.summary.as_ref())
            .flatten()
            .and_then(|s| s.validation.as_ref())
            .and_then(&value)
    };
    of(name, runs, finished)
}

fn teacher(name: &str, runs: &[CollectedRun], value: impl Fn(&Evaluation) -> f64) -> Column {
    of(name, runs, |run| run.summary.as_ref()?.teacher_validation.as_ref().map(&value))
}

/// One row a measurement, in the order of the runs and of their steps: `run_id, step, epoch, split,
/// learning_rate, loss, hard_loss, soft_loss, grad_norm, tokens, agreement`. A run whose
/// measurements cannot be read becomes damaged, so this comes before [`runs`].
pub fn metrics(collected: &mut Collected) -> Result<DataFrame, ReportError> {
    let mut table = Metrics::default();
    collected.read_metrics(|run_id, rows| table.push(run_id, rows));
    table.finish()
}

#[derive(Default)]
struct Metrics {
    run_id: Vec<String>,
    step: Vec<u64>,
    epoch: Vec<f64>,
    split: Vec<&'static str>,
    learning_rate: Vec<Option<f64>>,
    loss: Vec<f64>,
    hard_loss: Vec<f64>,
    soft_loss: Vec<Option<f64>>,
    grad_norm: Vec<Option<f64>>,
    tokens: Vec<u64>,
    agreement: Vec<Option<f64>>,
}

impl Metrics {
    fn push(&mut self, run_id: &RunId, rows: &[MetricRow]) {
        for row in rows {
            self.run_id.push(run_id.0.clone());
            self.step.push(row.step);
            self.epoch.push(row.epoch);
            self.split.push(match row.split {
                Split::Train => TRAIN,
                Split::Validation => VALIDATION,
            });
            self.learning_rate.push(row.learning_rate);
            self.loss.push(row.loss);
            self.hard_loss.push(row.hard_loss);
            self.soft_loss.push(row.soft_loss);
            self.grad_norm.push(row.grad_norm);
            self.tokens.push(row.tokens);
            self.agreement.push(row.agreement);
        }
    }

    fn finish(self) -> Result<DataFrame, ReportError> {
        let height = self.step.len();
        let columns = vec![
            Column::new("run_id".into(), self.run_id),
            Column::new("step".into(), self.step),
            Column::new("epoch".into(), self.epoch),
            Column::new("split".into(), self.split),
            Column::new("learning_rate".into(), self.learning_rate),
            Column::new("loss".into(), self.loss),
            Column::new("hard_loss".into(), self.hard_loss),
            Column::new("soft_loss".into(), self.soft_loss),
            Column::new("grad_norm".into(), self.grad_norm),
            Column::new("tokens".into(), self.tokens),
            Column::new("agreement".into(), self.agreement),
        ];
        Ok(DataFrame::new(height, columns)?)
    }
}

/// `split` of a row that was measured while training.
pub const TRAIN: &str = "train";
/// `split` of a row that was measured on held-out data.
pub const VALIDATION: &str = "validation";

/// A table as Parquet.
pub fn parquet(frame: &mut DataFrame) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(frame)?;
    Ok(bytes)
}

/// A table as CSV, nulls empty.
pub fn csv(frame: &mut DataFrame) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(frame)?;
    Ok(bytes)
}
