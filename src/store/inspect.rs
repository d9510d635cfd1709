//! What is wrong with a run directory, where something is.

use std::fs;
use std::path::PathBuf;

use super::error::StoreError;
use super::outcome::{Outcome, damaged};
use super::records::{RunState, RunSummary};
use super::run_dir::RunDir;

/// How the names begin of directories that hold a damaged run, for whoever wants to look.
pub const SET_ASIDE: &str = ".damaged-";

/// Where a run stands, as far as its directory can be believed.
#[derive(Debug)]
pub struct Inspection {
    /// Where it stands; planned where it is damaged.
    pub state: RunState,
    /// Attempts so far.
    pub attempts: u32,
    /// What it came to, where it is settled.
    pub summary: Option<RunSummary>,
    /// What is damaged: the run has to begin again.
    pub damage: Option<StoreError>,
}

impl RunDir {
    /// Where the run stands, and whether its files are there, can be read, and have the sizes that they had
    /// when it ended. Reads small files alone: see [`RunDir::verify`].
    ///
    /// # Errors
    /// Where the system refuses to read a file. That one is damaged is not an error.
    pub fn inspect(&self) -> Result<Inspection, StoreError> {
        match self.examine() {
            Err(damage) if is_damage(&damage) => {
                Ok(Inspection { state: RunState::Planned, attempts: 0, summary: None, damage: Some(damage) })
            }
            other => other,
        }
    }

    fn examine(&self) -> Result<Inspection, StoreError> {
        let sound = |state, attempts, summary| Ok(Inspection { state, attempts, summary, damage: None });
        let Some(status) = self.status()? else {
            let traces = [self.summary_path(), self.metrics_path(), self.checkpoint().path().to_owned()];
            // Asked again: a worker may have begun the run meanwhile, and writes its status first.
            if traces.iter().any(|path| path.exists()) && self.status()?.is_none() {
                return Err(damaged(&self.status_path(), "it is missing, and the run was begun"));
            }
            return sound(RunState::Planned, 0, None);
        };
        let state = match status.state {
            RunState::Running => self.state()?,
            state => state,
        };
        if !state.is_settled() {
            self.sound_record()?;
            return sound(state, status.attempt, None);
        }
        let outcome = self.outcome()?;
        let record = self.record_path();
        match outcome.files.get("run.json") {
            Some(mark) => mark.check(&record)?,
            None => self.sound_record()?,
        }
        for (name, mark) in &outcome.files {
            mark.check_length(&self.path().join(name))?;
        }
        sound(state, status.attempt, Some(outcome.summary))
    }

    /// Reads all that the run left, and compares it with what it was: what is damaged, if anything is. Of a
    /// run that is not done, its checkpoint.
    ///
    /// # Errors
    /// As [`RunDir::inspect`].
    pub fn verify(&self) -> Result<Option<StoreError>, StoreError> {
        let inspection = self.inspect()?;
        if inspection.damage.is_some() {
            return Ok(inspection.damage);
        }
        let compared = match inspection.state {
            RunState::Finished | RunState::Diverged | RunState::Stopped => {
                let outcome = self.outcome()?;
                outcome.files.iter().try_for_each(|(name, mark)| mark.check(&self.path().join(name)))
            }
            // Its worker is just replacing it.
            RunState::Running => Ok(()),
            _ => self.checkpoint().read().map(|_| ()),
        };
        match compared {
            Err(damage) if is_damage(&damage) => Ok(Some(damage)),
            Err(error) => Err(error),
            Ok(()) => Ok(None),
        }
    }

    /// Moves a damaged run out of the way, so that it begins again, and says where to; none where a worker
    /// holds it, or where nothing is wrong with it (any more) by `look`: [`RunDir::verify`], or less.
    ///
    /// # Errors
    /// Where it cannot be moved.
    pub fn set_aside(
        &self,
        look: impl FnOnce(&Self) -> Result<Option<StoreError>, StoreError>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let Some(held) = self.try_acquire()? else { return Ok(None) };
        if look(&held)?.is_none() {
            return Ok(None);
        }
        let name = self.path().file_name().unwrap_or_default().to_string_lossy();
        let mut target = self.path().with_file_name(format!("{SET_ASIDE}{name}"));
        let mut number = 1;
        while target.exists() {
            number += 1;
            target = self.path().with_file_name(format!("{SET_ASIDE}{name}-{number}"));
        }
        fs::rename(self.path(), &target).map_err(StoreError::io("move", self.path()))?;
        Ok(Some(target))
    }

    fn outcome(&self) -> Result<Outcome, StoreError> {
        let path = self.summary_path();
        Outcome::read(&path)?.ok_or_else(|| damaged(&path, "it is missing, and the run is done"))
    }

    fn sound_record(&self) -> Result<(), StoreError> {
        match self.record() {
            Err(error) if error.is_not_found() => {
                Err(damaged(&self.record_path(), "it is missing, and the run was begun"))
            }
            other => other.map(|_| ()),
        }
    }
}

fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::Version { .. })
}
