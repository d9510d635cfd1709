//! Who looks on while a sweep runs.

use super::events::Event;
use super::job::Job;
use crate::store::RunState;

/// Looks on while a sweep runs: a terminal's progress bars, plain lines, a program, a test.
pub trait Watcher {
    /// The sweep begins with these jobs, in so many slots; 0 where that is not known.
    fn begin(&mut self, jobs: &[Job], slots: usize);
    /// A worker was started for a job, at a place such as `cpu, 2 threads`.
    fn started(&mut self, job: &Job, slot: usize, place: &str);
    /// A worker reported.
    fn event(&mut self, job: &Job, slot: usize, event: &Event);
    /// Another process works on a job, so this sweep waits for it. Said once a job.
    fn elsewhere(&mut self, job: &Job);
    /// A job failed and will be tried again.
    fn retried(&mut self, job: &Job, slot: Option<usize>, reason: &str);
    /// A job will not be run again in this sweep. `slot` is none where it never had one.
    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>);
    /// A worker left its run where a search asked it to: the run waits for what other runs come to.
    fn paused(&mut self, job: &Job, slot: usize);
    /// Something about the sweep as a whole.
    fn notice(&mut self, text: &str);
    /// Workers are asked to stop: by the user, or after a failure.
    fn stopping(&mut self);
    /// The sweep is over.
    fn end(&mut self);
}
