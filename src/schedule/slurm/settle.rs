//! The part of the loop that judges tasks which have ended, and settles their runs.

use std::time::Duration;

use super::dispatch::Dispatcher;
use super::error::SlurmError;
use super::task::Task;
use super::verdict::{Judgement, judge};
use crate::schedule::board::Verdict;
use crate::schedule::failure::Failure;
use crate::store::RunState;

impl Dispatcher<'_> {
    /// Judges tasks that have ended.
    pub(super) fn judge_ended(&mut self) -> Result<(), SlurmError> {
        for index in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Some(task) = self.tasks.get(&index) else { continue };
            // A directory that cannot be read now is read again.
            let evidence = task.evidence(&self.board.job(index).dir(&self.options.store));
            let Ok(Some(evidence)) = evidence else { continue };
            let exit = || self.client.exit(task.job?, task.number);
            let (slot, name, is_cut) = (task.slot, task.submission.clone(), task.is_cut);
            let judgement = judge(&evidence, exit);
            if judgement == Judgement::Wait {
                continue;
            }
            self.conclude(index, slot, is_cut, judgement)?;
            self.forget_if_over(&name)?;
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        index: usize,
        slot: Option<usize>,
        is_cut: bool,
        judgement: Judgement,
    ) -> Result<(), SlurmError> {
        let is_over = matches!(judgement, Judgement::Settle(..));
        if is_cut && !is_over {
            let limit = humantime::format_duration(self.options.time_limit.unwrap_or_default());
            return self.give_up(index, format!("it took longer than {limit} (resources.time_limit)"));
        }
        if self.stopping && !is_over {
            return self.settle(index, RunState::Interrupted, None);
        }
        let failure = match judgement {
            Judgement::Settle(state, reason) => {
                self.settle(index, state, reason)?;
                if state == RunState::Failed && self.options.fail_fast {
                    self.stop();
                }
                return Ok(());
            }
            Judgement::GoOn(reason) => {
                self.leave(index);
                self.board.postpone(index, Duration::ZERO);
                self.watcher.retried(self.board.job(index), slot, &reason);
                return Ok(());
            }
            Judgement::Elsewhere => {
                self.leave(index);
                self.postpone(index);
                return Ok(());
            }
            Judgement::Wait => return Ok(()),
            Judgement::Fail(failure) => failure,
        };
        self.fail(index, slot, &failure)
    }

    fn fail(&mut self, index: usize, slot: Option<usize>, failure: &Failure) -> Result<(), SlurmError> {
        match self.board.fail(index, failure, false) {
            Verdict::Again => {
                self.leave(index);
                self.watcher.retried(self.board.job(index), slot, &failure.to_string());
                Ok(())
            }
            Verdict::GiveUp => self.give_up(index, failure.to_string()),
        }
    }

    /// Settles a run as failed, and writes the failure that its worker could not write itself.
    fn give_up(&mut self, index: usize, reason: String) -> Result<(), SlurmError> {
        Failure::record(&self.board.job(index).dir(&self.options.store), &reason)?;
        self.settle(index, RunState::Failed, Some(reason))?;
        if self.options.fail_fast {
            self.stop();
        }
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        index: usize,
        state: RunState,
        reason: Option<String>,
    ) -> Result<(), SlurmError> {
        let task = self.leave(index);
        let slot = task.as_ref().and_then(|task| task.slot);
        self.watcher.ended(self.board.job(index), slot, state, reason.as_deref());
        self.board.settle(index, state, reason);
        task.map_or(Ok(()), |task| self.forget_if_over(&task.submission))
    }

    /// Waits for the task of a run no longer.
    fn leave(&mut self, index: usize) -> Option<Task> {
        self.follower.forget(index);
        self.tasks.remove(&index)
    }

    /// Forgets a submission none of whose tasks anybody waits for.
    pub(super) fn forget_if_over(&mut self, name: &str) -> Result<(), SlurmError> {
        if self.tasks.values().any(|task| task.submission == name) {
            return Ok(());
        }
        let Some(submission) = self.submissions.get(name) else { return Ok(()) };
        // Tasks of runs that this sweep leaves out are for the next one.
        let is_left = submission.tasks.iter().any(|task| {
            let dir = self.options.store.run_dir(&task.run);
            let is_done = dir.status().ok().flatten().is_some_and(|status| status.state.is_done());
            self.board.index_of(&task.run).is_none() && !is_done
        });
        if is_left { Ok(()) } else { Ok(self.submissions.remove(name)?) }
    }
}
