//! How a sweep ended: its exit code, and what is said.

use std::process::ExitCode;
use std::time::Instant;

use super::experiment_args::ExperimentArgs;
use super::{Global, text};
use crate::schedule::JobResult;
use crate::store::RunState;

/// Exit code of a sweep that the user stopped, as a shell gives it for Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Lines of a failed run's log that are printed.
const LOG_LINES: usize = 5;

/// Failure where a run failed, 130 where some are not done, else success.
pub fn exit_code(results: &[JobResult]) -> ExitCode {
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
pub fn conclude(name: &str, results: &[JobResult], began: Instant, args: &ExperimentArgs, global: &Global) {
    let of = |state: RunState| results.iter().filter(move |r| r.state == state);
    let mut parts = Vec::new();
    for state in [
        RunState::Finished,
        RunState::Stopped,
        RunState::Diverged,
        RunState::Failed,
        RunState::Interrupted,
        RunState::Killed,
    ] {
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
            text::say!("    {} --run {}", args.command_line(global, "sweep"), result.job.id());
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

/// Says what can be done with an experiment whose runs are done.
pub fn print_next(name: &str, runs: usize) {
    if runs > 0 {
        text::say!("  `kdx report {name}` writes tables, plots and a page");
    }
}
