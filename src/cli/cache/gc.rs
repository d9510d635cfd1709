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
    #[command(flatten)]
    budget: Budget,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How much of the cache may stay.
#[derive(Debug, clap::Args)]
pub struct Budget {
    /// Remove of the cache what was not used for longest until the rest takes no more than this, as `50GiB`.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Remove of the cache what was not used for longer than this, as `30d` or `12h`.
    #[arg(long, value_name = "TIME")]
    older_than: Option<humantime::Duration>,
}

impl Budget {
    /// As limits.
    pub fn limits(&self, dry_run: bool) -> Limits {
        Limits { max_size: self.max_size, older_than: self.older_than.map(Into::into), dry_run }
    }
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let collected = collect(&global.store().cache_dir(), &args.budget.limits(args.dry_run))?;
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
