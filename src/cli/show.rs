//! `kdx show`: one run.

use std::fmt::Write as _;
use std::process::ExitCode;

use miette::IntoDiagnostic;

use super::{Global, text};
use crate::spec::{Purpose, RunId};
use crate::store::{RunDir, RunState, RunSummary, Split, Store};

/// Arguments of `kdx show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, or the first digits of it.
    run: String,
    /// Print run.json, status.json and summary.json as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lines of the log that are shown.
const LOG_LINES: usize = 15;

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let dir = store.find_run(&args.run)?;
    if args.json {
        let value = serde_json::json!({
            "run": dir.record()?, "status": dir.status()?, "summary": dir.summary()?,
        });
        text::print(&format!("{}\n", serde_json::to_string_pretty(&value).into_diagnostic()?));
    } else {
        text::print(&describe(&store, &dir)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(store: &Store, dir: &RunDir) -> miette::Result<String> {
    let record = dir.record()?;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14}{value}");
    };
    line("run", record.run_id.to_string());
    line("directory", dir.path().display().to_string());
    line("state", dir.state()?.as_str().to_owned());
    if let Some(owner) = dir.owner()? {
        line("held by", owner.to_string());
    }
    if let Some(status) = dir.status()? {
        line("attempt", status.attempt.to_string());
        line("where", format!("{}, {}", status.device, text::plural(status.threads, "thread")));
        line("started", status.started);
        line("updated", status.updated);
        if let Some(reason) = status.reason {
            line("reason", reason);
        }
    }
    match dir.checkpoint().state() {
        Ok(Some(state)) => line("checkpoint", format!("at step {}", state.step)),
        Ok(None) => {}
        Err(error) => line("checkpoint", format!("cannot be used: {error}")),
    }
    let stage = record.spec.stage();
    for need in record.spec.needs() {
        let state = store.run_dir(need).state().map_or("unknown", RunState::as_str);
        line(stage.purpose_of(need).map_or("needs", Purpose::as_str), format!("{need}, {state}"));
    }
    let summary = if dir.state()?.is_settled() { dir.summary()? } else { None };
    if let Some(summary) = summary {
        describe_summary(&summary, &mut line);
    } else if let Some(row) = dir.metrics()?.iter().rfind(|row| row.split == Split::Train) {
        line("so far", format!("step {}, loss {:.4}, epoch {:.2}", row.step, row.loss, row.epoch));
    }
    let needed = |id: &RunId| Some(store.run_dir(id).record().ok()?.spec.stage().clone());
    let config = toml::to_string(&stage.declared(needed)).into_diagnostic()?;
    let _ = write!(out, "\n# its configuration\n{config}");
    out += &log_tail(dir);
    Ok(out)
}

fn describe_summary(summary: &RunSummary, line: &mut impl FnMut(&str, String)) {
    line("parameters", text::count(summary.parameters));
    line(
        "trained",
        format!(
            "{} steps, {:.2} epochs, {} tokens in {} ({:.0} tokens/s)",
            summary.steps,
            summary.epochs,
            text::count(summary.tokens),
            text::duration(summary.wall_seconds),
            summary.tokens_per_second,
        ),
    );
    if summary.peak_memory > 0 {
        line("peak memory", text::bytes(summary.peak_memory));
    }
    if summary.skipped_records > 0 {
        line("left out", text::plural(summary.skipped_records as usize, "bad record"));
    }
    if let Some(step) = summary.diverged_at {
        line("diverged", format!("at step {step}"));
    }
    if let Some(evaluation) = &summary.validation {
        line("held out", text::describe_evaluation(evaluation));
    }
    if let Some(best) = summary.best {
        line("best", format!("hard loss {:.4} at step {}, kept in best/", best.hard_loss, best.step));
    }
    if let Some(evaluation) = &summary.teacher_validation {
        line("its teacher", text::describe_evaluation(evaluation));
    }
}

/// The end of the run's log; nothing where there is none.
fn log_tail(dir: &RunDir) -> String {
    let log = std::fs::read(dir.log_path()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("\n# the end of {}\n{}\n", dir.log_path().display(), tail.join("\n"))
}
