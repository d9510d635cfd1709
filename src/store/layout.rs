//! A store: what is where in its directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::StoreError;
use super::file;
use super::records::ExperimentRecord;
use super::run_dir::RunDir;
use super::search_log::SearchLog;
use crate::spec::RunId;

/// A directory of runs. Opening it reads nothing and creates nothing.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// The places of runs of version 1 that are there, once they were looked for.
    earlier: OnceLock<Vec<PathBuf>>,
}

impl Store {
    /// The store at `root`, there or not.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), earlier: OnceLock::new() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a run, there or not.
    pub fn run_dir(&self, id: &RunId) -> RunDir {
        let [now, before @ ..] = self.run_places();
        // Most stores have none: a look at each run would cost more than all else that is done for it.
        let earlier =
            self.earlier.get_or_init(|| before.into_iter().filter(|place| place.exists()).collect());
        let before = earlier.iter().map(|place| place.join(&id.0)).find(|path| path.exists());
        RunDir::new(before.unwrap_or_else(|| now.join(&id.0)))
    }

    /// Makes all that was written into the store outlive a power cut.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        file::sync_all(&self.root)
    }

    /// Things that can be made again.
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What belongs to the jobs that were submitted to Slurm for an experiment.
    pub fn slurm_dir(&self, experiment: &str) -> PathBuf {
        self.root.join("slurm").join(experiment)
    }

    /// Where run directories are: first the place of new ones, then those of version 1.
    pub(super) fn run_places(&self) -> [PathBuf; 3] {
        ["runs", "students", "teachers"].map(|name| self.root.join(name))
    }

    pub(super) fn experiments_dir(&self) -> PathBuf {
        self.root.join("experiments")
    }

    pub(super) fn experiment_path(&self, name: &str) -> PathBuf {
        self.experiments_dir().join(format!("{name}.json"))
    }

    /// What the search of an experiment decided, there or not.
    pub fn search_log(&self, name: &str) -> SearchLog {
        SearchLog::new(self.experiments_dir().join(format!("{name}.search.jsonl")))
    }

    /// Replaces the plan of an experiment.
    pub fn write_experiment(&self, experiment: &ExperimentRecord) -> Result<(), StoreError> {
        file::write_json(&self.experiment_path(&experiment.name), experiment)
    }

    /// Forgets the plan of an experiment and what its search decided; its runs stay.
    pub fn remove_experiment(&self, name: &str) -> Result<(), StoreError> {
        self.search_log(name).remove()?;
        let path = self.experiment_path(name);
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))
    }

    /// The newest plan of an experiment.
    pub fn experiment(&self, name: &str) -> Result<ExperimentRecord, StoreError> {
        if let Some(experiment) = file::read_json_if_there(&self.experiment_path(name))? {
            return Ok(experiment);
        }
        let known = self.experiments()?;
        Err(StoreError::NoExperiment {
            name: name.to_owned(),
            root: self.root.clone(),
            known: if known.is_empty() {
                "nothing was swept into it yet: `kdx sweep FILE` does that".to_owned()
            } else {
                format!("it has: {}", known.join(", "))
            },
        })
    }

    /// Names of the experiments that were swept into this store, sorted.
    pub fn experiments(&self) -> Result<Vec<String>, StoreError> {
        let names = list_names(&self.experiments_dir(), is_visible)?;
        Ok(names.into_iter().filter_map(|n| n.strip_suffix(".json").map(str::to_owned)).collect())
    }

    /// Ids of all runs, sorted.
    pub fn run_ids(&self) -> Result<Vec<RunId>, StoreError> {
        let mut ids = Vec::new();
        for place in self.run_places() {
            ids.extend(list_names(&place, is_visible)?.into_iter().map(RunId));
        }
        ids.sort();
        Ok(ids)
    }

    /// Finds a run by the first digits of its id.
    pub fn find_run(&self, prefix: &str) -> Result<RunDir, StoreError> {
        let ids = self.run_ids()?;
        let mut found = ids.iter().filter(|id| id.0.starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(id), None) if !prefix.is_empty() => Ok(self.run_dir(id)),
            _ => Err(StoreError::NoRun { id: prefix.to_owned(), root: self.root.clone() }),
        }
    }
}

fn is_visible(name: &str) -> bool {
    !name.starts_with('.')
}

/// Names in a directory, sorted; none where there is no directory.
pub(super) fn list_names(
    directory: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, StoreError> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = entry.map_err(StoreError::io("read", directory))?.file_name();
        names.extend(name.to_str().filter(|name| is_wanted(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
