//! A run in the hands of this process: the only way to write into a run directory.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint::MetricsMark;
use super::error::StoreError;
use super::file::{TEMPORARY, replace_directory, write_json};
use super::inspect::Inspection;
use super::lease::{Lease, LeaseTimes};
use super::leftovers::clear_away;
use super::metrics_writer::MetricsWriter;
use super::outcome::Outcome;
use super::records::{RunState, RunStatus, RunSummary};
use super::run_dir::RunDir;

/// How the names begin of directories that hold a damaged run, for whoever wants to look.
pub(super) const SET_ASIDE: &str = ".damaged-";

/// A run that this process holds, until this is dropped: it alone may write into the directory. It is read as
/// any other [`RunDir`].
///
/// Each method that writes asks first whether the lease is still there. [`StoreError::LeaseLost`] says that
/// this process stood still for so long that another one has taken the run over; nothing is written then.
///
/// ```no_run
/// # use kdx::store::{RunDir, RunStatus, StoreError};
/// fn record(dir: &RunDir, status: &RunStatus) -> Result<bool, StoreError> {
///     let Some(held) = dir.try_acquire()? else { return Ok(false) };
///     held.write_status(status)?;
///     Ok(true)
/// }
/// ```
///
/// Who does not hold a run cannot write into it:
///
/// ```compile_fail,E0599
/// # use kdx::store::{RunDir, RunStatus, StoreError};
/// fn record(dir: &RunDir, status: &RunStatus) -> Result<(), StoreError> {
///     dir.write_status(status)
/// }
/// ```
///
/// nor say that it does:
///
/// ```compile_fail,E0451
/// # use kdx::store::{HeldRun, Lease, RunDir};
/// fn pretend(dir: RunDir, lease: Lease) -> HeldRun {
///     HeldRun { dir, lease }
/// }
/// ```
///
/// nor go on writing once it has let the run go:
///
/// ```compile_fail,E0505
/// # use kdx::store::{HeldRun, MetricRow, StoreError};
/// fn append(held: HeldRun, row: &MetricRow) -> Result<(), StoreError> {
///     let mut writer = held.begin_metrics()?;
///     drop(held);
///     writer.append(row)
/// }
/// ```
#[derive(Debug)]
pub struct HeldRun {
    dir: RunDir,
    lease: Lease,
}

impl Deref for HeldRun {
    type Target = RunDir;

    fn deref(&self) -> &RunDir {
        &self.dir
    }
}

impl RunDir {
    /// Takes the lease of this run, and clears away what a killed owner left half written; none where another
    /// process holds it. Dropping what it gives, or the death of the process, lets it go.
    ///
    /// # Errors
    /// Where the directory is not there, or cannot be read or written.
    pub fn try_acquire(&self) -> Result<Option<HeldRun>, StoreError> {
        let Some(lease) = self.lease_place().try_acquire(LeaseTimes::from_env()?)? else { return Ok(None) };
        let held = HeldRun { dir: self.clone(), lease };
        clear_away(held.path())?;
        clear_away(held.checkpoint().path())?;
        // As earlier versions locked a run.
        let _ = fs::remove_file(held.path().join("lock"));
        Ok(Some(held))
    }
}

impl HeldRun {
    /// Whether this process still holds the run, see [`Lease::check`]. Every method that writes asks by
    /// itself.
    pub(super) fn check_lease(&self) -> Result<(), StoreError> {
        self.lease.check()
    }

    /// Replaces the status.
    ///
    /// # Errors
    /// Where it cannot be written, or the lease is lost.
    pub fn write_status(&self, status: &RunStatus) -> Result<(), StoreError> {
        self.check_lease()?;
        write_json(&self.status_path(), status)
    }

    /// Writes what the run came to, with the digests of its measurements and of its model.
    ///
    /// # Errors
    /// Where it cannot be written, or the lease is lost.
    pub fn write_summary(&self, summary: &RunSummary) -> Result<(), StoreError> {
        self.check_lease()?;
        let outcome = Outcome::of(summary, self.path())?;
        // Reading what the run left took its time.
        self.check_lease()?;
        outcome.write(&self.summary_path())
    }

