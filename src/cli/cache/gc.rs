//! `kdx cache gc`.

use std::process::ExitCode;

use super::ls;
use crate::cache::{ByteSize, Limits, collect};
use crate::cli::{Global, text};

/// Arguments of `kdx cache gc`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Files that a run reads or writes stay. Whatever is removed is made again when it is needed."
)]
pub struct Args {
    /// Remove what was not used for longest until the rest takes no more than this, as `50GiB`.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Remove what was not used for longer than this, as `30d` or `12h`.
    #[arg(long, value_name = "TIME")]
    older_than: Option<humantime::Duration>,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let limits = Limits {
        max_size: args.max_size,
        older_than: args.older_than.map(Into::into),
        dry_run: args.dry_run,
    };
    let collected = collect(&global.store().cache_dir(), &limits)?;
    let what = if args.dry_run { "would be removed" } else { "removed" };
    if collected.removed.is_empty() {
        text::print(&format!("nothing {what}\n"));
    } else {
        text::print(&format!("{what}:\n{}", ls::table(&collected.removed)));
    }
    if !collected.in_use.is_empty() {
        text::print(&format!("in use, and kept:\n{}", ls::table(&collected.in_use)));
    }
    text::print(&format!("{} left\n", ByteSize(collected.left)));
    Ok(ExitCode::SUCCESS)
}
