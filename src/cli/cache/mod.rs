//! `kdx cache`: what a store keeps so as not to compute it again.

pub(super) mod gc;
mod ls;

use std::process::ExitCode;

use clap::Subcommand;

use super::Global;

/// Arguments of `kdx cache`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the files of the cache, the one that was used last first.
    Ls(ls::Args),
    /// Remove files of the cache: parts that no run goes on with, and what the options say.
    Gc(gc::Args),
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    match &args.command {
        Command::Ls(args) => ls::run(args, global),
        Command::Gc(args) => gc::run(args, global),
    }
}
