//! What is wrong with a run directory, where something is.

use super::error::StoreError;
use super::outcome::{Outcome, damaged};
use super::records::{RunState, RunSummary};
use super::run_dir::RunDir;

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
        self.inspect_with(|| self.state())
    }

    /// [`RunDir::inspect`], where `running` says where a run stands whose status is that of a running one.
    pub(super) fn inspect_with(
        &self,
        running: impl FnOnce() -> Result<RunState, StoreError>,
    ) -> Result<Inspection, StoreError> {
        match self.examine(running) {
            Err(damage) if is_damage(&damage) => {
                Ok(Inspection { state: RunState::Planned, attempts: 0, summary: None, damage: Some(damage) })
            }
            other => other,
        }
    }

    fn examine(
        &self,
        running: impl FnOnce() -> Result<RunState, StoreError>,
    ) -> Result<Inspection, StoreError> {
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
            RunState::Running => running()?,
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
        self.verify_inspected(self.inspect()?)
    }

    /// [`RunDir::verify`] of a run that was inspected.
    pub(super) fn verify_inspected(&self, inspection: Inspection) -> Result<Option<StoreError>, StoreError> {
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
