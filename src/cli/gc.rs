//! `kdx gc`: removes what nothing needs any more.

use std::process::ExitCode;

use super::cache::gc::Budget;
use super::{Global, text};
use crate::cache::{ByteSize, collect};

/// Arguments of `kdx gc`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Removed are runs that no experiment of the store has or needs and that are not done, \
                  checkpoints of runs that are done, what killed processes left, and of the cache what \
                  `kdx cache gc` removes. What a worker holds stays."
)]
pub struct Args {
    /// Also remove runs that are done, where no experiment has them, and what was set aside of damaged runs.
    #[arg(long)]
    runs: bool,
    #[command(flatten)]
    budget: Budget,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let mut freed = 0;
    let word = if args.dry_run { "would remove" } else { "removed" };
    for garbage in store.garbage(args.runs)? {
        let (path, bytes) = (garbage.found.path.display(), ByteSize(garbage.found.bytes));
        if args.dry_run || garbage.remove()? {
            freed += garbage.found.bytes;
            text::say!("{word} {path} ({bytes}): {}", garbage.kind.as_str());
        } else {
            text::say!("kept {path}: a worker holds it");
        }
    }
    let collected = collect(&store.cache_dir(), &args.budget.limits(args.dry_run))?;
    for entry in &collected.removed {
        freed += entry.bytes;
        text::say!("{word} {} ({})", entry.path.display(), ByteSize(entry.bytes));
    }
    for entry in &collected.in_use {
        text::say!("kept {}: a process uses it", entry.path.display());
    }
    text::say!("{} {}", ByteSize(freed), if args.dry_run { "would be freed" } else { "freed" });
    Ok(ExitCode::SUCCESS)
}
