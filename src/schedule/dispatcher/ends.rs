//! What becomes of a run whose attempt has ended: it is settled, paused, put off or tried again.

use std::time::Duration;

use super::attempt::Cut;
use super::{Dispatcher, PAUSE};
use crate::schedule::board::Verdict;
use crate::schedule::executor::{End, Handle};
use crate::schedule::failure::{Failure, in_words};
use crate::schedule::search;
use crate::store::{RunState, StoreError};

impl Dispatcher<'_> {
    /// An attempt is over: the run is settled, paused, put off or tried again.
    pub(super) fn handle_end(&mut self, handle: Handle, end: End) {
        let Some(attempt) = self.attempts.remove(&handle) else { return };
        let index = attempt.index;
        self.trained[index].pause();
        match end {
            End::Elsewhere => self.postpone(index),
            End::NotBegun => {
                self.rows.free(index);
                self.board.postpone(index, Duration::ZERO);
            }
            End::Left(RunState::Interrupted, _) | End::Lost(_) | End::Failed { .. }
                if attempt.cut == Some(Cut::TimeLimit) =>
            {
                let limit = self.options.resources.time_limit().unwrap_or_default();
                let limit = humantime::format_duration(limit);
                self.give_up(index, format!("it took longer than {limit} (resources.time_limit)"));
            }
            End::Left(RunState::Paused, _) => self.pause(index),
            End::Left(RunState::Interrupted, _) if attempt.is_given_up && !self.stopping => self.pause(index),
            End::Left(state, reason) => {
                self.settle(index, state, reason);
                if state == RunState::Failed && self.options.fail_fast {
                    self.stop();
                }
            }
            End::Lost(_) | End::Failed { .. } if self.stopping => {
                self.settle(index, RunState::Killed, None);
            }
            End::Lost(reason) => {
                let row = self.rows.free(index);
                self.board.postpone(index, Duration::ZERO);
                self.watcher.retried(self.board.job(index), row, &reason);
            }
            End::Failed { failure, had_company } => {
                match (attempt.cut, self.options.resources.stall_timeout()) {
                    (Some(Cut::Stalled), Some(time)) => {
                        self.fail(index, &Failure::Stalled(time), had_company);
                    }
                    _ => self.fail(index, &failure, had_company),
                }
            }
        }
    }

    /// Another process has the run: it is looked at again after a while.
    pub(super) fn postpone(&mut self, index: usize) {
        self.rows.free(index);
        self.board.postpone(index, PAUSE);
        if !std::mem::replace(&mut self.elsewhere[index], true) {
            self.watcher.elsewhere(self.board.job(index));
        }
    }

    /// A run waits for what the search says about it.
    fn pause(&mut self, index: usize) {
        let row = self.rows.free(index).unwrap_or_default();
        self.watcher.paused(self.board.job(index), row);
        self.board.pause(index);
        self.tell_search(index, RunState::Paused);
    }

    /// An attempt came to nothing: another one, or the end of the run.
    pub(super) fn fail(&mut self, index: usize, failure: &Failure, had_company: bool) {
        let mut reason = failure.to_string();
        match self.board.fail(index, failure, had_company) {
            Verdict::Again => {
                if self.board.is_alone(index) && had_company {
                    reason += "; it will be tried alone";
                }
                let row = self.rows.free(index);
                self.watcher.retried(self.board.job(index), row, &reason);
            }
            Verdict::GiveUp => self.give_up(index, reason),
        }
    }

    /// Settles a run as failed, and writes the failure that its worker could not write itself.
    fn give_up(&mut self, index: usize, mut reason: String) {
        let dir = self.board.job(index).dir(&self.options.store);
        if let Err(error) = Failure::record(&dir, &reason) {
            reason += &format!("; and this could not be recorded: {}", in_words(&error));
        }
        self.settle(index, RunState::Failed, Some(reason));
        if self.options.fail_fast {
            self.stop();
        }
    }

    /// Settles a run that the search gives up.
    pub(super) fn stop_early(&mut self, index: usize, mut reason: String) {
        if let Err(error) = search::record_stop(self.board.job(index), &self.options.store, &reason) {
            reason += &format!("; and this could not be recorded: {}", in_words(&error));
        }
        self.settle(index, RunState::Stopped, Some(reason));
    }

    pub(super) fn settle(&mut self, index: usize, state: RunState, reason: Option<String>) {
        let row = self.rows.free(index);
        self.watcher.ended(self.board.job(index), row, state, reason.as_deref());
        self.board.settle(index, state, reason);
        if state.is_done() || state == RunState::Failed {
            self.tell_search(index, state);
        }
    }

    /// Tells the search in which state a worker left a run.
    fn tell_search(&mut self, index: usize, state: RunState) {
        let Some(search) = &mut self.search else { return };
        let job = self.board.job(index);
        if let Err(error) = search.left(job.id(), state, &job.dir(&self.options.store)) {
            self.fail_search(error);
        }
    }

    /// The search cannot go on: what it decides would be lost.
    pub(super) fn fail_search(&mut self, error: StoreError) {
        self.search_error.get_or_insert(error);
        self.stop();
    }
}
