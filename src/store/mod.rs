//! The one place that knows file names and formats on disk.
//!
//! ```text
//! runs/                     the store: `--store DIR` or KDX_STORE
//!   experiments/NAME.json   the newest plan of each experiment
//!   experiments/NAME.search.jsonl   what its search decided, see [`SearchLog`]
//!   students/RUN_ID/        run directories, see [`RunDir`]
//!   teachers/RUN_ID/        run directories of the teachers that kdx trained
//!   slurm/NAME/             what was submitted to Slurm for an experiment
//!   cache/                  what can be made again: tokens, teacher signals, digests
//! ```

mod checkpoint;
pub(crate) mod digest;
mod error;
pub mod file;
mod garbage;
mod inspect;
mod lease;
mod leftovers;
mod outcome;
mod records;
mod run_dir;
mod search_log;
mod tail;

use std::fs;
use std::path::{Path, PathBuf};

pub use checkpoint::{Arrays, Checkpoint, CheckpointState, MetricsMark, StepLosses};
pub use error::StoreError;
pub use garbage::{Garbage, GarbageKind};
pub use inspect::{Inspection, SET_ASIDE};
pub use lease::{Lease, LeasePlace, LeaseTimes, Owner};
pub use leftovers::{Leftover, leftovers};
pub use outcome::FileMark;
pub use records::*;
pub use run_dir::{MetricsWriter, RunDir, UNFINISHED_MODEL};
pub use search_log::{OpenSearchLog, SearchFact, SearchLine, SearchLog};
pub use tail::MetricsTail;

/// A directory of runs. Opening it reads nothing and creates nothing.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at `root`, there or not.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of a run, there or not.
    pub fn run_dir(&self, role: RunRole, id: &RunId) -> RunDir {
        RunDir::new(self.role_dir(role).join(&id.0))
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

    fn role_dir(&self, role: RunRole) -> PathBuf {
        self.root.join(match role {
            RunRole::Student => "students",
            RunRole::Teacher => "teachers",
        })
    }

    fn experiments_dir(&self) -> PathBuf {
        self.root.join("experiments")
    }

    fn experiment_path(&self, name: &str) -> PathBuf {
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
        let names = entries(&self.experiments_dir(), is_visible)?;
        Ok(names.into_iter().filter_map(|n| n.strip_suffix(".json").map(str::to_owned)).collect())
    }

    /// Ids of the runs of one role, sorted.
    pub fn run_ids(&self, role: RunRole) -> Result<Vec<RunId>, StoreError> {
        Ok(entries(&self.role_dir(role), is_visible)?.into_iter().map(RunId).collect())
    }

    /// Finds a run by the first digits of its id.
    pub fn find_run(&self, prefix: &str) -> Result<RunDir, StoreError> {
        let mut found = Vec::new();
        for role in [RunRole::Student, RunRole::Teacher] {
            let ids = self.run_ids(role)?;
            found.extend(ids.iter().filter(|id| id.0.starts_with(prefix)).map(|id| self.run_dir(role, id)));
        }
        match found.as_slice() {
            [run] if !prefix.is_empty() => Ok(run.clone()),
            _ => Err(StoreError::NoRun { id: prefix.to_owned(), root: self.root.clone() }),
        }
    }
}

fn is_visible(name: &str) -> bool {
    !name.starts_with('.')
}

/// Names in a directory, sorted; none where there is no directory.
fn entries(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StoreError> {
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
