//! `kdx report`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Global, text};
use crate::report;

/// Arguments of `kdx report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of an experiment that was swept, or its TOML file.
    #[arg(value_name = "EXPERIMENT")]
    experiment: String,
    /// Directory of the report [default: reports/EXPERIMENT].
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let name = report::experiment_name(&store, &args.experiment)?;
    let out = args.output.clone().unwrap_or_else(|| PathBuf::from("reports").join(&name));
    let written = report::write(&store, &name, &out)?;
    for (run, reason) in &written.damaged {
        eprintln!("warning: run {run} is left out: {reason}");
    }
    if !written.damaged.is_empty() {
        eprintln!("`kdx verify --reset` sets damaged runs aside, and the next `kdx sweep` begins them again");
    }
    let counts: Vec<String> = written.counts.iter().map(|(status, n)| format!("{n} {status}")).collect();
    text::say!("{name}: {}", counts.join(", "));
    text::say!("{} files in {}", written.files.len() + 1, written.directory.display());
    text::say!("open {}", written.index.display());
    Ok(ExitCode::SUCCESS)
}
