//! What workers do that are nobody's children here: on other machines, or of another sweep.
//!
//! Such a worker is only seen through its run directory. A [`Follower`] reads the directories again
//! and again, and says what changed in the words that a worker of our own would have used.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::events::Event;
use super::job::Job;
use crate::store::{MetricRow, MetricsTail, RunDir, RunState, RunStatus, Split, Store, StoreError};

/// Which attempts of a run are news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Those with a higher number than this; 0 for all.
    Attempt(u32),
    /// The one that runs now, if one does, and those after it.
    Now,
}

/// Follows runs by what stands in their directories. The keys are the caller's, as the index of a job.
#[derive(Debug, Default)]
pub struct Follower {
    runs: BTreeMap<usize, Followed>,
}

#[derive(Debug)]
struct Followed {
    dir: RunDir,
    total_steps: u64,
    parameters: u64,
    /// The newest attempt that was seen.
    attempt: u32,
    /// Whether that attempt goes on.
    is_running: bool,
    tail: MetricsTail,
    /// Whether rows were read: the first reading takes only the newest.
    has_rows: bool,
    /// When so many training tokens were done, in this attempt.
    base: Option<(SystemTime, u64)>,
    /// Whether the base is that of a row, and not of the attempt's start.
    is_measured: bool,
}

impl Follower {
    /// Follows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows a run from now on. A run that is followed already begins anew.
    ///
    /// # Errors
    /// With [`Since::Now`], where the status of the run cannot be read.
    pub fn follow(&mut self, key: usize, job: &Job, store: &Store, since: Since) -> Result<(), StoreError> {
        self.follow_dir(key, job.dir(store), (job.estimate.steps, job.estimate.parameters), since)
    }

    /// [`Self::follow`] of a run directory; `size` is the run's optimizer steps and trained parameters, for
    /// [`Event::Started`].
    ///
    /// # Errors
    /// With [`Since::Now`], where the status of the run cannot be read.
    pub fn follow_dir(
        &mut self,
        key: usize,
        dir: RunDir,
        size: (u64, u64),
        since: Since,
    ) -> Result<(), StoreError> {
        let attempt = match since {
            Since::Attempt(attempt) => attempt,
            Since::Now => match dir.status()? {
                Some(status) if dir.state()? == RunState::Running => status.attempt.saturating_sub(1),
                Some(status) => status.attempt,
                None => 0,
            },
        };
        let followed = Followed {
            tail: dir.metrics_tail(),
            dir,
            total_steps: size.0,
            parameters: size.1,
            attempt,
            is_running: false,
            has_rows: false,
            base: None,
            is_measured: false,
        };
        self.runs.insert(key, followed);
        Ok(())
    }

    /// Follows a run no longer.
    pub fn forget(&mut self, key: usize) {
        self.runs.remove(&key);
    }

    /// Whether a run is followed.
    pub fn follows(&self, key: usize) -> bool {
        self.runs.contains_key(&key)
    }

    /// What happened since the last call. Of measurements older than the first call only the newest are
    /// told. A directory that cannot be read now, as on a file server that restarts, has no news.
    pub fn poll(&mut self) -> Vec<(usize, Event)> {
        let mut events = Vec::new();
        for (&key, run) in &mut self.runs {
            if let Err(error) = run.poll(&mut |event| events.push((key, event))) {
                tracing::debug!("no news of {}: {error}", run.dir.path().display());
            }
        }
        events
    }
}

impl Followed {
    fn poll(&mut self, tell: &mut impl FnMut(Event)) -> Result<(), StoreError> {
        // Before the measurements: a worker writes its last status after its last row.
        let Some(status) = self.dir.status()? else { return Ok(()) };
        if status.attempt > self.attempt {
            self.begin(&status, tell);
        } else if status.attempt < self.attempt || !self.is_running {
            return Ok(());
        }
        let (rows, written) = self.tail.read()?;
        self.tell_rows(rows, written.unwrap_or_else(SystemTime::now), tell);
        if status.state != RunState::Running {
            self.is_running = false;
            tell(Event::Ended { state: status.state, reason: status.reason });
        }
        Ok(())
    }

    fn begin(&mut self, status: &RunStatus, tell: &mut impl FnMut(Event)) {
        self.attempt = status.attempt;
        self.is_running = true;
        self.is_measured = false;
        tell(Event::Started { total_steps: self.total_steps, parameters: self.parameters });
        // A checkpoint that is being replaced is as good as none: only the speed of the first row suffers.
        let checkpoint = self.dir.checkpoint().state().ok().flatten().filter(|_| status.attempt > 1);
        if let Some(checkpoint) = &checkpoint {
            tell(Event::Resumed { step: checkpoint.step });
        }
        let tokens = checkpoint.map_or(0, |checkpoint| checkpoint.tokens);
        self.base = self.dir.status_written().map(|time| (time, tokens));
    }

    fn tell_rows(&mut self, mut rows: Vec<MetricRow>, written: SystemTime, tell: &mut impl FnMut(Event)) {
        if !rows.is_empty() && !std::mem::replace(&mut self.has_rows, true) {
            rows = newest(rows);
        }
        let Some(tokens) = rows.iter().filter(|row| row.split == Split::Train).map(|row| row.tokens).max()
        else {
            rows.into_iter().for_each(|row| tell(Event::Metric { row, tokens_per_second: 0.0 }));
            return;
        };
        let speed = self.speed(tokens, written);
        // The attempt's start counts what is prepared before training; the first row is the better base.
        if !std::mem::replace(&mut self.is_measured, true) {
            self.base = Some((written, tokens));
        }
        rows.into_iter().for_each(|row| tell(Event::Metric { row, tokens_per_second: speed }));
    }

