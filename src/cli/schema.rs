//! `kdx schema`.

use std::process::ExitCode;

/// Arguments of `kdx schema`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args) -> miette::Result<ExitCode> {
    Err(miette::miette!("not built yet"))
}
