//! What can keep a report from being written.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::store::StoreError;

/// A report could not be written.
#[derive(Debug, Error, Diagnostic)]
pub enum ReportError {
    /// The store could not be read, or a file could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The experiment has no runs.
    #[error("experiment `{name}` has no runs")]
    #[diagnostic(help("`kdx plan FILE` shows what its file asks for; `kdx sweep FILE` runs it"))]
    NoRuns {
        /// The experiment.
        name: String,
    },
    /// The directory of the report cannot be used.
    #[error("cannot write the report to {}: {reason}", path.display())]
    #[diagnostic(help("`--output DIR` writes it elsewhere"))]
    Output {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A table could not be made.
    #[error("cannot make the tables: {0}")]
    Table(#[from] polars::error::PolarsError),
    /// A plot could not be drawn.
    #[error("cannot draw {plot}: {reason}")]
    Plot {
        /// The plot's name.
        plot: String,
        /// What the drawing library says.
        reason: String,
    },
    /// A page could not be filled in.
    #[error("cannot write the page: {0}")]
    Page(#[from] minijinja::Error),
}
