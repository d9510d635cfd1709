//! Following a sweep from outside, by what stands in its run directories.

use std::time::{Duration, Instant};

use super::board::JobResult;
use super::events::Event;
use super::follow::{Follower, Since};
use super::job::Job;
use super::rows::Rows;
use super::watcher::Watcher;
use crate::interrupt::Interrupt;
use crate::store::{RunState, Store, StoreError};

/// Time between two looks at the run directories.
const PAUSE: Duration = Duration::from_millis(250);

/// How often workers are looked for that died without a word.
const OWNER_EVERY: Duration = Duration::from_secs(2);

/// Follows the jobs of a sweep until all are done, `stop` is asked, or no worker has run for `patience`:
/// then whoever ran the sweep has stopped it.
///
/// # Errors
/// Where the store cannot be read.
pub fn watch(
    jobs: Vec<Job>,
    store: &Store,
    patience: Duration,
    stop: &Interrupt,
    watcher: &mut dyn Watcher,
) -> Result<Vec<JobResult>, StoreError> {
    watcher.begin(&jobs, 0);
    let mut watch = Watch { jobs, store, watcher, follower: Follower::new(), rows: Rows::default() };
    for (index, job) in watch.jobs.iter().enumerate() {
        watch.follower.follow(index, job, store, Since::Now)?;
    }
    let mut ends: Vec<Option<(RunState, Option<String>)>> = vec![None; watch.jobs.len()];
    let mut busy = Instant::now();
    let mut looked = Instant::now();
    while !stop.is_asked() {
        for (index, event) in watch.follower.poll() {
            busy = Instant::now();
            if let Some(end) = watch.on_event(index, &event) {
                ends[index] = Some(end);
            }
        }
        if looked.elapsed() >= OWNER_EVERY {
            watch.look_for_dead()?;
            watch.look_for_stopped(&mut ends)?;
            looked = Instant::now();
        }
        if ends.iter().all(|end| end.as_ref().is_some_and(|(state, _)| state.is_settled())) {
            break;
        }
        if !watch.rows.is_empty() {
            busy = Instant::now();
        } else if busy.elapsed() >= patience {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    watch.watcher.end();
    let results = watch.jobs.into_iter().zip(ends);
    Ok(results
        .map(|(job, end)| match end {
            Some((state, reason)) => JobResult { job, state, reason },
            None => JobResult { state: job.state, reason: None, job },
        })
        .collect())
}

struct Watch<'a> {
    jobs: Vec<Job>,
    store: &'a Store,
    watcher: &'a mut dyn Watcher,
    follower: Follower,
    rows: Rows,
}

impl Watch<'_> {
    /// Passes on what happened; how the run ended, where it did.
    fn on_event(&mut self, index: usize, event: &Event) -> Option<(RunState, Option<String>)> {
        let job = &self.jobs[index];
        if matches!(event, Event::Started { .. }) {
            let row = self.rows.take(index);
            let status = job.dir(self.store).status().ok().flatten();
            let place = status.map_or(String::new(), |status| {
                format!(
                    "{}, {} thread{}",
                    status.device,
                    status.threads,
                    if status.threads == 1 { "" } else { "s" }
                )
            });
            self.watcher.started(job, row, &place);
        }
        let row = self.rows.of(index);
        let Event::Ended { state, reason } = event else {
            if let Some(row) = row {
                self.watcher.event(job, row, event);
            }
            return None;
        };
        self.rows.free(index);
        if state.is_done() {
            self.watcher.ended(job, row, *state, reason.as_deref());
        } else if let (RunState::Paused, Some(row)) = (state, row) {
            self.watcher.paused(job, row);
        } else {
            // Its dispatcher may try it again.
            self.watcher.retried(job, row, reason.as_deref().unwrap_or(state.as_str()));
        }
        Some((*state, reason.clone()))
    }

    /// What a search gives up was left by its worker before.
    fn look_for_stopped(
        &mut self,
        ends: &mut [Option<(RunState, Option<String>)>],
    ) -> Result<(), StoreError> {
        for (job, end) in self.jobs.iter().zip(ends) {
            if !matches!(end, Some((RunState::Paused | RunState::Interrupted, _))) {
                continue;
            }
            if let Some(status) = job.dir(self.store).status()?.filter(|s| s.state == RunState::Stopped) {
                self.watcher.ended(job, None, status.state, status.reason.as_deref());
                *end = Some((status.state, status.reason));
            }
        }
        Ok(())
    }

    /// A worker that was killed leaves the status of a running one behind.
    fn look_for_dead(&mut self) -> Result<(), StoreError> {
        for (index, row) in self.rows.all() {
            let job = &self.jobs[index];
            if job.dir(self.store).state()? == RunState::Killed {
                self.rows.free(index);
                self.watcher.retried(job, Some(row), "its worker is gone");
            }
        }
        Ok(())
    }
}
