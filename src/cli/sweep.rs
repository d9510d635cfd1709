//! `kdx sweep`.

use std::process::ExitCode;

use super::Global;

/// Arguments of `kdx sweep`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args, _global: &Global) -> miette::Result<ExitCode> {
    Err(miette::miette!("not built yet"))
}
