//! A sweep as people and programs watch it: bars on a terminal, plain lines or JSON elsewhere.

mod bars;
mod json;
mod lines;
mod work;

use std::collections::HashMap;
use std::io::IsTerminal;

use super::text;
use crate::schedule::{Job, Watcher};
use crate::store::{MetricRow, RunState};

/// What a watcher shows.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The experiment's name.
    pub name: &'a str,
    /// Runs that were done before.
    pub done_before: usize,
    /// One JSON object a line on standard output, instead of what people read.
    pub json: bool,
}

/// JSON where it is asked for, else bars where standard error is a terminal, else lines.
pub fn watcher(view: View) -> Box<dyn Watcher> {
    if view.json {
        Box::new(json::Json::new(view.name, view.done_before))
    } else if std::io::stderr().is_terminal() {
        Box::new(bars::Bars::new(view.name, view.done_before))
    } else {
        Box::new(lines::Lines::new(view.name, view.done_before))
    }
}

/// The newest held-out row of each slot's run.
type LastEvaluations = HashMap<usize, MetricRow>;

/// One line about how a run ended.
fn ending(job: &Job, state: RunState, reason: Option<&str>, last: Option<&MetricRow>) -> String {
    let mut line = format!("{:<11} {}  {}", state.as_str(), job.id(), job.label());
    if let Some(row) = last {
        line += &format!("  hard loss {:.4}", row.hard_loss);
        if let Some(agreement) = row.agreement {
            line += &format!(", agreement {:.1} %", 100.0 * agreement);
        }
    }
    if let Some(reason) = reason {
        line += &format!("  {reason}");
    }
    line
}

fn step_line(row: &MetricRow, total: u64, tokens_per_second: f64) -> String {
    format!("step {}/{total}, loss {:.4}, {tokens_per_second:.0} tokens/s", row.step, row.loss)
}

fn preparing_line(what: &str, done: u64, total: u64) -> String {
    format!("preparing {what}, {:.0} %", 100.0 * done as f64 / total.max(1) as f64)
}

fn again_line(job: &Job, reason: &str) -> String {
    format!("again       {}  {}  {reason}", job.id(), job.label())
}

fn elsewhere_line(job: &Job) -> String {
    format!("elsewhere   {}  {}  another process works on it; this sweep waits for it", job.id(), job.label())
}

const STOPPING: &str =
    "stopping: waiting for the workers to write their checkpoints (Ctrl-C again ends them at once)";

fn done_before_line(name: &str, done: usize) -> String {
    format!("{name}: {} done before", text::plural(done, "run"))
}
