//! `kdx plan`: what a sweep would do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{DEFAULT_STORE, Global, sweep, text};
use crate::experiment::{self, Experiment};
use crate::schedule::executor::local::ignored_keys;
use crate::schedule::{self, DeviceName, Job, Plan, Speed, SpeedSource};
use crate::spec::Pruner;
use crate::store::RunState;

/// Arguments of `kdx plan`, and the part of `kdx sweep`'s that names an experiment.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Set a key, over the file and the environment: `--set loss.temperature=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl Args {
    /// Reads the experiment and prints its warnings.
    pub fn load(&self) -> miette::Result<Experiment> {
        let experiment = experiment::load(&self.file, &self.overrides)?;
        for warning in &experiment.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(experiment)
    }

    /// A command that works on the same experiment, as it is typed into a shell.
    pub(super) fn command_line(&self, global: &Global, command: &str) -> String {
        let mut words = vec!["kdx".to_owned(), command.to_owned(), self.file.display().to_string()];
        if global.store != Path::new(DEFAULT_STORE) {
            words.extend(["--store".to_owned(), global.store.display().to_string()]);
        }
        words.extend(self.overrides.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        shell_words(&words)
    }
}

/// Words as a shell reads them.
fn shell_words(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = words.iter().map(|word| {
        let word_is_plain = !word.is_empty() && word.chars().all(is_plain);
        if word_is_plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let experiment = args.load()?;
    let plan = Plan::new(&experiment, &global.store())?;
    let choice = schedule::automatic();
    text::print(&render(&plan, experiment.search.pruner, &choice.devices[0]));
    let pending = plan.pending();
    if !pending.is_empty() {
        let slots = sweep::slots(&choice.devices, None, &experiment.resources, &pending);
        text::say!("at once: {}", slots.in_words());
    }
    if let Some(notice) = choice.notice {
        sweep::warn(&notice);
    }
    for ignored in ignored_keys(&experiment.resources, &choice.devices) {
        sweep::warn(&ignored.to_string());
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
