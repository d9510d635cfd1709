//! What is left of a run that is given up.

use crate::schedule::job::Job;
use crate::schedule::worker::timestamp;
use crate::store::{FORMAT_VERSION, RunDir, RunState, RunStatus, RunSummary, Split, Store, StoreError};

/// Writes that a run is stopped, why, and how far it came. Its checkpoint stays: without the search, or with
/// another one, it goes on from there. Nothing is written about a run that another process works on.
pub(in crate::schedule) fn record_stop(job: &Job, store: &Store, reason: &str) -> Result<(), StoreError> {
    let Some(held) = job.dir(store).try_acquire()? else { return Ok(()) };
    let status = held.status()?;
    let is_known = |status: &RunStatus| {
        status.state.is_done()
            || (status.state == RunState::Stopped && status.reason.as_deref() == Some(reason))
    };
    if status.as_ref().is_some_and(is_known) {
        return Ok(());
    }
    held.write_summary(&summary(job, &held)?)?;
    let now = timestamp();
    let status = status.unwrap_or(RunStatus {
        format_version: FORMAT_VERSION,
        state: RunState::Stopped,
        attempt: 0,
        device: String::new(),
        threads: 0,
        pid: 0,
        started: now.clone(),
        updated: now.clone(),
        reason: None,
    });
    let reason = Some(reason.to_owned());
    held.write_status(&RunStatus { state: RunState::Stopped, updated: now, reason, ..status })
}

/// What the run has come to, by its checkpoint, or by its last measurement where it has none.
fn summary(job: &Job, dir: &RunDir) -> Result<RunSummary, StoreError> {
    let summary = RunSummary {
        format_version: FORMAT_VERSION,
        steps: 0,
        epochs: 0.0,
        tokens: 0,
        tokens_per_second: 0.0,
        wall_seconds: 0.0,
        parameters: job.estimate.parameters,
        teacher_parameters: job.estimate.teacher_parameters,
        validation: None,
        teacher_validation: None,
        best: None,
        skipped_records: 0,
        diverged_at: None,
        peak_memory: 0,
    };
    let rows = dir.metrics()?;
    let last = rows.iter().rfind(|row| row.split == Split::Train);
    // A checkpoint that is damaged is not used.
    let Some(state) = dir.checkpoint().state().ok().flatten() else {
        return Ok(match last {
            Some(row) => RunSummary { steps: row.step, epochs: row.epoch, tokens: row.tokens, ..summary },
            None => summary,
        });
    };
    let is_timed = state.training_seconds > 0.0;
    Ok(RunSummary {
        steps: state.step,
        epochs: rows.iter().rfind(|row| row.step <= state.step).map_or(0.0, |row| row.epoch),
        tokens: state.tokens,
        tokens_per_second: if is_timed { state.tokens as f64 / state.training_seconds } else { 0.0 },
        wall_seconds: state.wall_seconds,
        validation: state.validation,
        teacher_validation: state.teacher_validation,
        best: state.best,
        ..summary
    })
}
