//! What becomes of a run whose task has ended.

use super::parse::Ending;
use crate::schedule::failure::Failure;
use crate::store::RunState;

/// What is known about an attempt that Slurm says is over.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// How Slurm saw it end.
    pub ending: Ending,
    /// What its worker, or one that came after it, left in the run directory; none where none came to that.
    pub status: Option<(RunState, Option<String>)>,
    /// Whether a worker holds the run now.
    pub is_owned: bool,
    /// Whether the checkpoint is further than before.
    pub made_progress: bool,
    /// Whether it ended long enough ago for the last words of a worker to have come through a shared file
    /// system.
    pub is_old: bool,
}

/// What becomes of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is over.
    Settle(RunState, Option<String>),
    /// It goes on in another job, and this attempt does not count: in words, why.
    GoOn(String),
    /// This attempt counts as failed.
    Fail(Failure),
    /// A worker of somebody else has it.
    Elsewhere,
    /// It is too early to tell.
    Wait,
}

/// Judges an attempt. `exit` says in words how its program ended, if that can be found out.
pub fn judge(evidence: &Evidence, exit: impl FnOnce() -> Option<String>) -> Judgement {
    let crashed = |words: &str| Judgement::Fail(Failure::Crashed(words.to_owned()));
    let go_on = |words: &str| Judgement::GoOn(words.to_owned());
    let is_stopped = match &evidence.status {
        Some((state @ (RunState::Finished | RunState::Diverged | RunState::Failed), reason)) => {
            return Judgement::Settle(*state, reason.clone());
        }
        Some((RunState::Interrupted | RunState::Paused | RunState::Stopped, _)) => true,
        Some((RunState::Running | RunState::Killed | RunState::Planned, _)) | None => false,
    };
    if !is_stopped {
        // A task that finds its run taken ends well; one that is forgotten may still run.
        if evidence.is_owned && matches!(evidence.ending, Ending::Completed | Ending::Forgotten) {
            return Judgement::Elsewhere;
        }
        if !evidence.is_old {
            return Judgement::Wait;
        }
    }
    match evidence.ending {
        Ending::Preempted => go_on("its job was preempted"),
        Ending::NodeFailed => go_on("its node failed"),
        Ending::Cancelled => crashed("its job was cancelled"),
        Ending::OutOfMemory => {
            let words = "Slurm ended its job: it took more memory than it had asked for (slurm.memory)";
            Judgement::Fail(Failure::OutOfMemory(words.to_owned()))
        }
        Ending::Timeout | Ending::Completed | Ending::Forgotten if evidence.made_progress => {
            go_on("its job ended before the run did")
        }
        Ending::Timeout => crashed("its job reached its wall limit and made no progress (slurm.time)"),
        Ending::Completed if is_stopped => {
            crashed("its worker was told to stop before it made progress (slurm.time, slurm.grace)")
        }
        Ending::Completed => crashed("its job ended without a report"),
        Ending::Forgotten => crashed("its job vanished from Slurm's queue"),
        Ending::Failed => match exit() {
            Some(words) => Judgement::Fail(Failure::Crashed(words)),
            None => crashed("its job failed without a report; its log and what Slurm said say more"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(ending: Ending, status: Option<RunState>) -> Evidence {
        let status = status.map(|state| (state, None));
        Evidence { ending, status, is_owned: false, made_progress: false, is_old: true }
    }

    fn of(evidence: &Evidence) -> Judgement {
        judge(evidence, || Some("its worker was killed (signal 9)".to_owned()))
    }

    #[test]
    fn what_the_worker_left_counts_for_more_than_what_slurm_says() {
        for ending in [Ending::NodeFailed, Ending::Cancelled, Ending::Timeout, Ending::Forgotten] {
            for state in [RunState::Finished, RunState::Diverged, RunState::Failed] {
                assert_eq!(of(&evidence(ending, Some(state))), Judgement::Settle(state, None));
            }
        }
    }

    #[test]
    fn what_is_not_the_runs_fault_costs_no_attempt() {
        for ending in [Ending::Preempted, Ending::NodeFailed] {
            for status in [None, Some(RunState::Running), Some(RunState::Interrupted)] {
                assert!(matches!(of(&evidence(ending, status)), Judgement::GoOn(_)));
            }
        }
    }

    #[test]
    fn a_wall_limit_costs_an_attempt_only_without_progress() {
        for (ending, status) in
            [(Ending::Timeout, RunState::Running), (Ending::Completed, RunState::Interrupted)]
        {
            let mut evidence = evidence(ending, Some(status));
            assert!(matches!(of(&evidence), Judgement::Fail(Failure::Crashed(_))));
            evidence.made_progress = true;
            assert!(matches!(of(&evidence), Judgement::GoOn(_)));
        }
    }

    #[test]
    fn what_was_killed_or_cancelled_costs_an_attempt() {
        let killed = of(&evidence(Ending::Failed, Some(RunState::Running)));
        assert_eq!(killed, Judgement::Fail(Failure::Crashed("its worker was killed (signal 9)".into())));
        let cancelled = of(&evidence(Ending::Cancelled, Some(RunState::Interrupted)));
        assert!(matches!(cancelled, Judgement::Fail(Failure::Crashed(_))));
        let large = of(&evidence(Ending::OutOfMemory, None));
        assert!(matches!(large, Judgement::Fail(Failure::OutOfMemory(_))));
    }

    #[test]
    fn a_task_that_found_its_run_taken_costs_nothing() {
        let mut evidence = evidence(Ending::Completed, Some(RunState::Running));
        evidence.is_owned = true;
        assert_eq!(of(&evidence), Judgement::Elsewhere);
        // A dead worker's lease may outlive it: the end that Slurm saw tells.
        evidence.ending = Ending::Failed;
        assert!(matches!(of(&evidence), Judgement::Fail(_)));
    }

    #[test]
    fn last_words_are_waited_for() {
        for ending in [Ending::Completed, Ending::Failed, Ending::NodeFailed] {
            let early = Evidence { is_old: false, ..evidence(ending, Some(RunState::Running)) };
            assert_eq!(of(&early), Judgement::Wait);
        }
        let early = Evidence { is_old: false, ..evidence(Ending::Completed, Some(RunState::Finished)) };
        assert_eq!(of(&early), Judgement::Settle(RunState::Finished, None));
    }
}
