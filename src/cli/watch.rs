//! `kdx watch`: follows a sweep that another process runs.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use miette::{IntoDiagnostic, WrapErr};

use super::ending::exit_code;
use super::progress::{self, View};
use super::{Global, text};
use crate::interrupt::Interrupt;
use crate::schedule::{self, Plan};

/// Arguments of `kdx watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment.
    experiment: String,
    /// Seconds without a running worker after which the sweep counts as stopped.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    patience: u64,
    /// Print what happens as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command. Ctrl-C ends the watching; the sweep goes on.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let plan = Plan::of_store(&args.experiment, &store)?;
    let name = &plan.experiment.name;
    let pending = plan.pending();
    let done_before = plan.points().filter(|job| job.state.is_done()).count();
    let mut watcher = progress::watcher(View { name, done_before, json: args.json });
    if pending.is_empty() && !args.json {
        text::say!("{name}: {}", text::all_done(plan.points().count()));
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Arc::new(Interrupt::new());
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.ask()).into_diagnostic().wrap_err("cannot listen for Ctrl-C")?;
    let patience = Duration::from_secs(args.patience);
    let results = schedule::watch(pending, &store, patience, &stop, watcher.as_mut())?;
    if !args.json {
        let left = results.iter().filter(|result| !result.state.is_done()).count();
        let ended = if left == 0 { "all are done".to_owned() } else { format!("{left} not done") };
        let stopped = if stop.is_asked() || left == 0 { "" } else { "; no worker runs any more" };
        text::say!("{name}: {} watched, {ended}{stopped}", text::plural(results.len(), "run"));
    }
    Ok(exit_code(&results))
}
