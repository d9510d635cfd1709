//! A run directory: everything that is needed to repeat, report or compare one run.
//!
//! ```text
//! run.json        what the run is                      written before the first attempt
//! status.json     where it stands                      replaced
//! metrics.jsonl   a line a measurement                 appended
//! summary.json    what it came to                      written once, at the end
//! load_report.json   which tensors of its start fitted    written where it starts from a directory
//! log.txt         what its worker printed              appended
//! lease.N         held by the worker that owns it, see [`Lease`]
//! checkpoint/     where a run that is not done goes on     see [`Checkpoint`]
//! model/          the trained model, Hugging Face layout
//! best/           the model as it was when its held-out loss was lowest
//! ```

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::checkpoint::Checkpoint;
use super::error::StoreError;
use super::file::{read_json, read_json_if_there, write_json_unflushed};
use super::lease::{LeasePlace, Owner};
use super::measured::MetricRow;
use super::outcome::Outcome;
use super::records::{RunId, RunRecord, RunState, RunStatus, RunSummary};
use super::tail::MetricsTail;

/// The directory of one run, to be read. Opening it reads nothing.
///
/// Who writes into it holds it: see [`HeldRun`](super::HeldRun), which
/// [`RunDir::try_acquire`](RunDir::try_acquire) gives.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The run directory at `path`, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run that the directory is named after.
    pub fn id(&self) -> Option<RunId> {
        self.path.file_name().map(|name| RunId(name.to_string_lossy().into_owned()))
    }

    /// The trained model, as a Hugging Face directory.
    pub fn model_dir(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The model with the lowest held-out loss of those that were measured, as a Hugging Face directory; see
    /// [`RunSummary::best`].
    pub fn best_dir(&self) -> PathBuf {
        self.path.join("best")
    }

    /// Where the run goes on if it is interrupted or killed.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.path.join("checkpoint"))
    }

    /// What the worker printed.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// The last `bytes` of what the worker printed; empty where it printed nothing.
    pub fn log_end(&self, bytes: u64) -> Result<String, StoreError> {
        let path = self.log_path();
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(end)
        };
        match read() {
            Ok(end) => Ok(String::from_utf8_lossy(&end).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    pub(super) fn record_path(&self) -> PathBuf {
        self.path.join("run.json")
    }

    pub(super) fn status_path(&self) -> PathBuf {
        self.path.join("status.json")
    }

    pub(super) fn summary_path(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    pub(super) fn load_report_path(&self) -> PathBuf {
        self.path.join("load_report.json")
    }

    pub(super) fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Creates the directory with its `run.json`. Of a run that is not done, the record is replaced by
    /// one that differs: in what is no part of a run's identity, as where its files are.
    ///
    /// The one thing that is written without holding the run: a plan writes thousands, before any worker has
    /// come to them, and a lease of each would cost more than the file. It harms nobody who holds the run: a
    /// worker reads the record once, at its start, and finds the old one or the new one whole.
    ///
    /// Nothing is flushed: of a run that is not done the record can be written again. See
    /// [`Store::flush`](super::Store::flush).
    pub fn create(&self, record: &RunRecord) -> Result<(), StoreError> {
        let is_done = || self.status().ok().flatten().is_some_and(|status| status.state.is_done());
        if self.record_path().exists() && (is_done() || self.record().ok().as_ref() == Some(record)) {
            return Ok(());
        }
        write_json_unflushed(&self.record_path(), record)
    }

    /// What the run is.
    pub fn record(&self) -> Result<RunRecord, StoreError> {
        read_json(&self.record_path())
    }

    /// Where the run stands; none before its first attempt.
    pub fn status(&self) -> Result<Option<RunStatus>, StoreError> {
        read_json_if_there(&self.status_path())
    }

    /// Where the run stands, with a `running` that nobody owns any more read as killed.
    pub fn state(&self) -> Result<RunState, StoreError> {
        let Some(status) = self.status()? else { return Ok(RunState::Planned) };
        if status.state == RunState::Running && self.owner()?.is_none() {
            // It may have ended between the two looks.
            let status = self.status()?.unwrap_or(status);
            if status.state != RunState::Running {
                return Ok(status.state);
            }
            return Ok(RunState::Killed);
        }
        Ok(status.state)
    }

    /// What the run came to; none before its end.
    pub fn summary(&self) -> Result<Option<RunSummary>, StoreError> {
        Ok(Outcome::read(&self.summary_path())?.map(|outcome| outcome.summary))
    }

    /// The measurements so far. A last line that a crash cut short is left out.
    ///
    /// # Errors
    /// Where they are not what the program wrote, or, of a run that ended, not what they were then.
    pub fn metrics(&self) -> Result<Vec<MetricRow>, StoreError> {
        let path = self.metrics_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        if let Some(mark) =
            Outcome::read(&self.summary_path())?.and_then(|mut o| o.files.remove("metrics.jsonl"))
        {
            mark.check_content(&path, text.as_bytes())?;
        }
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|e| StoreError::Damaged {
                    path: path.clone(),
                    reason: format!("line {}: {e}", index + 1),
                })
            })
            .collect()
    }

    /// The measurements as they are appended, for one who looks on.
    pub fn metrics_tail(&self) -> MetricsTail {
        MetricsTail::new(self.metrics_path())
    }

    /// When the status was last replaced, by the clock of the file system.
    pub fn status_written(&self) -> Option<SystemTime> {
        fs::metadata(self.status_path()).and_then(|metadata| metadata.modified()).ok()
    }

    /// Who works on the run; none where nobody does. A process of another machine that shows no sign of life
    /// for the length of its lease is gone.
    pub fn owner(&self) -> Result<Option<Owner>, StoreError> {
        self.lease_place().owner()
    }

    pub(super) fn lease_place(&self) -> LeasePlace {
        LeasePlace::new(&self.path, "lease")
    }
}
