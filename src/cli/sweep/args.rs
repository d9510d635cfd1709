//! The arguments of `kdx sweep`.

use clap::ValueEnum;

use crate::cli::experiment_args::ExperimentArgs;
use crate::schedule::Wanted;

/// Arguments of `kdx sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Runs at once on a device; in place of `resources.per_device`. With Slurm, jobs at once; in place of
    /// `slurm.max_tasks`.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub jobs: Option<u64>,
    /// Where to place runs, as `cpu` or `cuda:0,2`; `auto` is on all GPUs, or on the processors where there
    /// is none. See `kdx devices`.
    #[arg(long, value_name = "DEVICES", default_value = "auto")]
    pub devices: Wanted,
    /// Only these runs, by their ids or the first digits of them, and the teachers that they need.
    #[arg(long = "run", value_name = "RUN")]
    pub runs: Vec<String>,
    /// Stop the sweep when the first run has failed; else the others go on.
    #[arg(long)]
    pub fail_fast: bool,
    /// Print what happens as JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Where the runs are trained.
    #[arg(long, value_enum, default_value_t = Executor::Local)]
    pub executor: Executor,
    /// With `--executor slurm`: cancel the jobs on Ctrl-C; else they go on without the sweep.
    #[arg(long)]
    pub cancel_on_interrupt: bool,
    /// With `--executor slurm`: print the batch script that would be submitted, and submit nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Where the runs of a sweep are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// On this machine.
    Local,
    /// As jobs of a Slurm cluster, over a store that its nodes share; see `[slurm]`.
    Slurm,
}
