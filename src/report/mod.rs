//! Tables (Polars), plots (Plotters), HTML and Markdown pages.
//!
//! ```text
//! reports/EXPERIMENT/
//!   index.html        the page, complete in itself
//!   summary.md        the same as Markdown
//!   runs.parquet      one row a run             (and runs.csv)
//!   metrics.parquet   one row a measurement     (and metrics.csv)
//!   experiment.json   tolerances, and what the report consists of
//!   plots/            every plot as SVG and PNG
//! ```
//!
//! The same store gives the same bytes.

mod aggregate;
pub(crate) mod cell;
pub(crate) mod collect;
pub(crate) mod columns;
mod error;
mod findings;
mod flatten;
pub(crate) mod format;
pub(crate) mod grid;
mod html;
mod manifest;
pub(crate) mod markdown;
pub(crate) mod measure;
mod page;
mod page_table;
mod plots;
pub(crate) mod relevance;
pub mod statistics;
pub(crate) mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polars::prelude::DataFrame;

use crate::store::{Store, StoreError, file};

use collect::Collected;

pub use collect::experiment_name;
pub use error::ReportError;
pub use manifest::{MANIFEST, Manifest};

/// Confidence of the intervals in a report.
pub const CONFIDENCE: f64 = 0.95;

/// What was written.
#[derive(Debug)]
pub struct ReportFiles {
    /// The directory.
    pub directory: PathBuf,
    /// The page for browsers.
    pub index: PathBuf,
    /// Every file, relative to the directory.
    pub files: Vec<String>,
    /// How many runs stand where, in words that tables use.
    pub counts: Vec<(&'static str, usize)>,
    /// Runs that cannot be read, with what is wrong.
    pub damaged: Vec<(String, String)>,
}

/// Writes the report on `experiment`, a name that `store` knows, into `out`. A report that is there
/// already is replaced; files that no report wrote are left alone.
pub fn write(store: &Store, experiment: &str, out: &Path) -> Result<ReportFiles, ReportError> {
    let mut collected = Collected::read(store, experiment)?;
    // First, as it finds out which runs are damaged.
    let mut metrics = tables::metrics(&mut collected)?;
    let mut runs = tables::runs(&collected)?;

    let grid = grid::Grid::of(&runs, &collected.experiment.axes)?;
    let configurations = aggregate::configurations(&runs, &grid)?;
    let mut marginals = Vec::new();
    for axis in grid.varied() {
        marginals.push((axis.clone(), aggregate::marginals(&runs, axis, None)?));
    }
    let measures = measure::find_measures(&collected.runs);
    let evidence = findings::Evidence {
        collected: &collected,
        measures: &measures,
        grid: &grid,
        configurations: &configurations,
        marginals: &marginals,
        confidence: CONFIDENCE,
    };
    let plots = plots::draw(&plots::Data { runs: &runs, metrics: &metrics, evidence: &evidence })?;
    let page = page::Page::new(&evidence, &plots);

    let mut files = vec![
        ("runs.parquet".to_owned(), tables::parquet(&mut runs)?),
        ("metrics.parquet".to_owned(), tables::parquet(&mut metrics)?),
        ("runs.csv".to_owned(), tables::csv(&mut runs)?),
        ("metrics.csv".to_owned(), tables::csv(&mut metrics)?),
        ("index.html".to_owned(), html::render(&page)?.into_bytes()),
        ("summary.md".to_owned(), markdown::render(&page)?.into_bytes()),
    ];
    for plot in plots {
        files.push((format!("{PLOTS}/{}.svg", plot.name), plot.svg.into_bytes()));
        files.push((format!("{PLOTS}/{}.png", plot.name), plot.png));
    }
    let files = write_files(out, &collected, files)?;
    Ok(ReportFiles {
        directory: out.to_owned(),
        index: out.join("index.html"),
        files,
        counts: findings::status_counts(&collected),
        damaged: collected.damaged().map(|(id, reason)| (id.0.clone(), reason.to_owned())).collect(),
    })
}

/// The runs table of an experiment, measurements left alone: what a comparison needs.
pub(crate) fn runs_table(store: &Store, experiment: &str) -> Result<(DataFrame, Collected), ReportError> {
    let collected = Collected::read(store, experiment)?;
    Ok((tables::runs(&collected)?, collected))
}

/// The directory of the plots in a report.
const PLOTS: &str = "plots";

fn write_files(
    out: &Path,
    collected: &Collected,
    files: Vec<(String, Vec<u8>)>,
) -> Result<Vec<String>, ReportError> {
    let refused = |reason: String| ReportError::Output { path: out.to_owned(), reason };
    fs::create_dir_all(out).map_err(|e| refused(e.to_string()))?;
    // What is damaged there is no manifest of ours, and names nothing that may be removed.
    let earlier = Manifest::read(out).ok().flatten().map(|m| m.files).unwrap_or_default();
    let digests: BTreeMap<String, String> =
        files.iter().map(|(name, bytes)| (name.clone(), manifest::digest(bytes))).collect();
    let stale: BTreeMap<String, String> =
        earlier.into_iter().filter(|(name, _)| is_plot(name) && !digests.contains_key(name)).collect();
    let experiment = &collected.experiment;
    let manifest = |files: BTreeMap<String, String>| Manifest {
        metrics: measure::collect_declared(&collected.runs),
        ..Manifest::new(&experiment.name, collected.updated(), &experiment.axes, &experiment.compare, files)
    };
    // First both old and new, so that a report that is cut short can still be cleaned up.
    let both = digests.clone().into_iter().chain(stale.clone()).collect();
    let failed = |error: StoreError| refused(error.to_string());
    manifest(both).write(out).map_err(failed)?;
    for (name, bytes) in &files {
        file::write_atomic(&out.join(name), bytes).map_err(failed)?;
    }
    for name in stale.keys() {
        match fs::remove_file(out.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused(format!("cannot remove the old {name}: {error}")));
            }
            _ => {}
        }
    }
    manifest(digests).write(out).map_err(failed)?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Whether a name in a manifest can only be a plot of ours: a manifest must not lead outside.
fn is_plot(name: &str) -> bool {
    let Some(file) = name.strip_prefix(PLOTS).and_then(|rest| rest.strip_prefix('/')) else { return false };
    let is_image = file.ends_with(".svg") || file.ends_with(".png");
    is_image && !file.contains(['/', '\\']) && !file.starts_with('.')
}
