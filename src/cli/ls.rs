//! `kdx ls`: experiments, or the runs of one.

use std::process::ExitCode;

use rayon::prelude::*;

use super::{Global, text};
use crate::schedule::point_label;
use crate::spec::metric;
use crate::store::{
    Evaluation, ExperimentRecord, Inspection, NeededRun, PlannedRun, RunDir, RunState, Store, StoreError,
};

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
        Some(name) => {
            let (table, damaged) = runs(&store, &store.experiment(name)?)?;
            text::print(&table);
            if !damaged.is_empty() {
                damaged.iter().for_each(|damage| text::say!("damaged: {damage}"));
                text::say!("`kdx sweep {name}.toml`, or its file by another name, begins these runs again");
                return Ok(ExitCode::FAILURE);
            }
        }
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
        let state = |run: &PlannedRun| match store.run_dir(&run.run_id).state() {
            // It will begin again; `kdx ls NAME` says what is wrong.
            Err(StoreError::Damaged { .. } | StoreError::Version { .. }) => Ok(RunState::Planned),
            other => other,
        };
        for state in experiment.runs.par_iter().map(state).collect::<Result<Vec<_>, _>>()? {
            *counts.entry(state).or_default() += 1;
        }
        let count = |state| counts.get(&state).copied().unwrap_or(0);
        let to_do = [RunState::Planned, RunState::Interrupted, RunState::Killed, RunState::Paused];
        let to_do: usize = to_do.into_iter().map(count).sum();
        rows.push([
            name,
            experiment.runs.len().to_string(),
            count(RunState::Finished).to_string(),
            count(RunState::Running).to_string(),
            to_do.to_string(),
            count(RunState::Stopped).to_string(),
            count(RunState::Diverged).to_string(),
            count(RunState::Failed).to_string(),
            experiment.axes.join(", "),
        ]);
    }
    let heading =
        ["experiment", "runs", "finished", "running", "to do", "stopped", "diverged", "failed", "axes"];
    Ok(text::table(heading, rows))
}

/// The table of an experiment's runs, and what is damaged of them.
fn runs(store: &Store, experiment: &ExperimentRecord) -> Result<(String, Vec<StoreError>), StoreError> {
    let need = |need: &NeededRun| {
        (need.purpose.as_str().to_owned(), store.run_dir(&need.run_id), need.run_id.clone())
    };
    let point = |run: &PlannedRun| (point_label(&run.point), store.run_dir(&run.run_id), run.run_id.clone());
    let all = experiment.needs.iter().map(need).chain(experiment.runs.iter().map(point));
    let (mut rows, mut damaged) = (Vec::new(), Vec::new());
    let all: Vec<_> = all.collect();
    let inspected = all.par_iter().map(|(_, dir, _)| dir.inspect()).collect::<Result<Vec<_>, _>>()?;
    let metrics = find_metrics(&inspected);
    for ((label, dir, id), inspection) in all.into_iter().zip(inspected) {
        rows.push(row(label, &dir, &id.0, &metrics, &inspection)?);
        damaged.extend(inspection.damage);
    }
    let titles: Vec<String> = metrics.iter().map(|name| metric::title(name)).collect();
    let mut heading = vec!["run", "state", "what"];
    heading.extend(titles.iter().map(String::as_str));
    heading.push("time");
    Ok((text::table(heading, rows), damaged))
}

/// The metrics that the runs were measured by, in their order; the hard loss also where none was yet.
fn find_metrics(inspected: &[Inspection]) -> Vec<String> {
    let evaluations = inspected.iter().filter_map(validation);
    let names = evaluations.flat_map(|evaluation| evaluation.values.iter().map(|(name, _)| name.to_owned()));
    let mut names: Vec<String> = names.chain([metric::ranking().name.to_owned()]).collect();
    names.sort_by(|a, b| metric::rank(a).cmp(&metric::rank(b)));
    names.dedup();
    names
}

/// What a run came to. One that goes on after it was stopped has come further than its summary says.
fn validation(inspection: &Inspection) -> Option<&Evaluation> {
    let summary = inspection.summary.as_ref().filter(|_| inspection.state.is_settled());
    summary.and_then(|summary| summary.validation.as_ref())
}

/// The state, with the step from which a run goes on that was begun.
fn standing(dir: &RunDir, inspection: &Inspection) -> Result<String, StoreError> {
    let state = inspection.state;
    if inspection.damage.is_some() {
        return Ok("damaged".to_owned());
    }
    if state == RunState::Running
        && let Some(owner) = dir.owner()?
    {
        return Ok(format!("running on {owner}"));
    }
    // A damaged checkpoint is not used: the run begins again.
    let checkpoint = match state {
        RunState::Interrupted
        | RunState::Killed
        | RunState::Failed
        | RunState::Paused
        | RunState::Stopped => dir.checkpoint().state().ok().flatten(),
        _ => None,
    };
    let step = checkpoint.map_or(String::new(), |checkpoint| format!(" at step {}", checkpoint.step));
    Ok(format!("{}{step}", state.as_str()))
}

fn row(
    label: String,
    dir: &RunDir,
    id: &str,
    metrics: &[String],
    inspection: &Inspection,
) -> Result<Vec<String>, StoreError> {
    let dash = || "–".to_owned();
    let evaluation = validation(inspection);
    let value = |name: &String| {
        let value = evaluation.and_then(|e| Some(text::write_measured(&e.info(name), e.value(name)?)));
        value.unwrap_or_else(dash)
    };
    let summary = inspection.summary.as_ref().filter(|_| inspection.state.is_settled());
    let mut cells = vec![id.to_owned(), standing(dir, inspection)?, label];
    cells.extend(metrics.iter().map(value));
    cells.push(summary.map_or_else(dash, |summary| text::duration(summary.wall_seconds)));
    Ok(cells)
}
