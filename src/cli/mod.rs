//! The command line: one file a command; no logic that a library user would want.

mod bench;
mod cache;
mod compare;
mod devices;
mod ending;
mod experiment_args;
mod gc;
mod global;
mod logs;
mod ls;
mod placement;
mod plan;
mod progress;
mod report;
mod rm;
mod schema;
mod show;
mod sweep;
mod text;
mod tokenizer;
mod toydata;
mod verify;
mod watch;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use global::Global;

/// Runs declarative knowledge-distillation experiments: plan, train, resume, report, compare.
#[derive(Debug, Parser)]
#[command(name = "kdx", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every run of an experiment that is not done yet.
    Sweep(sweep::Args),
    /// Follow a sweep that runs elsewhere: in another terminal, or on a cluster.
    Watch(watch::Args),
    /// Show what a sweep would do, without running it.
    Plan(plan::Args),
    /// List experiments, or the runs of one.
    Ls(ls::Args),
    /// Show one run.
    Show(show::Args),
    /// Print what the worker of a run printed.
    Logs(logs::Args),
    /// Remove runs that no worker holds.
    Rm(rm::Args),
    /// Read all that runs left, and name what is damaged.
    Verify(verify::Args),
    /// Remove what nothing needs any more.
    Gc(gc::Args),
    /// Write tables, plots and a page about an experiment.
    Report(report::Args),
    /// Compare two experiments; fails when a configuration got worse.
    Compare(compare::Args),
    /// Measure a training step on this machine: tokens a second, and where the time goes.
    Bench(bench::Args),
    /// See and clear what is kept so as not to be computed again.
    Cache(cache::Args),
    /// List what runs can be placed on.
    Devices(devices::Args),
    /// Print the JSON Schema of experiment files, for editors.
    Schema(schema::Args),
    /// Work with tokenizers.
    Tokenizer(tokenizer::Args),
    /// Write the toy data set: short questions with answers that can be computed.
    Toydata(toydata::Args),
    /// Train one run; started by `kdx sweep`.
    #[command(hide = true)]
    Worker(worker::Args),
}

/// Parses the command line, runs the command, prints its error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Sweep(args) => sweep::run(args, &cli.global),
        Command::Watch(args) => watch::run(args, &cli.global),
        Command::Plan(args) => plan::run(args, &cli.global),
        Command::Ls(args) => ls::run(args, &cli.global),
        Command::Show(args) => show::run(args, &cli.global),
        Command::Logs(args) => logs::run(args, &cli.global),
        Command::Rm(args) => rm::run(args, &cli.global),
        Command::Verify(args) => verify::run(args, &cli.global),
        Command::Gc(args) => gc::run(args, &cli.global),
        Command::Report(args) => report::run(args, &cli.global),
        Command::Compare(args) => compare::run(args, &cli.global),
        Command::Bench(args) => bench::run(args, &cli.global),
        Command::Cache(args) => cache::run(args, &cli.global),
        Command::Devices(args) => devices::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Tokenizer(args) => tokenizer::run(args),
        Command::Toydata(args) => toydata::run(args),
        Command::Worker(args) => worker::run(args, &cli.global),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // A terminal that went away is not a second error.
            let _ = writeln!(std::io::stderr(), "{error:?}");
            // `kdx compare` promises 2 for "could not compare"; 1 is its verdict "worse".
            ExitCode::from(if matches!(cli.command, Command::Compare(_)) { 2 } else { 1 })
        }
    }
}
