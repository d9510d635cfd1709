//! `kdx worker`: trains one run; started by `kdx sweep`.

use std::process::ExitCode;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Global;
use crate::kernels::cpu::Isa;
use crate::schedule::{self, DeviceName};
use crate::store::{RunId, RunRole};

/// Arguments of `kdx worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the run trains.
    #[arg(long)]
    role: Role,
    /// The run.
    #[arg(long)]
    run: String,
    /// Where to train.
    #[arg(long)]
    device: DeviceName,
    /// Pause at this step, where the run is evaluated.
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Student,
    Teacher,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let filter = EnvFilter::try_from_env("KDX_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    Isa::from_env()?;
    let role = match args.role {
        Role::Student => RunRole::Student,
        Role::Teacher => RunRole::Teacher,
    };
    schedule::work(&global.store(), role, &RunId(args.run.clone()), &args.device, args.until)?;
    Ok(ExitCode::SUCCESS)
}
