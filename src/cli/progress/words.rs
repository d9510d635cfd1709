//! What bars and lines say alike.

use std::collections::HashMap;

use crate::cli::text;
use crate::schedule::Job;
use crate::spec::metric;
use crate::store::{MetricRow, RunState};

/// The newest held-out row of each slot's run.
pub(super) type LastEvaluations = HashMap<usize, MetricRow>;

/// One line about how a run ended.
pub(super) fn describe_ending(
    job: &Job,
    state: RunState,
    reason: Option<&str>,
    last: Option<&MetricRow>,
) -> String {
    let mut line = format!("{:<11} {}  {}", state.as_str(), job.id(), job.label());
    if let Some(row) = last {
        let headlines = row.values.ordered().into_iter().filter_map(|(name, value)| {
            let metric = metric::find(name).filter(|metric| metric.is_headline)?;
            Some(format!("{} {}", metric::title(name), text::write_measured(&metric.info(), value)))
        });
        line += &format!("  {}", headlines.collect::<Vec<_>>().join(", "));
    }
    if let Some(reason) = reason {
        line += &format!("  {reason}");
    }
    line
}

pub(super) fn describe_step(row: &MetricRow, total: u64, tokens_per_second: f64) -> String {
    format!("step {}/{total}, loss {:.4}, {tokens_per_second:.0} tokens/s", row.step, row.loss)
}

pub(super) fn describe_preparing(what: &str, done: u64, total: u64) -> String {
    format!("preparing {what}, {:.0} %", 100.0 * done as f64 / total.max(1) as f64)
}

pub(super) fn describe_retry(job: &Job, reason: &str) -> String {
    format!("again       {}  {}  {reason}", job.id(), job.label())
}

pub(super) fn describe_elsewhere(job: &Job) -> String {
    format!("elsewhere   {}  {}  another process works on it; this sweep waits for it", job.id(), job.label())
}

pub(super) const STOPPING: &str =
    "stopping: waiting for the workers to write their checkpoints (Ctrl-C again ends them at once)";

pub(super) fn describe_done_before(name: &str, done: usize) -> String {
    format!("{name}: {} done before", text::plural(done, "run"))
}
