//! Why a sweep cannot go on.

use miette::Diagnostic;
use thiserror::Error;

use super::slurm::error::SlurmError;
use crate::store::StoreError;

/// An error occurred with which a sweep cannot go on, apart from what goes wrong with single runs.
#[derive(Debug, Error, Diagnostic)]
pub enum SweepError {
    /// What the sweep decides cannot be kept.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// Slurm, or the record of what it was given.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Slurm(#[from] SlurmError),
}
