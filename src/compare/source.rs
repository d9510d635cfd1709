//! Where the runs of one side come from.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use polars_io::prelude::{CsvReadOptions, ParquetReader, SerReader};

use super::error::CompareError;
use crate::report::{self, MANIFEST, Manifest, measure};
use crate::spec::CompareConfig;
use crate::spec::metric::MetricInfo;
use crate::store::Store;

/// Where the runs of one side come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An experiment in a store.
    Experiment {
        /// The store.
        store: Store,
        /// The experiment's name.
        name: String,
    },
    /// A folder that `kdx report` wrote.
    Report(PathBuf),
    /// A table of runs, Parquet or CSV.
    Table(PathBuf),
}

/// The runs of one side.
#[derive(Debug)]
pub struct Side {
    /// What messages call it.
    pub name: String,
    /// Its runs table.
    pub runs: DataFrame,
    /// Its tolerances, where they are known.
    pub compare: Option<CompareConfig>,
    /// What its runs say about metrics that are not registered, by name, where that is known.
    pub metrics: BTreeMap<String, MetricInfo>,
    /// Runs that cannot be read, with what is wrong.
    pub damaged: Vec<(String, String)>,
}

/// The runs table of a report.
const RUNS: &str = "runs.parquet";

impl Source {
    /// What `argument` names: an experiment in `store` by its name or its TOML file, a report
    /// folder, or a table of runs. A name wins over a folder of the same name; `./NAME` is always
    /// the folder.
    pub fn find(argument: &str, store: &Store) -> Result<Self, CompareError> {
        let path = Path::new(argument);
        let known = store.experiments()?;
        let experiment = |name: String| Self::Experiment { store: store.clone(), name };
        if known.iter().any(|name| name == argument) {
            return Ok(experiment(argument.to_owned()));
        }
        if path.is_dir() {
            return Ok(Self::Report(path.to_owned()));
        }
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_file() && ending != "toml" {
            return Ok(Self::Table(path.to_owned()));
        }
        let name = report::experiment_name(store, argument)?;
        if known.contains(&name) {
            return Ok(experiment(name));
        }
        Err(CompareError::NoSource {
            argument: argument.to_owned(),
            store: store.root().to_owned(),
            known: match known.as_slice() {
                [] => "nothing was swept into the store yet".to_owned(),
                names => format!("the store has: {}", names.join(", ")),
            },
        })
    }

    /// Reads the runs.
    pub fn read(&self) -> Result<Side, CompareError> {
        let side = match self {
            Self::Experiment { store, name } => {
                let (runs, collected) = report::runs_table(store, name)?;
                let damaged = collected.damaged().map(|(id, reason)| (id.0.clone(), reason.to_owned()));
                Side {
                    name: name.clone(),
                    runs,
                    damaged: damaged.collect(),
                    metrics: measure::collect_declared(&collected.runs),
                    compare: Some(collected.experiment.compare),
                }
            }
            Self::Report(folder) => {
                let table = folder.join(RUNS);
                if !table.is_file() {
                    return Err(CompareError::NoReport { path: folder.clone() });
                }
                Self::read_file(&table, folder.display().to_string())?
            }
            Self::Table(path) => Self::read_file(path, path.display().to_string())?,
        };
        if side.runs.height() == 0 {
            return Err(CompareError::NoRuns { side: side.name });
        }
        Ok(side)
    }

    /// Reads a table, with the tolerances of the manifest that lies beside it unless it was moved.
    fn read_file(path: &Path, name: String) -> Result<Side, CompareError> {
        let manifest = path.parent().map(Manifest::read).transpose()?.flatten();
        let runs = read_table(path, manifest.as_ref())?;
        let (compare, metrics) = manifest.map(|manifest| (manifest.compare, manifest.metrics)).unzip();
        Ok(Side { name, runs, compare, metrics: metrics.unwrap_or_default(), damaged: Vec::new() })
    }
}

fn read_table(path: &Path, manifest: Option<&Manifest>) -> Result<DataFrame, CompareError> {
    let unreadable = |reason: String| CompareError::Unreadable { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let frame = if is_csv {
        // Types are read off all rows: the first may be all there is of a failed run.
        let options = CsvReadOptions::default().with_infer_schema_length(None);
        options.into_reader_with_file_handle(Cursor::new(bytes)).finish()
    } else {
        // The reader trusts the sizes in a file, however damaged: what we wrote is checked first.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !manifest.is_none_or(|manifest| manifest.is_whole(name, &bytes)) {
            return Err(unreadable(format!(
                "it is not the file that the report wrote, says {MANIFEST} beside it"
            )));
        }
        ParquetReader::new(Cursor::new(bytes)).finish()
    };
    frame.map_err(|e| unreadable(e.to_string()))
}
