//! `kdx sweep`: trains every run of an experiment that is not done yet.

mod args;
mod slurm;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use miette::{IntoDiagnostic, WrapErr, miette};

use super::ending::{conclude, exit_code, print_next};
use super::progress::{self, View};
use super::{Global, placement, text};
use crate::kernels::cpu::Isa;
use crate::schedule::{self, Damaged, Job, LocalExecutor, LocalOptions, Message, Options, Plan, Search};
use crate::spec::Pruner;
use crate::store::{RunId, RunState, Store};
pub use args::Args;
use args::Executor;

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
            text::warn(&format!("what a killed process left stays: {error}"));
        }
        for path in plan.write(&store)? {
            text::warn(&format!("what was there is kept in {}", path.display()));
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
            let here = choose_options(args, &options, &pending)?;
            let mut executor = LocalExecutor::new(here, sender);
            schedule::dispatch(pending, &options, &mut executor, search, &messages, watcher)?
        }
        Executor::Slurm => slurm::dispatch(args, &experiment, &options, pending, sender, &messages, watcher)?,
    };
    if !outcome.left.is_empty() {
        return Ok(slurm::say_left(args, name, &outcome.left));
    }
    if !args.json {
        conclude(name, &outcome.results, began, &args.experiment, global);
    }
    Ok(exit_code(&outcome.results))
}

/// Names a damaged run.
fn warn_of(damaged: &Damaged) {
    text::warn(&format!("run {} begins again: {}", damaged.run, damaged.damage));
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
fn choose_options(args: &Args, options: &Options, pending: &[Job]) -> miette::Result<LocalOptions> {
    let (choice, resources) = (args.devices.choose(), &options.resources);
    if let Some(notice) = &choice.notice {
        text::warn(notice);
    }
    for device in &choice.devices {
        device.check()?;
    }
    let slots = placement::choose_slots(&choice.devices, args.jobs, resources, pending);
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