    /// Training tokens a second between the base and an observation.
    fn speed(&self, tokens: u64, at: SystemTime) -> f64 {
        let Some((since, before)) = self.base else { return 0.0 };
        let seconds = at.duration_since(since).map_or(0.0, |time| time.as_secs_f64());
        if seconds > 0.0 { tokens.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

/// The last training row and the last validation row, in their order.
fn newest(rows: Vec<MetricRow>) -> Vec<MetricRow> {
    let last = |split: Split| rows.iter().rposition(|row| row.split == split);
    let kept = [last(Split::Train), last(Split::Validation)];
    let is_kept = |(index, row): (usize, MetricRow)| kept.contains(&Some(index)).then_some(row);
    rows.into_iter().enumerate().filter_map(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::timestamp;
    use crate::store::{FORMAT_VERSION, HeldRun};

    fn hold(dir: &RunDir) -> HeldRun {
        dir.try_acquire().unwrap().unwrap()
    }

    fn write_status(held: &HeldRun, attempt: u32, state: RunState) {
        held.write_status(&RunStatus {
            format_version: FORMAT_VERSION,
            state,
            attempt,
            device: "cpu".into(),
            threads: 1,
            pid: 1,
            started: timestamp(),
            updated: timestamp(),
            reason: (state == RunState::Failed).then(|| "no room".into()),
        })
        .unwrap();
    }

    fn row(step: u64, split: Split) -> MetricRow {
        MetricRow {
            step,
            epoch: 0.5,
            split,
            learning_rate: None,
            loss: 1.0,
            grad_norm: None,
            tokens: 100 * step,
            values: Default::default(),
        }
    }

    fn steps(events: &[(usize, Event)]) -> Vec<u64> {
        let step = |(_, event): &(usize, Event)| match event {
            Event::Metric { row, .. } => Some(row.step),
            _ => None,
        };
        events.iter().filter_map(step).collect()
    }

    #[test]
    fn a_worker_elsewhere_is_told_of_as_one_of_our_own() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path());
        let held = hold(&dir);
        let mut follower = Follower::new();
        follower.follow_dir(7, dir.clone(), (10, 99), Since::Attempt(0)).unwrap();
        assert!(follower.poll().is_empty());

        write_status(&held, 1, RunState::Running);
        let mut writer = held.begin_metrics().unwrap();
        writer.append(&row(1, Split::Train)).unwrap();
        let events = follower.poll();
        assert_eq!(events[0], (7, Event::Started { total_steps: 10, parameters: 99 }));
        assert_eq!(steps(&events), [1]);
        assert!(follower.poll().is_empty());

        writer.append(&row(2, Split::Train)).unwrap();
        writer.append(&row(2, Split::Validation)).unwrap();
        assert_eq!(steps(&follower.poll()), [2, 2]);
        writer.append(&row(3, Split::Train)).unwrap();
        write_status(&held, 1, RunState::Failed);
        let events = follower.poll();
        assert_eq!(steps(&events), [3]);
        let ended = Event::Ended { state: RunState::Failed, reason: Some("no room".into()) };
        assert_eq!(events.last(), Some(&(7, ended)));
        assert!(follower.poll().is_empty());
    }

    #[test]
    fn what_ended_before_is_no_news_and_the_next_attempt_is() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path());
        let held = hold(&dir);
        write_status(&held, 3, RunState::Failed);
        let mut follower = Follower::new();
        follower.follow_dir(0, dir.clone(), (10, 99), Since::Now).unwrap();
        assert!(follower.poll().is_empty());
        write_status(&held, 4, RunState::Running);
        assert_eq!(follower.poll().len(), 1);
    }

    #[test]
    fn of_a_run_that_goes_on_only_the_newest_measurements_are_told() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path());
        let held = hold(&dir);
        let mut writer = held.begin_metrics().unwrap();
        for step in 1..=5 {
            writer.append(&row(step, Split::Train)).unwrap();
            if step == 4 {
                writer.append(&row(step, Split::Validation)).unwrap();
            }
        }
        write_status(&held, 2, RunState::Running);
        let mut follower = Follower::new();
        follower.follow_dir(0, dir.clone(), (10, 99), Since::Attempt(1)).unwrap();
        assert_eq!(steps(&follower.poll()), [4, 5]);
    }

    #[test]
    fn rows_that_a_resumed_worker_writes_again_are_not_told_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path());
        let held = hold(&dir);
        write_status(&held, 1, RunState::Running);
        let mut writer = held.begin_metrics().unwrap();
        writer.append(&row(1, Split::Train)).unwrap();
        let mark = writer.mark().unwrap();
        writer.append(&row(2, Split::Train)).unwrap();
        writer.append(&row(3, Split::Train)).unwrap();
        let mut follower = Follower::new();
        follower.follow_dir(0, dir.clone(), (10, 99), Since::Attempt(0)).unwrap();
        follower.poll();
        let mut writer = held.resume_metrics(&mark).unwrap();
        write_status(&held, 2, RunState::Running);
        for step in 2..=4 {
            writer.append(&row(step, Split::Train)).unwrap();
        }
        assert_eq!(steps(&follower.poll()), [4]);
    }
}
