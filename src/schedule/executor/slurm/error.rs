//! What can go wrong with Slurm, apart from what it says about single jobs.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::store::StoreError;

/// Why a sweep cannot go on through Slurm. Jobs that were submitted go on in any case.
#[derive(Debug, Error, Diagnostic)]
pub enum SlurmError {
    /// A command of Slurm is not on the path.
    #[error("`{program}` is not on the path")]
    #[diagnostic(help("run this where Slurm's commands are, as on a login node of the cluster"))]
    Missing {
        /// The command.
        program: String,
    },
    /// Slurm does not take the jobs, now or later.
    #[error("Slurm refuses the jobs: {reason}")]
    #[diagnostic(help(
        "change [slurm] in the experiment file, or --set slurm.KEY=VALUE; `kdx sweep FILE --executor slurm \
         --dry-run` prints the script that is submitted"
    ))]
    Refused {
        /// What `sbatch` said.
        reason: String,
    },
    /// The template makes no script.
    #[error("the template of the batch script, {}, cannot be used: {reason}", path.display())]
    #[diagnostic(help("docs/slurm.md lists what a template can use"))]
    Template {
        /// The template.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another sweep submits this experiment's jobs.
    #[error("another `kdx sweep --executor slurm` of {experiment} is running")]
    #[diagnostic(help("end it first: its jobs go on, and the next sweep comes back to them"))]
    Busy {
        /// The experiment.
        experiment: String,
    },
    /// The store.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
}
