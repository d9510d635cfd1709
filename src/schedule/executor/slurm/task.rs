//! The tasks of job arrays that a sweep waits for.

use std::time::{Duration, Instant};

use super::parse::{Ending, QueueLine, TaskState};
use super::record::{Submission, SubmittedTask};
use super::verdict::Evidence;
use crate::store::{RunDir, RunState, StoreError};

/// How long the last words of a worker may take through a shared file system.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A task that was submitted and has not been judged.
#[derive(Debug)]
pub struct Task {
    /// The name of its submission.
    pub submission: String,
    /// Its number in the array, from 1.
    pub number: u32,
    /// Slurm's number of the array; none until it is known.
    pub job: Option<u64>,
    /// The run's directory.
    pub dir: RunDir,
    /// Attempts of the run before this one.
    pub attempts_before: u32,
    /// Steps that the checkpoint held before.
    pub steps_before: u64,
    /// Where it stands, as far as Slurm has said.
    pub state: TaskState,
    /// Its node, while it runs.
    pub node: String,
    /// Whether it was said that it runs.
    pub has_started: bool,
    /// Whether its worker has left a last word: the run finished, diverged or failed.
    pub has_last_word: bool,
    /// When Slurm first said that it had ended.
    ended: Option<Instant>,
}

impl Task {
    /// The task of that number in a submission, of a run in `dir`.
    pub fn new(submission: &Submission, number: u32, task: &SubmittedTask, dir: RunDir) -> Self {
        Self {
            submission: submission.name.clone(),
            number,
            job: submission.job,
            dir,
            attempts_before: task.attempts_before,
            steps_before: task.steps_before,
            state: TaskState::Queued,
            node: String::new(),
            has_started: false,
            has_last_word: false,
            ended: None,
        }
    }

    /// Its number as Slurm's commands take it; none while the array's is not known.
    pub fn id(&self) -> Option<String> {
        Some(format!("{}_{}", self.job?, self.number))
    }

    /// Where it runs, in words.
    pub fn place(&self) -> String {
        let id = self.id().unwrap_or_else(|| self.submission.clone());
        if self.node.is_empty() { format!("slurm {id}") } else { format!("slurm {id} on {}", self.node) }
    }

    /// Takes note of what the queue says about its submission.
    pub fn update(&mut self, lines: &[QueueLine]) {
        let is_mine = |line: &&QueueLine| line.name == self.submission && line.tasks.contains(&self.number);
        match lines.iter().find(is_mine) {
            Some(line) => {
                self.job = Some(line.job);
                self.state = line.state;
                self.node.clone_from(&line.node);
            }
            None => self.state = TaskState::Ended(Ending::Forgotten),
        }
        match self.state {
            TaskState::Ended(_) => drop(self.ended.get_or_insert_with(Instant::now)),
            TaskState::Queued | TaskState::Running => self.ended = None,
        }
    }

    /// What there is to judge by, once it has ended for its worker or for Slurm.
    pub fn evidence(&self) -> Result<Option<Evidence>, StoreError> {
        let ending = match self.state {
            TaskState::Ended(ending) => ending,
            // Slurm will notice.
            TaskState::Queued | TaskState::Running if self.has_last_word => Ending::Completed,
            TaskState::Queued | TaskState::Running => return Ok(None),
        };
        let status = self.dir.status()?.filter(|status| status.attempt > self.attempts_before);
        Ok(Some(Evidence {
            ending,
            status: status.map(|status| (status.state, status.reason)),
            is_owned: self.dir.state()? == RunState::Running,
            made_progress: steps_of(&self.dir) > self.steps_before,
            is_old: self.ended.is_some_and(|ended| ended.elapsed() >= LAST_WORDS),
        }))
    }
}

/// Steps that the checkpoint of a run holds.
pub fn steps_of(dir: &RunDir) -> u64 {
    dir.checkpoint().state().ok().flatten().map_or(0, |checkpoint| checkpoint.step)
}
