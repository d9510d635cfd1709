//! `kdx plan`: what a sweep would do.

use std::process::ExitCode;

use super::experiment_args::ExperimentArgs;
use super::{Global, placement, text};
use crate::schedule::executor::local::ignored_keys;
use crate::schedule::{self, DeviceName, Job, Plan, Speed, SpeedSource};
use crate::spec::Pruner;
use crate::store::RunState;

/// Arguments of `kdx plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let experiment = args.experiment.load()?;
    let plan = Plan::new(&experiment, &global.store())?;
    let choice = schedule::automatic();
    text::print(&render(&plan, experiment.search.pruner, &choice.devices[0]));
    let pending = plan.pending();
    if !pending.is_empty() {
        let slots = placement::choose_slots(&choice.devices, None, &experiment.resources, &pending);
        text::say!("at once: {}", slots.in_words());
    }
    if let Some(notice) = choice.notice {
        text::warn(&notice);
    }
    for ignored in ignored_keys(&experiment.resources, &choice.devices) {
        text::warn(&ignored.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan in words, with the memory that its runs take on `device`.
fn render(plan: &Plan, pruner: Pruner, device: &DeviceName) -> String {
    let jobs = || plan.jobs.iter();
    let rows = jobs().map(|job| row(job, &plan.speed, device)).collect();
    let heading = ["run", "what", "parameters", "teacher", "steps", "tokens", "memory", "time", "state"];
    let mut out = text::table(heading, rows);
    let is_pruned = pruner != Pruner::None;
    let mut pending = plan.pending();
    // Without the search that stopped them they are runs like others.
    pending.retain(|job| !is_pruned || job.state != RunState::Stopped);
    let stopped = plan.points().filter(|job| is_pruned && job.state == RunState::Stopped).count();
    let stopped = if stopped > 0 { format!("{stopped} stopped early, ") } else { String::new() };
    let about = if is_pruned { "at most" } else { "about" };
    let seconds: f64 = pending.iter().map(|job| seconds(job, &plan.speed)).sum();
    let done = jobs().filter(|job| job.state.is_done()).count();
    out += &format!(
        "\n{}: {}; {done} done, {stopped}{} to do, {about} {} of one worker's time\n",
        plan.experiment.name,
        text::count_jobs(&plan.jobs),
        pending.len(),
        text::duration(seconds),
    );
    out += &match plan.speed.source {
        SpeedSource::Runs(n) => {
            format!("time: from {} of this experiment\n", text::plural(n, "finished run"))
        }
        SpeedSource::MatrixProduct => {
            "time: a guess from one matrix product, until a run of this experiment has finished\n".to_owned()
        }
    };
    out
}

fn seconds(job: &Job, speed: &Speed) -> f64 {
    job.estimate.flops / speed.flops_per_second
}

fn row(job: &Job, speed: &Speed, device: &DeviceName) -> [String; 9] {
    let estimate = &job.estimate;
    let (time, state) = match (&job.summary, job.state) {
        (Some(summary), state) if state.is_done() => (text::duration(summary.wall_seconds), state.as_str()),
        (_, RunState::Planned) => (format!("~{}", text::duration(seconds(job, speed))), "to do"),
        (_, state) => (format!("~{}", text::duration(seconds(job, speed))), state.as_str()),
    };
    [
        job.id().to_string(),
        job.label(),
        text::count(estimate.parameters),
        estimate.teacher_parameters.map_or("–".to_owned(), text::count),
        estimate.steps.to_string(),
        text::count(estimate.tokens),
        text::bytes(estimate.memory_on(device)),
        time,
        state.to_owned(),
    ]
}
