//! `kdx rm`: removes runs.

use std::collections::HashSet;
use std::process::ExitCode;

use super::{Global, text};
use crate::store::{RunDir, RunId, Store, StoreError};

/// Arguments of `kdx rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs, by their ids or the first digits of them, or experiments. Of an experiment those runs are
    /// removed that no other experiment has, the ones that its points need included.
    #[arg(required = true, value_name = "RUN|EXPERIMENT")]
    names: Vec<String>,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let experiments = store.experiments()?;
    // Every name is looked up before anything is removed.
    let mut targets = Vec::new();
    for name in &args.names {
        targets.push(if experiments.contains(name) {
            (Some(name), runs_of(&store, name, &experiments)?)
        } else {
            (None, vec![store.find_run(name)?])
        });
    }
    let mut busy = 0;
    for (experiment, runs) in targets {
        let mut kept = 0;
        for run in runs {
            let path = run.path().display();
            if args.dry_run {
                text::say!("would remove {path}");
            } else if let Some(held) = run.try_acquire()? {
                held.remove()?;
                text::say!("removed {path}");
            } else {
                text::say!("kept {path}: a worker holds it");
                kept += 1;
            }
        }
        busy += kept;
        if let Some(name) = experiment
            && kept == 0
        {
            if args.dry_run {
                text::say!("would remove the experiment {name}");
            } else {
                store.remove_experiment(name)?;
                text::say!("removed the experiment {name}");
            }
        }
    }
    Ok(if busy == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The directories of an experiment's runs that no other experiment has.
fn runs_of(store: &Store, name: &str, experiments: &[String]) -> Result<Vec<RunDir>, StoreError> {
    let mut others: HashSet<RunId> = HashSet::new();
    for other in experiments.iter().filter(|other| *other != name) {
        others.extend(store.experiment(other)?.run_ids().cloned());
    }
    let experiment = store.experiment(name)?;
    let own = experiment.run_ids().filter(|id| !others.contains(id));
    Ok(own.map(|id| store.run_dir(id)).filter(|dir| dir.path().exists()).collect())
}
