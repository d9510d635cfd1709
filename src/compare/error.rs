//! What can keep two sides from being compared.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::report::ReportError;
use crate::store::StoreError;

/// Two sides could not be compared.
#[derive(Debug, Error, Diagnostic)]
pub enum CompareError {
    /// The argument names nothing that is there.
    #[error("`{argument}` is no experiment in {}, no report folder and no table of runs", store.display())]
    #[diagnostic(help("{known}; a report folder holds runs.parquet, which `kdx report` writes"))]
    NoSource {
        /// What was asked for.
        argument: String,
        /// The store that was searched.
        store: PathBuf,
        /// What there is, as a sentence.
        known: String,
    },
    /// A folder is no report.
    #[error("{} has no runs.parquet", path.display())]
    #[diagnostic(help("`kdx report EXPERIMENT --output DIR` writes one"))]
    NoReport {
        /// The folder.
        path: PathBuf,
    },
    /// A table cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    #[diagnostic(help("`kdx report EXPERIMENT` writes it again"))]
    Unreadable {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A table lacks a column.
    #[error("{side} has no column {}", quoted(missing))]
    #[diagnostic(help("{advice}"))]
    NoColumn {
        /// The side.
        side: String,
        /// The columns that are missing.
        missing: Vec<String>,
        /// A column that may be meant, or all that are there.
        advice: String,
    },
    /// Nobody says which direction of a metric is better.
    #[error("which direction of `{metric}` is better is not known")]
    #[diagnostic(help("`--better lower` or `--better higher` says it, or `better` in `[compare.metrics]`"))]
    NoDirection {
        /// The column of the runs table.
        metric: String,
    },
    /// A column that should hold numbers does not.
    #[error("column `{column}` of {side} holds {found}, not numbers")]
    #[diagnostic(help("`--metric NAME` chooses another column of the runs table"))]
    NotNumbers {
        /// The side.
        side: String,
        /// The column.
        column: String,
        /// The type that it holds.
        found: String,
    },
    /// A side has no runs.
    #[error("{side} has no runs")]
    #[diagnostic(help("`kdx sweep FILE` runs an experiment"))]
    NoRuns {
        /// The side.
        side: String,
    },
    /// Base has nothing that head could be measured by.
    #[error("{side} has no finished run with {}", quoted(metrics))]
    #[diagnostic(help("`kdx ls` shows where its runs stand; held-out figures need `data.validation`"))]
    NoFigures {
        /// The side.
        side: String,
        /// The metrics.
        metrics: Vec<String>,
    },
    /// No configuration is on both sides.
    #[error("{base} and {head} have no configuration in common")]
    #[diagnostic(help("{advice}"))]
    NothingInCommon {
        /// The base.
        base: String,
        /// The head.
        head: String,
        /// Which keys keep them apart, and what to do.
        advice: String,
    },
    /// A value of the command line makes no sense.
    #[error("{what} is {found}, expected {expected}")]
    Setting {
        /// The option.
        what: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// The store could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The runs of an experiment could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Report(#[from] ReportError),
    /// The tables could not be joined.
    #[error("cannot pair the runs: {0}")]
    Table(#[from] polars::error::PolarsError),
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
