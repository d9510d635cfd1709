//! A run directory: everything that is needed to repeat, report or compare one run.
//!
//! ```text
//! run.json        what the run is                      written before the first attempt
//! status.json     where it stands                      replaced
//! metrics.jsonl   a line a measurement                 appended
//! summary.json    what it came to                      written once, at the end
//! log.txt         what its worker printed              appended
//! lease.N         held by the worker that owns it, see [`Lease`]
//! checkpoint/     where a run that is not done goes on     see [`Checkpoint`]
//! model/          the trained model, Hugging Face layout
//! best/           the model as it was when its held-out loss was lowest
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::checkpoint::{Checkpoint, MetricsMark};
use super::error::StoreError;
use super::file::{TEMPORARY, read_json, read_json_if_there, write_json, write_json_unflushed};
use super::lease::{Lease, LeasePlace, LeaseTimes, Owner};
use super::leftovers::clear_away;
use super::outcome::Outcome;
use super::records::{MetricRow, RunId, RunRecord, RunState, RunStatus, RunSummary};
use super::tail::MetricsTail;

/// How the directories begin in which models are put together.
pub const UNFINISHED_MODEL: &str = ".kdx-model-";

/// The directory of one run. Opening it reads nothing.
///
/// One that [`RunDir::try_acquire`] gives is held by this process until it and all that was made from it are
/// dropped; it writes nothing any more once its lease is lost.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    lease: Option<Arc<Lease>>,
}

impl RunDir {
    /// The run directory at `path`, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lease: None }
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

    /// Where the run goes on if it is interrupted.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::new(self.path.join("checkpoint"), self.lease.clone())
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

    pub(super) fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Creates the directory with its `run.json`. Of a run that is not done, the record is replaced by
    /// one that differs: in what is no part of a run's identity, as where its files are.
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

    /// Replaces the status.
    pub fn write_status(&self, status: &RunStatus) -> Result<(), StoreError> {
        self.check_lease()?;
        write_json(&self.status_path(), status)
    }

    /// Where the run stands, with a `running` that nobody owns any more read as interrupted.
    pub fn state(&self) -> Result<RunState, StoreError> {
        let Some(status) = self.status()? else { return Ok(RunState::Planned) };
        if status.state == RunState::Running && self.owner()?.is_none() {
            // It may have ended between the two looks.
            let status = self.status()?.unwrap_or(status);
            if status.state != RunState::Running {
                return Ok(status.state);
            }
            return Ok(RunState::Interrupted);
        }
        Ok(status.state)
    }

    /// What the run came to; none before its end.
    pub fn summary(&self) -> Result<Option<RunSummary>, StoreError> {
        Ok(Outcome::read(&self.summary_path())?.map(|outcome| outcome.summary))
    }

    /// Writes what the run came to, with the digests of its measurements and of its model.
    pub fn write_summary(&self, summary: &RunSummary) -> Result<(), StoreError> {
        self.check_lease()?;
        Outcome::write(&self.summary_path(), summary, &self.path)
    }

    /// Removes what an earlier attempt came to. Only for the holder of the lease.
    pub fn remove_summary(&self) -> Result<(), StoreError> {
        self.check_lease()?;
        let path = self.summary_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
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

    /// Begins the measurements anew.
    pub fn metrics_writer(&self) -> Result<MetricsWriter, StoreError> {
        self.check_lease()?;
        let path = self.metrics_path();
        let file = File::create(&path).map_err(StoreError::io("write", &path))?;
        Ok(MetricsWriter { path, file, bytes: 0, hasher: blake3::Hasher::new(), lease: self.lease.clone() })
    }

    /// Opens the measurements to go on after `mark`; what stands behind it is cut off.
    ///
    /// # Errors
    /// Where what stands before the mark is not what stood there; nothing is changed then.
    pub fn metrics_writer_from(&self, mark: &MetricsMark) -> Result<MetricsWriter, StoreError> {
        let path = self.metrics_path();
        let mut file =
            OpenOptions::new().read(true).append(true).open(&path).map_err(StoreError::io("write", &path))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&mut file).take(mark.bytes)).map_err(StoreError::io("read", &path))?;
        if hasher.count() != mark.bytes || *hasher.finalize().to_hex() != *mark.digest {
            let reason = format!("its first {} bytes are not those of the checkpoint", mark.bytes);
            return Err(StoreError::Damaged { path, reason });
        }
        self.check_lease()?;
        file.set_len(mark.bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", &path))?;
        Ok(MetricsWriter { path, file, bytes: mark.bytes, hasher, lease: self.lease.clone() })
    }

    /// Removes the run; false where a worker holds it. A crash leaves it whole, or out of the way.
    pub fn remove(&self) -> Result<bool, StoreError> {
        let Some(_held) = self.try_acquire()? else { return Ok(false) };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = self.path.with_file_name(format!("{TEMPORARY}removed-{name}-{}", std::process::id()));
        fs::rename(&self.path, &doomed).map_err(StoreError::io("remove", &self.path))?;
        fs::remove_dir_all(&doomed).map_err(StoreError::io("remove", &doomed))?;
        Ok(true)
    }

    /// Takes the lease of this run, and clears away what a killed owner left half written; none where another
    /// process holds it. Dropping what it gives, or the death of the process, lets it go.
    pub fn try_acquire(&self) -> Result<Option<Self>, StoreError> {
        let Some(lease) = self.lease_place().try_acquire(LeaseTimes::from_env()?)? else { return Ok(None) };
        let held = Self { path: self.path.clone(), lease: Some(Arc::new(lease)) };
        clear_away(&held.path)?;
        clear_away(held.checkpoint().path())?;
        // As earlier versions locked a run.
        let _ = fs::remove_file(held.path.join("lock"));
        Ok(Some(held))
    }

    /// Who works on the run; none where nobody does. A process of another machine that shows no sign of life
    /// for the length of its lease is gone.
    pub fn owner(&self) -> Result<Option<Owner>, StoreError> {
        self.lease_place().owner()
    }

    fn lease_place(&self) -> LeasePlace {
        LeasePlace::new(&self.path, "lease")
    }

    /// To be asked before anything is written: whether this process still holds the run. One that was opened
    /// without its lease answers yes.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] where it does not, see [`Lease::check`].
    pub fn check_lease(&self) -> Result<(), StoreError> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.check())
    }
}

/// Appends measurements, each as one whole line.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
    bytes: u64,
    hasher: blake3::Hasher,
    lease: Option<Arc<Lease>>,
}

impl MetricsWriter {
    /// Appends one line.
    ///
    /// # Errors
    /// Where it cannot be written, or where the lease of the run is lost.
    pub fn append(&mut self, row: &MetricRow) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(row)
            .map_err(|e| StoreError::Damaged { path: self.path.clone(), reason: e.to_string() })?;
        line.push(b'\n');
        self.lease.as_ref().map_or(Ok(()), |lease| lease.check())?;
        self.file.write_all(&line).map_err(StoreError::io("write", &self.path))?;
        self.bytes += line.len() as u64;
        self.hasher.update(&line);
        Ok(())
    }

    /// Flushes what was written to the disk, and says what it is.
    pub fn mark(&self) -> Result<MetricsMark, StoreError> {
        self.file.sync_all().map_err(StoreError::io("write", &self.path))?;
        Ok(MetricsMark { bytes: self.bytes, digest: self.hasher.finalize().to_hex().to_string() })
    }
}
