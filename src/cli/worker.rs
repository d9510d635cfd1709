//! `kdx worker`: trains one run, or those that it is handed; started by `kdx sweep`.

use std::process::ExitCode;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::Global;
use crate::kernels::cpu::Isa;
use crate::schedule::{self, DeviceName, Supervision, Task};
use crate::spec::RunId;
use crate::thread_log;

/// Arguments of `kdx worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run.
    #[arg(long, required_unless_present = "shared")]
    run: Option<String>,
    /// Train the runs that standard input names, at the same time.
    #[arg(long, conflicts_with_all = ["run", "until", "detached"])]
    shared: bool,
    /// Where to train.
    #[arg(long)]
    device: DeviceName,
    /// Pause at this step, where the run is evaluated.
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// Go on when standard input ends: no dispatcher is there.
    #[arg(long)]
    detached: bool,
    /// Detached: seconds without a sign of life after which the worker ends itself; 0 for never.
    #[arg(long, requires = "detached", default_value_t = 0.0, value_name = "SECONDS")]
    stall_timeout: f64,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let filter = EnvFilter::try_from_env("KDX_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(thread_log::writer)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    Isa::from_env()?;
    let store = global.store();
    let Some(run) = &args.run else {
        thread_log::take_panics();
        schedule::serve(&store, &args.device)?;
        return Ok(ExitCode::SUCCESS);
    };
    let supervision = if args.detached {
        let stall_timeout = Duration::try_from_secs_f64(args.stall_timeout).ok();
        Supervision::Own { stall_timeout: stall_timeout.filter(|limit| !limit.is_zero()) }
    } else {
        Supervision::Dispatcher
    };
    let id = RunId(run.clone());
    let task = Task { store: &store, id: &id, device: &args.device, until: args.until };
    schedule::work(&task, supervision)?;
    Ok(ExitCode::SUCCESS)
}
