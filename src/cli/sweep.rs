//! `kdx sweep`: trains every run of an experiment that is not done yet.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use miette::{IntoDiagnostic, WrapErr};

use super::{Global, plan, progress, text};
use crate::experiment::config::{PerDevice, ResourcesConfig};
use crate::kernels::cpu::Isa;
use crate::schedule::{self, DeviceName, Job, JobResult, Message, Options, Plan};
use crate::store::{RunState, Store};

/// Arguments of `kdx sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    experiment: plan::Args,
    /// Runs at once; in place of `resources.per_device`.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
}

/// Exit code of a sweep that the user stopped, as a shell gives it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let began = Instant::now();
    Isa::from_env()?;
    let experiment = args.experiment.load()?;
    let mut store = global.store();
    let plan = Plan::new(&experiment, &store)?;
    plan.write(&store)?;
    // Workers are given the store by its full name.
    store = Store::new(std::path::absolute(store.root()).into_diagnostic()?);

    let name = &plan.experiment.name;
    let pending = plan.pending();
    if pending.is_empty() {
        text::say!("{name}: all {} are done", text::plural(plan.students.len(), "run"));
        print_next(name, &plan.students);
        return Ok(ExitCode::SUCCESS);
    }

    let options = options(args, &experiment.resources, store, &pending)?;
    let (sender, messages) = mpsc::channel();
    let stop = sender.clone();
    ctrlc::set_handler(move || {
        let _ = stop.send(Message::Stop);
    })
    .into_diagnostic()
    .wrap_err("cannot listen for Ctrl-C")?;
    let done_before = plan.students.iter().filter(|job| job.state.is_done()).count();
    let mut watcher = progress::watcher(name, done_before);
    let results = schedule::dispatch(pending, &options, &sender, &messages, watcher.as_mut())?;
    Ok(conclude(name, &results, began))
}

/// Chooses slots and threads.
fn options(
    args: &Args,
    resources: &ResourcesConfig,
    store: Store,
    pending: &[Job],
) -> miette::Result<Options> {
    let threads = schedule::cpu_threads();
    let slots = match (args.jobs, resources.per_device) {
        (Some(jobs), _) => usize::try_from(jobs).unwrap_or(usize::MAX),
        (None, PerDevice::Count(count)) => count,
        (None, PerDevice::Auto(_)) => auto_slots(resources, threads, pending),
    };
    Ok(Options {
        program: std::env::current_exe().into_diagnostic().wrap_err("cannot find this program's own file")?,
        store,
        slots: vec![DeviceName::Cpu; slots.min(pending.len())],
        threads,
        threads_per_worker: (resources.threads > 0).then_some(resources.threads),
        attempts: resources.attempts,
    })
}

/// As many workers as there are processors for them, and memory for the largest of their runs.
fn auto_slots(resources: &ResourcesConfig, threads: usize, pending: &[Job]) -> usize {
    let by_threads = threads / resources.threads.max(1);
    let largest = pending.iter().map(|job| job.estimate.memory).max().unwrap_or(1).max(1);
    let by_memory = schedule::memory().map_or(usize::MAX, |(_, free)| (free / largest) as usize);
    by_threads.min(by_memory).max(1)
}

/// Says how the sweep ended, and every failure with what to do about it.
fn conclude(name: &str, results: &[JobResult], began: Instant) -> ExitCode {
    let of = |state: RunState| results.iter().filter(move |r| r.state == state);
    let mut parts = Vec::new();
    for state in [RunState::Finished, RunState::Diverged, RunState::Failed, RunState::Interrupted] {
        let n = of(state).count();
        if n > 0 {
            parts.push(format!("{n} {}", state.as_str()));
        }
    }
    let left = of(RunState::Planned).count();
    if left > 0 {
        parts.push(format!("{left} not begun"));
    }
    text::say!("{name}: {} in {}", parts.join(", "), text::duration(began.elapsed().as_secs_f64()));
    for result in of(RunState::Diverged).chain(of(RunState::Failed)) {
        text::say!(
            "  {} {} ({}): {}",
            result.state.as_str(),
            result.job.id(),
            result.job.label(),
            result.reason.as_deref().unwrap_or("no reason known"),
        );
    }
    if of(RunState::Failed).next().is_some() {
        text::say!("  `kdx show RUN` prints the end of its log; the same sweep tries failed runs again");
        return ExitCode::FAILURE;
    }
    if left > 0 || of(RunState::Interrupted).next().is_some() {
        text::say!("  the same command continues");
        return ExitCode::from(INTERRUPTED);
    }
    let jobs: Vec<Job> = results.iter().map(|r| r.job.clone()).collect();
    print_next(name, &jobs);
    ExitCode::SUCCESS
}

fn print_next(name: &str, jobs: &[Job]) {
    if !jobs.is_empty() {
        text::say!("  `kdx report {name}` writes tables, plots and a page");
    }
}
