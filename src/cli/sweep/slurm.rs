//! `kdx sweep --executor slurm`: the runs of a sweep as job arrays.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};

use miette::{IntoDiagnostic, WrapErr, miette};

use super::args::Args;
use crate::cli::ending::INTERRUPTED;
use crate::cli::text;
use crate::experiment::Experiment;
use crate::schedule::executor::slurm::executor::SlurmExecutor;
use crate::schedule::executor::slurm::options::{Options, ignored_keys};
use crate::schedule::executor::slurm::submit::preview;
use crate::schedule::{self, DeviceName, Interface, Job, Message, Outcome, Wanted, Watcher};
use crate::spec::SlurmConfig;
use crate::store::Store;

/// Runs the jobs through Slurm.
pub(super) fn dispatch(
    args: &Args,
    experiment: &Experiment,
    sweep: &schedule::Options,
    pending: Vec<Job>,
    wake: Sender<Message>,
    messages: &Receiver<Message>,
    watcher: &mut dyn Watcher,
) -> miette::Result<Outcome> {
    let config = config(args, experiment);
    let options = options(args, experiment, &config, sweep.store.clone())?;
    let mut executor = SlurmExecutor::open(&options, wake)?;
    Ok(schedule::dispatch(pending, sweep, &mut executor, None, messages, watcher)?)
}

/// Says which jobs go on without the sweep, and how to come back to them.
pub(super) fn say_left(args: &Args, name: &str, numbers: &[String]) -> ExitCode {
    if !args.json {
        let jobs = text::plural(numbers.len(), "job");
        text::say!("{name}: left its {jobs} in Slurm's hands: {}", numbers.join(", "));
        text::say!("  the same command comes back to them; `kdx ls {name}` shows what they do");
        text::say!("  `scancel {}` cancels them", numbers.join(" "));
    }
    ExitCode::from(INTERRUPTED)
}

/// Prints the batch script that would be submitted first, and its task file.
pub(super) fn dry_run(
    args: &Args,
    experiment: &Experiment,
    store: Store,
    pending: &[Job],
) -> miette::Result<ExitCode> {
    let config = config(args, experiment);
    let options = options(args, experiment, &config, store)?;
    for ignored in ignored_keys(&experiment.resources) {
        text::warn(&ignored.to_string());
    }
    // First what needs nothing that has to be trained.
    let is_ready = |job: &&Job| {
        let needs = job.record.spec.needs();
        !pending.iter().any(|other| needs.contains(&other.id()))
    };
    let ready: Vec<&Job> = pending.iter().filter(is_ready).collect();
    let (script, tasks) = preview(&ready, &options)?;
    text::print(&script);
    text::say!("\n# The task file, {} of {}:", ready.len(), text::plural(pending.len(), "run"));
    for line in tasks.lines() {
        text::say!("# {line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The section, with what the command line says in its place.
fn config(args: &Args, experiment: &Experiment) -> SlurmConfig {
    let mut config = experiment.slurm.clone();
    if let Some(jobs) = args.jobs {
        config.max_tasks = Some(usize::try_from(jobs).unwrap_or(usize::MAX));
    }
    config
}

fn options<'a>(
    args: &Args,
    experiment: &'a Experiment,
    config: &'a SlurmConfig,
    store: Store,
) -> miette::Result<Options<'a>> {
    let program = match &config.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().into_diagnostic().wrap_err("cannot find this program's own file")?,
    };
    Ok(Options {
        experiment: &experiment.name,
        slurm: config,
        store,
        program,
        device: device(args, config)?,
        stall_timeout: experiment.resources.stall_timeout(),
        cancel_on_interrupt: args.cancel_on_interrupt,
    })
}

/// The device of every job: the one that is named, or the first that CUDA sees where jobs ask for GPUs.
fn device(args: &Args, config: &SlurmConfig) -> miette::Result<DeviceName> {
    match &args.devices {
        Wanted::Named(devices) => match &devices[..] {
            [device] => Ok(device.clone()),
            _ => Err(miette!(
                help = "name the one that every job sees, as `--devices cuda:0`",
                "a job of Slurm trains on one device"
            )),
        },
        Wanted::Automatic if config.gpus.is_none() => Ok(DeviceName::Cpu),
        // The program of the nodes may be built in another way than this one.
        Wanted::Automatic if config.program.is_some() => Ok(DeviceName::Gpu(Interface::Cuda, 0)),
        Wanted::Automatic => Ok("cuda:0".parse().unwrap_or_else(|error| {
            text::warn(&format!("jobs ask for GPUs (slurm.gpus) and train on processors: {error}"));
            DeviceName::Cpu
        })),
    }
}
