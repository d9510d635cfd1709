//! Plain lines, for logs.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::words::{
    LastEvaluations, STOPPING, describe_elsewhere, describe_ending, describe_preparing, describe_retry,
    describe_step,
};
use super::work::Work;
use crate::cli::text;
use crate::schedule::{Event, Job, Watcher};
use crate::store::{RunState, Split};

/// Prints a line to standard error. A terminal that went away is no reason to stop a sweep.
macro_rules! say {
    ($($arguments:tt)*) => {
        _ = writeln!(std::io::stderr(), $($arguments)*)
    };
}

/// Time between two plain lines of one run.
const EVERY: Duration = Duration::from_secs(10);

pub(super) struct Lines {
    name: String,
    done_before: usize,
    done: usize,
    total: usize,
    work: Work,
    totals: HashMap<usize, u64>,
    last_line: HashMap<usize, Instant>,
    evaluations: LastEvaluations,
}

impl Lines {
    pub(super) fn new(name: &str, done_before: usize) -> Self {
        Self {
            name: name.to_owned(),
            done_before,
            done: 0,
            total: 0,
            work: Work::default(),
            totals: HashMap::new(),
            last_line: HashMap::new(),
            evaluations: HashMap::new(),
        }
    }

    /// Whether it is time for another line about a slot's run; says yes once.
    fn is_due(&mut self, slot: usize) -> bool {
        let is_due = self.last_line.get(&slot).is_none_or(|last| last.elapsed() >= EVERY);
        if is_due {
            self.last_line.insert(slot, Instant::now());
        }
        is_due
    }
}

impl Watcher for Lines {
    fn begin(&mut self, jobs: &[Job], slots: usize) {
        self.total = jobs.len();
        self.work.begin(jobs);
        say!(
            "{}: {} to train{}; {} done before",
            self.name,
            text::count_jobs(jobs),
            if slots > 0 { format!(", {slots} at once") } else { String::new() },
            self.done_before,
        );
    }

    fn started(&mut self, job: &Job, slot: usize, place: &str) {
        self.last_line.insert(slot, Instant::now());
        say!("started     {}  {}  on {place}", job.id(), job.label());
    }

    fn event(&mut self, job: &Job, slot: usize, event: &Event) {
        match event {
            Event::Preparing { what, done, total } => {
                if self.is_due(slot) {
                    say!("            {}  {}", job.id(), describe_preparing(what, *done, *total));
                }
            }
            Event::Waiting { what } => {
                if self.is_due(slot) {
                    say!("            {}  waiting for {what}", job.id());
                }
            }
            Event::Started { total_steps, .. } => {
                self.totals.insert(slot, *total_steps);
            }
            Event::Resumed { step } => {
                self.work.resume(job, slot, *step);
                say!("            {}  resumed at step {step}", job.id());
            }
            Event::Restarted { reason } => say!("            {}  begins again: {reason}", job.id()),
            Event::Metric { row, tokens_per_second } => {
                self.work.step(job, slot, row.step);
                if row.split == Split::Validation {
                    self.evaluations.insert(slot, row.clone());
                    return;
                }
                let total = self.totals.get(&slot).copied().unwrap_or(job.estimate.steps);
                if self.is_due(slot) {
                    let line = describe_step(row, total, *tokens_per_second);
                    say!("            {}  {line}{}", job.id(), self.work.left());
                }
            }
            Event::Checkpoint { .. } | Event::Alive | Event::Locked | Event::Ended { .. } => {}
        }
    }

    fn elsewhere(&mut self, job: &Job) {
        say!("{}", describe_elsewhere(job));
    }

    fn retried(&mut self, job: &Job, slot: Option<usize>, reason: &str) {
        slot.inspect(|&slot| self.work.lose(slot));
        say!("{}", describe_retry(job, reason));
    }

    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>) {
        self.work.end(job, slot);
        self.done += 1;
        let last = slot.and_then(|slot| self.evaluations.remove(&slot));
        let line = describe_ending(job, state, reason, last.as_ref());
        say!("{line}  [{}/{}{}]", self.done, self.total, self.work.left());
    }

    fn paused(&mut self, job: &Job, slot: usize) {
        self.work.pause(job, slot);
        let last = self.evaluations.remove(&slot);
        say!("{}", describe_ending(job, RunState::Paused, None, last.as_ref()));
    }

    fn notice(&mut self, text: &str) {
        say!("            {text}");
    }

    fn stopping(&mut self) {
        say!("{STOPPING}");
    }

    fn end(&mut self) {}
}
