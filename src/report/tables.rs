//! The tables of a report: one row a run, one row a measurement.

use polars::prelude::*;
use polars_io::prelude::{CsvWriter, ParquetWriter, SerWriter};
use serde_json::Value;

use super::collect::{Collected, CollectedRun};
use super::columns::{
    BASELINE, TRAIN, VALIDATION, VALIDATION_TOKENS, is_configuration_column, name_held_out,
};
use super::error::ReportError;
use super::flatten::{column, union_of_keys};
use super::measure;
use crate::spec::Purpose;
use crate::spec::metric::{METRICS, Measured, Metric, rank};
use crate::store::{Evaluation, MetricRow, RunId, RunSummary, Split};

/// One row a run, in the plan's order:
///
/// * `run_id`, `experiment`, `status`, `attempt`, `seed`,
/// * each configuration key under its dotted name (`loss.temperature`), lists as JSON,
/// * a column for each held-out metric, as `validation/hard_loss`,
/// * what else the run came to: `parameters`, `tokens`, `tokens_per_second`, `wall_seconds`,
/// * the teacher's metrics on the same data, as `teacher/hard_loss`,
/// * further figures, the run's device and times, and why it failed.
///
/// Figures of runs that did not end are null, and so are the held-out ones of runs that were stopped early.
/// Losses are in nats a token, memory in bytes; [`crate::spec::metric`] knows the unit of each metric.
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
    columns.extend(measure::find_measures(runs).iter().map(|measure| validation(&measure.name, runs)));
    columns.extend([
        summary("parameters", runs, |s| Some(s.parameters)),
        summary("tokens", runs, |s| Some(s.tokens)),
        summary("tokens_per_second", runs, |s| Some(s.tokens_per_second)),
        summary("wall_seconds", runs, |s| Some(s.wall_seconds)),
        of(VALIDATION_TOKENS, runs, |run| Some(result(run)?.tokens)),
    ]);
    let measured_alone = |metric: &Metric| metric.measured == Measured::Evaluation;
    let of_teachers =
        measure::collect_names(runs, |summary| summary.teacher_validation.as_ref(), measured_alone);
    columns.extend(of_teachers.iter().map(|name| teacher(name, runs)));
    columns.extend([
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

/// A held-out metric of the students.
fn validation(name: &str, runs: &[CollectedRun]) -> Column {
    of(&name_held_out(name), runs, |run| result(run)?.value(name))
}

/// What a finished student measures; of a diverged one that is no result, nor of one that was stopped early.
fn result(run: &CollectedRun) -> Option<&Evaluation> {
    run.summary.as_ref().filter(|_| run.is_finished())?.validation.as_ref()
}

/// A metric of the teachers, on the same data.
fn teacher(name: &str, runs: &[CollectedRun]) -> Column {
    let column = format!("teacher/{name}");
    of(&column, runs, |run| run.summary.as_ref()?.teacher_validation.as_ref()?.value(name))
}

/// One row a measurement, in the order of the runs and of their steps: `run_id, step, epoch, split,
/// learning_rate, loss, grad_norm, tokens`, and a column for each metric by its name, null where a row does
/// not have it. A run whose measurements cannot be read becomes damaged, so this comes before [`runs`].
pub fn metrics(collected: &mut Collected) -> Result<DataFrame, ReportError> {
    let mut table = Metrics::default();
    collected.read_metrics(|run_id, rows| table.push(run_id, rows));
    table.finish()
}

struct Metrics {
    run_id: Vec<String>,
    step: Vec<u64>,
    epoch: Vec<f64>,
    split: Vec<&'static str>,
    learning_rate: Vec<Option<f64>>,
    loss: Vec<f64>,
    grad_norm: Vec<Option<f64>>,
    tokens: Vec<u64>,
    /// By the metric's name. A column ends with the newest row that has a value.
    values: Vec<(String, Vec<Option<f64>>)>,
}

/// Without rows, with a column for each registered metric.
impl Default for Metrics {
    fn default() -> Self {
        let registered = METRICS.iter().filter(|metric| metric.is_in_evaluations());
        Self {
            run_id: Vec::new(),
            step: Vec::new(),
            epoch: Vec::new(),
            split: Vec::new(),
            learning_rate: Vec::new(),
            loss: Vec::new(),
            grad_norm: Vec::new(),
            tokens: Vec::new(),
            values: registered.map(|metric| (metric.name.to_owned(), Vec::new())).collect(),
        }
    }
}

impl Metrics {
    fn push(&mut self, run_id: &RunId, rows: &[MetricRow]) {
        for row in rows {
            let height = self.step.len();
            self.run_id.push(run_id.0.clone());
            self.step.push(row.step);
            self.epoch.push(row.epoch);
            self.split.push(match row.split {
                Split::Train => TRAIN,
                Split::Validation => VALIDATION,
            });
            self.learning_rate.push(row.learning_rate);
            self.loss.push(row.loss);
            self.grad_norm.push(row.grad_norm);
            self.tokens.push(row.tokens);
            for (name, value) in row.values.iter() {
                let column = self.column(name);
                column.resize(height, None);
                column.push(Some(value));
            }
        }
    }

    /// The values of a metric, none so far where it is new.
    fn column(&mut self, name: &str) -> &mut Vec<Option<f64>> {
        let known = self.values.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.values.push((name.to_owned(), Vec::new()));
            self.values.len() - 1
        });
        &mut self.values[index].1
    }

    fn finish(mut self) -> Result<DataFrame, ReportError> {
        let height = self.step.len();
        let mut columns = vec![
            Column::new("run_id".into(), self.run_id),
            Column::new("step".into(), self.step),
            Column::new("epoch".into(), self.epoch),
            Column::new("split".into(), self.split),
            Column::new("learning_rate".into(), self.learning_rate),
            Column::new("loss".into(), self.loss),
            Column::new("grad_norm".into(), self.grad_norm),
            Column::new("tokens".into(), self.tokens),
        ];
        self.values.sort_by(|a, b| rank(&a.0).cmp(&rank(&b.0)));
        for (name, mut values) in self.values {
            values.resize(height, None);
            columns.push(Column::new(name.into(), values));
        }
        Ok(DataFrame::new(height, columns)?)
    }
}

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
