//! `kdx ls`: experiments, or the runs of one.

use std::process::ExitCode;

use super::{Global, text};
use crate::schedule::point_label;
use crate::store::{ExperimentRecord, RunDir, RunRole, RunState, Store, StoreError};

/// Arguments of `kdx ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment whose runs are listed; all experiments where it is left out.
    experiment: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    match &args.experiment {
        Some(name) => text::print(&runs(&store, &store.experiment(name)?)?),
        None => text::print(&experiments(&store)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn experiments(store: &Store) -> Result<String, StoreError> {
    let names = store.experiments()?;
    if names.is_empty() {
        return Ok(format!("no experiments in {}; `kdx sweep FILE` begins one\n", store.root().display()));
    }
    let mut rows = Vec::new();
    for name in names {
        let experiment = store.experiment(&name)?;
        let mut counts = std::collections::HashMap::<RunState, usize>::new();
        for run in &experiment.runs {
            *counts.entry(store.run_dir(RunRole::Student, &run.run_id).state()?).or_default() += 1;
        }
        let count = |state| counts.get(&state).copied().unwrap_or(0);
        let stopped = count(RunState::Planned) + count(RunState::Interrupted);
        rows.push([
            name,
            experiment.runs.len().to_string(),
            count(RunState::Finished).to_string(),
            count(RunState::Running).to_string(),
            stopped.to_string(),
            count(RunState::Diverged).to_string(),
            count(RunState::Failed).to_string(),
            experiment.axes.join(", "),
        ]);
    }
    let heading = ["experiment", "runs", "finished", "running", "to do", "diverged", "failed", "axes"];
    Ok(text::table(heading, rows))
}

fn runs(store: &Store, experiment: &ExperimentRecord) -> Result<String, StoreError> {
    let mut rows = Vec::new();
    for id in &experiment.teachers {
        rows.push(row("teacher".to_owned(), &store.run_dir(RunRole::Teacher, id), &id.0)?);
    }
    for run in &experiment.runs {
        let dir = store.run_dir(RunRole::Student, &run.run_id);
        rows.push(row(point_label(&run.point), &dir, &run.run_id.0)?);
    }
    let heading = ["run", "state", "what", "hard loss", "perplexity", "soft loss", "agreement", "time"];
    Ok(text::table(heading, rows))
}

/// The state, with the step from which a run goes on that was begun.
fn standing(dir: &RunDir) -> Result<String, StoreError> {
    let state = dir.state()?;
    // A damaged checkpoint is not used: the run begins again.
    let checkpoint = match state {
        RunState::Interrupted | RunState::Failed => dir.checkpoint().state().ok().flatten(),
        _ => None,
    };
    let step = checkpoint.map_or(String::new(), |checkpoint| format!(" at step {}", checkpoint.step));
    Ok(format!("{}{step}", state.as_str()))
}

fn row(label: String, dir: &RunDir, id: &str) -> Result<[String; 8], StoreError> {
    let summary = dir.summary()?;
    let validation = summary.as_ref().and_then(|s| s.validation.as_ref());
    Ok([
        id.to_owned(),
        standing(dir)?,
        label,
        text::figure(validation.map(|v| v.hard_loss)),
        text::figure(validation.map(|v| v.perplexity)),
        text::figure(validation.and_then(|v| v.soft_loss)),
        text::figure(validation.and_then(|v| v.agreement)),
        summary.as_ref().map_or("–".to_owned(), |s| text::duration(s.wall_seconds)),
    ])
}
