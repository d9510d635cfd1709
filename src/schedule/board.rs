//! The jobs of a sweep and where each stands: which may start, which is tried again, which is done.
//!
//! It knows nothing of processes or clusters: the loop that runs the jobs, here or through Slurm, asks it
//! what can start and tells it how that went.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::job::Job;
use crate::spec::{Purpose, RunId};
use crate::store::RunState;

/// The longest wait before a run is tried again.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// How one job of a sweep ended.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// The job.
    pub job: Job,
    /// How it ended; as it was where its turn never came.
    pub state: RunState,
    /// Why it diverged or failed.
    pub reason: Option<String>,
}

#[derive(Debug)]
enum Standing {
    Waiting { not_before: Option<Instant> },
    Running,
    Done { state: RunState, reason: Option<String> },
}

#[derive(Debug)]
struct Entry {
    job: Job,
    /// The jobs of this sweep that must finish before it.
    needs: Vec<usize>,
    standing: Standing,
    /// Attempts of this sweep, the one that runs included.
    tries: u32,
    /// Whether it must have its device for itself: it ran out of memory beside others.
    alone: bool,
}

/// What becomes of a job after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It will be tried again.
    Again,
    /// It had its last attempt; the caller settles it.
    GiveUp,
}

/// The jobs of a sweep, by index, and where each stands.
#[derive(Debug)]
pub struct Board {
    entries: Vec<Entry>,
    attempts: u32,
}

impl Board {
    /// All jobs waiting. A job is tried `attempts` times at most.
    pub fn new(jobs: Vec<Job>, attempts: u32) -> Self {
        let by_id: HashMap<RunId, usize> = jobs.iter().map(|job| job.id().clone()).zip(0..).collect();
        let waiting = || Standing::Waiting { not_before: None };
        let entry = |job: Job| {
            let needs = job.record.spec.needs().into_iter().filter_map(|id| by_id.get(id).copied()).collect();
            Entry { job, needs, standing: waiting(), tries: 0, alone: false }
        };
        Self { entries: jobs.into_iter().map(entry).collect(), attempts }
    }

    /// Number of jobs.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no job.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A job.
    pub fn job(&self, index: usize) -> &Job {
        &self.entries[index].job
    }

    /// Whether a job waits for its turn, for what it needs, or for another attempt.
    pub fn is_waiting(&self, index: usize) -> bool {
        matches!(self.entries[index].standing, Standing::Waiting { .. })
    }

    /// Whether a job must have its device for itself.
    pub fn is_alone(&self, index: usize) -> bool {
        self.entries[index].alone
    }

    /// Whether every job has ended.
    pub fn is_done(&self) -> bool {
        self.entries.iter().all(|entry| matches!(entry.standing, Standing::Done { .. }))
    }

    /// The jobs that may start now, in the order in which they should; those that need a device for
    /// themselves come last.
    pub fn ready(&self) -> Vec<usize> {
        let now = Instant::now();
        let is_ready = |index: &usize| {
            let is_due = match self.entries[*index].standing {
                Standing::Waiting { not_before } => not_before.is_none_or(|time| time <= now),
                Standing::Running | Standing::Done { .. } => false,
            };
            let is_finished = |&need: &usize| {
                matches!(self.entries[need].standing, Standing::Done { state: RunState::Finished, .. })
            };
            is_due && self.entries[*index].needs.iter().all(is_finished)
        };
        let mut ready: Vec<usize> = (0..self.len()).filter(is_ready).collect();
        ready.sort_by_key(|&index| self.entries[index].alone);
        ready
    }

    /// Waiting jobs of which something that they need has ended without a model, each with the reason why it
    /// can never run. What waits for one of them follows once that is settled.
    pub fn hopeless(&self) -> Vec<(usize, String)> {
        let reason = |index: usize| {
            let entry = &self.entries[index];
            entry.needs.iter().filter(|_| self.is_waiting(index)).find_map(|&need| {
                match &self.entries[need].standing {
                    Standing::Done { state, .. } if *state != RunState::Finished => {
                        let stage = entry.job.record.spec.stage();
                        let what = stage.purpose_of(self.job(need).id()).map_or("run", Purpose::as_str);
                        Some((index, format!("its {what} {} {}", self.job(need).id(), state.as_str())))
                    }
                    _ => None,
                }
            })
        };
        (0..self.len()).filter_map(reason).collect()
    }

    /// An attempt begins.
    pub fn begin(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.standing = Standing::Running;
        entry.tries += 1;
    }

    /// The run was left at a step that was asked for: it waits, and no attempt is counted.
    pub fn pause(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.tries = 0;
        entry.standing = Standing::Waiting { not_before: None };
    }

    /// Another process has the run: it is looked at again after `pause`, and no attempt is counted.
    pub fn postpone(&mut self, index: usize, pause: Duration) {
        let entry = &mut self.entries[index];
        if matches!(entry.standing, Standing::Running) {
            entry.tries = entry.tries.saturating_sub(1);
        }
        entry.standing = Standing::Waiting { not_before: Some(Instant::now() + pause) };
    }

