//! `kdx schema`.

use std::io::{self, Write};
use std::process::ExitCode;

use miette::IntoDiagnostic;

use crate::experiment::json_schema;

/// Arguments of `kdx schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args) -> miette::Result<ExitCode> {
    let text = serde_json::to_string_pretty(&json_schema()).into_diagnostic()?;
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader, as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => written.into_diagnostic().map(|()| ExitCode::SUCCESS),
    }
}
