//! `kdx sweep`: trains every run of an experiment that is not done yet.

mod slurm;

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use clap::ValueEnum;
use miette::{IntoDiagnostic, WrapErr, miette};

use super::progress::{self, View};
use super::{Global, plan, text};
use crate::kernels::cpu::Isa;
use crate::schedule::{
    self, Damaged, DeviceName, Job, JobResult, LocalExecutor, LocalOptions, Message, Options, Plan, Room,
    Search, Slots, Wanted,
};
use crate::spec::{PerDevice, Pruner, ResourcesConfig};
use crate::store::{RunId, RunState, Store};

/// Arguments of `kdx sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    experiment: plan::Args,
    /// Runs at once on a device; in place of `resources.per_device`. With Slurm, jobs at once; in place of
    /// `slurm.max_tasks`.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Where to place runs, as `cpu` or `cuda:0,2`; `auto` is on all GPUs, or on the processors where there is
    /// none. See `kdx devices`.
    #[arg(long, value_name = "DEVICES", default_value = "auto")]
    devices: Wanted,
    /// Only these runs, by their ids or the first digits of them, and the teachers that they need.
    #[arg(long = "run", value_name = "RUN")]
    runs: Vec<String>,
    /// Stop the sweep when the first run has failed; else the others go on.
    #[arg(long)]
    fail_fast: bool,
    /// Print what happens as JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Where the runs are trained.
    #[arg(long, value_enum, default_value_t = Executor::Local)]
    executor: Executor,
    /// With `--executor slurm`: cancel the jobs on Ctrl-C; else they go on without the sweep.
    #[arg(long)]
    cancel_on_interrupt: bool,
    /// With `--executor slurm`: print the batch script that would be submitted, and submit nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where the runs of a sweep are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Executor {
    /// On this machine.
    Local,
    /// As jobs of a Slurm cluster, over a store that its nodes share; see `[slurm]`.
    Slurm,
}

/// Exit code of a sweep that the user stopped, as a shell gives it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Lines of a failed run's log that are printed.
const LOG_LINES: usize = 5;

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let began = Instant::now();
    Isa::from_env()?;
    if args.executor == Executor::Local && (args.dry_run || args.cancel_on_interrupt) {
        return Err(miette!(
            help = "`kdx plan FILE` shows what a sweep on this machine would do",
            "--dry-run and --cancel-on-interrupt are about the jobs of `--executor slurm`"
        ));
    }
    let experiment = args.experiment.load()?;
    if args.executor == Executor::Slurm && experiment.search.pruner != Pruner::None && args.runs.is_empty() {
        return Err(miette!(
            help = "train every run to its end with `--set search.pruner=none`, or sweep on one machine",
            "through Slurm no runs are stopped early, and the experiment asks for `search.pruner = \"{}\"`",
            experiment.search.pruner.as_str()
        ));
    }
    let mut store = global.store();
    let plan = Plan::new(&experiment, &store)?;
    for damaged in &plan.damaged {
        warn_of(damaged);
    }
    if !args.dry_run {
        if let Err(error) = store.clear_away() {
            warn(&format!("what a killed process left stays: {error}"));
        }
        for path in plan.write(&store)? {
            warn(&format!("what was there is kept in {}", path.display()));
        }
    }
    // Workers are given the store by its full name.
    store = Store::new(std::path::absolute(store.root()).into_diagnostic()?);

    let name = &plan.experiment.name;
    let pending = select(&plan, &args.runs)?;
    let done_before = plan.points().filter(|job| job.state.is_done()).count();
    let mut watcher = progress::watcher(View { name, done_before, json: args.json });
    // Runs that are asked for by name are trained to their end.
    let mut search =
        if args.runs.is_empty() { Search::open(&experiment.search, &plan, &store)? } else { None };
    let ids: Vec<&RunId> = pending.iter().map(Job::id).collect();
    let is_over = match &mut search {
        // A sweep that was killed may have left runs that nobody told that they are given up.
        Some(search) => pending.iter().all(|job| job.state == RunState::Stopped) && search.is_over(&ids)?,
        None => pending.is_empty(),
    };
    if is_over {
        if args.json {
            watcher.begin(&[], 0);
            watcher.end();
        } else if args.runs.is_empty() {
            let stopped = match pending.len() {
                0 => String::new(),
                n => format!(" or stopped early ({n})"),
            };
            text::say!("{name}: {}{stopped}", text::all_done(plan.points().count()));
            print_next(name, plan.points().count());
        } else {
            text::say!("{name}: these runs are done");
        }
        return Ok(ExitCode::SUCCESS);
    }

    if args.dry_run {
        return slurm::dry_run(args, &experiment, store, &pending);
    }
    let (sender, messages) = mpsc::channel();
    let stop = sender.clone();
    ctrlc::set_handler(move || {
        let _ = stop.send(Message::Stop);
    })
    .into_diagnostic()
    .wrap_err("cannot listen for Ctrl-C")?;
    let options = Options { store, resources: experiment.resources.clone(), fail_fast: args.fail_fast };
    let watcher = watcher.as_mut();
    let outcome = match args.executor {
        Executor::Local => {
            let here = local_options(args, &options, &pending)?;
            let mut executor = LocalExecutor::new(here, sender);
            schedule::dispatch(pending, &options, &mut executor, search, &messages, watcher)?
        }
        Executor::Slurm => slurm::dispatch(args, &experiment, &options, pending, sender, &messages, watcher)?,
    };
    if !outcome.left.is_empty() {
        return Ok(slurm::say_left(args, name, &outcome.left));
    }
    if !args.json {
        conclude(name, &outcome.results, began, args, global);
    }
    Ok(exit_code(&outcome.results))
}