    /// An attempt failed in a way that another may not: it is tried again after a while, which doubles
    /// with each attempt, until it had its last one. Out of memory beside others, it is tried alone,
    /// be it its last attempt or not.
    pub fn fail(&mut self, index: usize, failure: &Failure, had_company: bool) -> Verdict {
        let entry = &mut self.entries[index];
        let gets_alone = matches!(failure, Failure::OutOfMemory(_)) && had_company && !entry.alone;
        entry.alone |= gets_alone;
        if entry.tries >= self.attempts && !gets_alone {
            return Verdict::GiveUp;
        }
        let doubled = 1u64.checked_shl(entry.tries.saturating_sub(1)).unwrap_or(u64::MAX);
        let pause = Duration::from_secs(doubled).min(LONGEST_BACK_OFF);
        entry.standing = Standing::Waiting { not_before: Some(Instant::now() + pause) };
        Verdict::Again
    }

    /// A job ended.
    pub fn settle(&mut self, index: usize, state: RunState, reason: Option<String>) {
        self.entries[index].standing = Standing::Done { state, reason };
    }

    /// How every job ended, in the order in which they came.
    pub fn into_results(self) -> Vec<JobResult> {
        let result = |Entry { job, standing, .. }| match standing {
            Standing::Done { state, reason } => JobResult { job, state, reason },
            Standing::Waiting { .. } | Standing::Running => JobResult { state: job.state, reason: None, job },
        };
        self.entries.into_iter().map(result).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::schedule::Estimate;
    use crate::schedule::job::Part;
    use crate::spec::{FORMAT_VERSION, RunConfig, RunRecord, RunSpec, Stage, TeacherConfig};

    /// A job with a made-up cost that learns from the model of another run.
    pub(in crate::schedule) fn job(id: &str, teacher: Option<&str>) -> Job {
        job_of(id, None, teacher)
    }

    /// A job that starts from one run and learns from another.
    fn job_of(id: &str, start: Option<&str>, teacher: Option<&str>) -> Job {
        let run = |id: &str| RunId(id.to_owned());
        let config = RunConfig { teacher: teacher.map(|_| TeacherConfig::default()), ..RunConfig::default() };
        Job {
            record: RunRecord {
                format_version: FORMAT_VERSION,
                run_id: run(id),
                spec: RunSpec::train(Stage::new(&config, start.map(run), teacher.map(run))),
                inputs: BTreeMap::new(),
            },
            part: Part::Point { values: BTreeMap::new(), is_baseline: false },
            state: RunState::Planned,
            attempts: 0,
            estimate: Estimate {
                parameters: 1,
                teacher_parameters: None,
                steps: 1,
                tokens: 1,
                memory: 1,
                gpu_memory: 1,
                flops: 1.0,
            },
            summary: None,
        }
    }

    fn crash() -> Failure {
        Failure::Crashed("it crashed".to_owned())
    }

    #[test]
    fn students_wait_for_their_teacher_and_fall_with_it() {
        let mut board = Board::new(vec![job("t", None), job("a", Some("t")), job("b", Some("elsewhere"))], 2);
        assert_eq!(board.ready(), [0, 2]);
        board.begin(0);
        assert_eq!(board.ready(), [2]);
        board.settle(0, RunState::Finished, None);
        assert_eq!(board.ready(), [1, 2]);
        assert_eq!(board.hopeless(), []);
        board.settle(0, RunState::Failed, None);
        assert_eq!(board.ready(), [2]);
        assert_eq!(board.hopeless(), [(1, "its teacher t failed".to_owned())]);
        board.settle(1, RunState::Failed, None);
        assert_eq!(board.hopeless(), []);
        assert!(!board.is_done());
        board.settle(2, RunState::Finished, None);
        assert!(board.is_done());
    }

    #[test]
    fn a_chain_runs_link_by_link_and_falls_from_where_it_breaks() {
        let chain =
            || vec![job("t", None), job("a", Some("t")), job_of("b", Some("a"), Some("t")), job("c", None)];
        let mut board = Board::new(chain(), 1);
        assert_eq!(board.ready(), [0, 3]);
        board.settle(0, RunState::Finished, None);
        assert_eq!(board.ready(), [1, 3], "b still waits for a");
        board.settle(1, RunState::Finished, None);
        assert_eq!(board.ready(), [2, 3]);

        let mut board = Board::new(chain(), 1);
        board.settle(0, RunState::Finished, None);
        board.settle(1, RunState::Diverged, None);
        assert_eq!(board.hopeless(), [(2, "its start a diverged".to_owned())]);
        assert_eq!(board.ready(), [3]);
    }

    #[test]
    fn a_run_has_so_many_attempts_and_a_lock_costs_none() {
        let mut board = Board::new(vec![job("a", None)], 2);
        board.begin(0);
        board.postpone(0, Duration::ZERO);
        board.begin(0);
        assert_eq!(board.fail(0, &crash(), false), Verdict::Again);
        assert!(board.ready().is_empty(), "it waits for a while");
        assert!(board.is_waiting(0));
        board.begin(0);
        assert_eq!(board.fail(0, &crash(), false), Verdict::GiveUp);
    }

    #[test]
    fn out_of_memory_beside_others_gives_one_more_attempt_alone() {
        let mut board = Board::new(vec![job("a", None), job("b", None)], 1);
        let failure = Failure::OutOfMemory("killed".to_owned());
        board.begin(0);
        assert_eq!(board.fail(0, &failure, true), Verdict::Again);
        assert!(board.is_alone(0) && !board.is_alone(1));
        board.postpone(0, Duration::ZERO);
        assert_eq!(board.ready(), [1, 0], "after those that need no device for themselves");
        board.begin(0);
        assert_eq!(board.fail(0, &failure, true), Verdict::GiveUp);
        board.begin(1);
        assert_eq!(board.fail(1, &failure, false), Verdict::GiveUp, "nobody else took its memory");
    }
}
