//! `kdx verify`: reads all that runs left, and names what is damaged.

use std::process::ExitCode;

use rayon::prelude::*;

use super::{Global, text};
use crate::store::{HeldRun, RunDir, Store, StoreError};

/// Arguments of `kdx verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 where something is damaged, and was not set aside. A sweep finds by itself \
                        what is missing, cannot be read or has another size; this also reads every byte of \
                        models, metrics and checkpoints."
)]
pub struct Args {
    /// The experiment whose runs are read; all runs of the store where it is left out.
    experiment: Option<String>,
    /// Set damaged runs aside, so that the next sweep of their experiment begins them again.
    #[arg(long)]
    reset: bool,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let dirs = match &args.experiment {
        Some(name) => of_experiment(&store, name)?,
        None => all(&store)?,
    };
    let found = dirs.par_iter().map(RunDir::verify).collect::<Result<Vec<_>, _>>()?;
    let (mut damaged, mut aside) = (0, 0);
    for (dir, damage) in dirs.iter().zip(found) {
        let Some(damage) = damage else { continue };
        damaged += 1;
        text::say!("{damage}");
        if args.reset {
            let held = dir.try_acquire()?;
            match held.map(|held| held.set_aside(HeldRun::verify)).transpose()? {
                Some(Some(path)) => {
                    aside += 1;
                    text::say!("  set aside as {}", path.display());
                }
                Some(None) => text::say!("  it has begun again meanwhile"),
                None => text::say!("  left to the worker that holds it"),
            }
        }
    }
    text::say!("{} read, {damaged} damaged", text::plural(dirs.len(), "run"));
    if damaged > aside {
        let hint = "`kdx verify --reset` sets damaged runs aside; the next `kdx sweep` begins them again";
        text::say!("{hint}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The directories of an experiment's runs that are there.
fn of_experiment(store: &Store, name: &str) -> Result<Vec<RunDir>, StoreError> {
    let experiment = store.experiment(name)?;
    Ok(experiment.run_ids().map(|id| store.run_dir(id)).filter(|dir| dir.path().exists()).collect())
}

fn all(store: &Store) -> Result<Vec<RunDir>, StoreError> {
    Ok(store.run_ids()?.iter().map(|id| store.run_dir(id)).collect())
}