    /// Removes what an earlier attempt came to.
    ///
    /// # Errors
    /// Where it cannot be removed, or the lease is lost.
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

    /// Writes which tensors of the model that the run starts from fitted.
    ///
    /// # Errors
    /// Where it cannot be written, or the lease is lost.
    pub fn write_load_report<T: Serialize>(&self, report: &T) -> Result<(), StoreError> {
        self.check_lease()?;
        write_json(&self.load_report_path(), report)
    }

    /// Begins the measurements anew.
    ///
    /// # Errors
    /// Where they cannot be written, or the lease is lost.
    pub fn begin_metrics(&self) -> Result<MetricsWriter<'_>, StoreError> {
        MetricsWriter::create(&self.metrics_path(), &self.lease)
    }

    /// Opens the measurements to go on after `mark`; what stands behind it is cut off.
    ///
    /// # Errors
    /// Where what stands before the mark is not what stood there, or the lease is lost; nothing is changed
    /// then.
    pub fn resume_metrics(&self, mark: &MetricsMark) -> Result<MetricsWriter<'_>, StoreError> {
        MetricsWriter::resume(&self.metrics_path(), mark, &self.lease)
    }

    /// Replaces the trained model by what `fill` writes into the empty directory that it is given.
    ///
    /// # Errors
    /// That of `fill`; or where the system refuses, or the lease is lost. The model that was there before
    /// stays then.
    pub fn save_model<E: From<StoreError>>(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.save(&self.model_dir(), fill)
    }

    /// [`HeldRun::save_model`] of the model with the lowest held-out loss so far.
    ///
    /// # Errors
    /// As there.
    pub fn save_best<E: From<StoreError>>(&self, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
        self.save(&self.best_dir(), fill)
    }

    fn save<E: From<StoreError>>(
        &self,
        target: &Path,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_lease()?;
        replace_directory(target, |building| {
            fill(building)?;
            // A large model took its time.
            Ok(self.check_lease()?)
        })
    }

    /// As [`RunDir::inspect`], but a status of `running` is that of a worker which is gone: nobody else holds
    /// the run. To be asked before anything is written.
    ///
    /// # Errors
    /// As there.
    pub fn inspect(&self) -> Result<Inspection, StoreError> {
        self.dir.inspect_with(|| Ok(RunState::Killed))
    }

    /// As [`RunDir::verify`], with what [`HeldRun::inspect`] says.
    ///
    /// # Errors
    /// As there.
    pub fn verify(&self) -> Result<Option<StoreError>, StoreError> {
        self.dir.verify_inspected(self.inspect()?)
    }

    /// Moves a damaged run out of the way, so that it begins again, and says where to; none where nothing is
    /// wrong with it (any more) by `look`: [`HeldRun::verify`], or less.
    ///
    /// # Errors
    /// Where it cannot be moved, or the lease is lost.
    pub fn set_aside(
        self,
        look: impl FnOnce(&Self) -> Result<Option<StoreError>, StoreError>,
    ) -> Result<Option<PathBuf>, StoreError> {
        if look(&self)?.is_none() {
            return Ok(None);
        }
        self.check_lease()?;
        let path = self.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut target = path.with_file_name(format!("{SET_ASIDE}{name}"));
        let mut number = 1;
        while target.exists() {
            number += 1;
            target = path.with_file_name(format!("{SET_ASIDE}{name}-{number}"));
        }
        fs::rename(path, &target).map_err(StoreError::io("move", path))?;
        Ok(Some(target))
    }

    /// Removes the run. A crash leaves it whole, or out of the way.
    ///
    /// # Errors
    /// Where it cannot be removed, or the lease is lost.
    pub fn remove(self) -> Result<(), StoreError> {
        self.check_lease()?;
        let path = self.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = path.with_file_name(format!("{TEMPORARY}removed-{name}-{}", std::process::id()));
        fs::rename(path, &doomed).map_err(StoreError::io("remove", path))?;
        fs::remove_dir_all(&doomed).map_err(StoreError::io("remove", &doomed))
    }
}

#[cfg(test)]
#[path = "held_run_tests.rs"]
mod tests;