/// Names a damaged run.
fn warn_of(damaged: &Damaged) {
    warn(&format!("run {} begins again: {}", damaged.run, damaged.damage));
}

/// Says what needs no answer, where it is in the way of no program.
pub(super) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// The runs that are to be trained: all that are not done, or the ones that were asked for, with what
/// they need.
fn select(plan: &Plan, prefixes: &[String]) -> miette::Result<Vec<Job>> {
    if prefixes.is_empty() {
        return Ok(plan.pending());
    }
    let mut chosen: HashSet<RunId> = HashSet::new();
    for prefix in prefixes {
        let mut found = plan.jobs.iter().filter(|job| job.id().0.starts_with(prefix));
        let (Some(job), None) = (found.next(), found.next()) else {
            let help =
                "`kdx plan FILE` lists the runs; the first digits of an id are enough where they are unique";
            return Err(miette!(
                help = help,
                "no single run of {} begins with `{prefix}`",
                plan.experiment.name
            ));
        };
        chosen.insert(job.id().clone());
    }
    Ok(plan.chosen(&chosen))
}

/// Chooses slots and threads.
fn local_options(args: &Args, options: &Options, pending: &[Job]) -> miette::Result<LocalOptions> {
    let (choice, resources) = (args.devices.choose(), &options.resources);
    if let Some(notice) = &choice.notice {
        warn(notice);
    }
    for device in &choice.devices {
        device.check()?;
    }
    let slots = slots(&choice.devices, args.jobs, resources, pending);
    Ok(LocalOptions {
        program: std::env::current_exe().into_diagnostic().wrap_err("cannot find this program's own file")?,
        store: options.store.clone(),
        slots: slots.devices,
        threads: schedule::cpu_threads(),
        threads_per_worker: (resources.threads > 0).then_some(resources.threads),
        memory: slots.memory,
        shared: choice
            .devices
            .into_iter()
            .filter(|device| resources.share_process && !device.is_cpu())
            .collect(),
    })
}

/// The slots of a sweep on these devices, with so many `jobs` on each or as many as the experiment says.
pub(super) fn slots(
    devices: &[DeviceName],
    jobs: Option<u64>,
    resources: &ResourcesConfig,
    pending: &[Job],
) -> Slots {
    let fixed = match (jobs, resources.per_device) {
        (Some(jobs), _) => Some(usize::try_from(jobs).unwrap_or(usize::MAX)),
        (None, PerDevice::Count(count)) => Some(count),
        (None, PerDevice::Auto(_)) => None,
    };
    let rooms: Vec<Room> = devices.iter().map(Room::of).collect();
    let estimates: Vec<_> = pending.iter().map(|job| &job.estimate).collect();
    Slots::new(&rooms, fixed, schedule::cpu_threads(), resources.threads, &estimates)
}

pub(super) fn exit_code(results: &[JobResult]) -> ExitCode {
    let any = |state: RunState| results.iter().any(|result| result.state == state);
    if any(RunState::Failed) {
        ExitCode::FAILURE
    } else if results.iter().any(|result| !result.state.is_settled()) {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Says how the sweep ended, and every failure with what to do about it.
fn conclude(name: &str, results: &[JobResult], began: Instant, args: &Args, global: &Global) {
    let of = |state: RunState| results.iter().filter(move |r| r.state == state);
    let mut parts = Vec::new();
    for state in
        [RunState::Finished, RunState::Stopped, RunState::Diverged, RunState::Failed, RunState::Interrupted]
    {
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
        if result.state == RunState::Failed {
            let log = result.job.dir(&global.store()).log_end(4096).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                text::say!("    | {line}");
            }
            text::say!("    {} --run {}", args.experiment.command_line(global, "sweep"), result.job.id());
        }
    }
    if of(RunState::Failed).next().is_some() {
        text::say!("  `kdx logs RUN` prints all of a log; the same sweep tries failed runs again");
    } else if results.iter().any(|result| !result.state.is_settled()) {
        text::say!("  the same command continues");
    } else {
        print_next(name, results.len());
    }
}

fn print_next(name: &str, runs: usize) {
    if runs > 0 {
        text::say!("  `kdx report {name}` writes tables, plots and a page");
    }
}
