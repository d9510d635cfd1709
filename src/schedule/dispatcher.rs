//! The event loop that owns the state of a sweep: which runs wait, which run where, which are done.
//!
//! Workers only report; they know nothing of each other. So a crash of one costs its run one
//! attempt, and nobody else anything.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::device::DeviceName;
use super::events::Event;
use super::plan::Job;
use super::process::{Message, Worker, WorkerCommand, describe_exit};
use super::worker::timestamp;
use crate::store::{FORMAT_VERSION, RunId, RunState, RunStatus, Store, StoreError};

/// How long a run that another process works on is left alone before it is looked at again.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);

/// Where and how the runs of a sweep are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program to start as worker: this same binary.
    pub program: PathBuf,
    /// Where the runs are kept.
    pub store: Store,
    /// The device of each slot.
    pub slots: Vec<DeviceName>,
    /// CPU threads to split between the workers.
    pub threads: usize,
    /// CPU threads of each worker, where the user fixed them.
    pub threads_per_worker: Option<usize>,
    /// Times a run is tried before it is given up.
    pub attempts: u32,
}

/// Looks on while a sweep runs: a terminal's progress bars, plain lines, a test.
pub trait Watcher {
    /// The sweep begins with these jobs.
    fn begin(&mut self, jobs: &[Job], slots: usize);
    /// A worker was started for a job.
    fn started(&mut self, job: &Job, slot: usize, threads: usize);
    /// A worker reported.
    fn event(&mut self, job: &Job, slot: usize, event: &Event);
    /// A job failed and will be tried again.
    fn retried(&mut self, job: &Job, slot: usize, reason: &str);
    /// A job will not be run again in this sweep. `slot` is none where it never had one.
    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>);
    /// The user asked to stop; workers are stopping.
    fn stopping(&mut self);
    /// The sweep is over.
    fn end(&mut self);
}

/// How one job of a sweep ended.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// The job.
    pub job: Job,
    /// How it ended; `Planned` where its turn never came.
    pub state: RunState,
    /// Why it diverged or failed.
    pub reason: Option<String>,
}

#[derive(Debug)]
enum Progress {
    Waiting { not_before: Option<Instant>, tries: u32 },
    Running { tries: u32, ended: Option<(RunState, Option<String>)>, locked: bool },
    Done { state: RunState, reason: Option<String> },
}

/// Runs the jobs, teachers before the students that need them, and returns when all are done or
/// the user stopped the sweep. `messages` must also receive [`Message::Stop`] for Ctrl-C.
pub fn dispatch(
    jobs: Vec<Job>,
    options: &Options,
    sender: &Sender<Message>,
    messages: &Receiver<Message>,
    watcher: &mut dyn Watcher,
) -> Result<Vec<JobResult>, StoreError> {
    watcher.begin(&jobs, options.slots.len());
    let mut dispatcher = Dispatcher::new(jobs, options, sender, watcher);
    loop {
        dispatcher.start_what_can()?;
        if dispatcher.is_over() {
            break;
        }
        match messages.recv_timeout(LOCKED_PAUSE) {
            Ok(Message::Event { slot, event }) => dispatcher.on_event(slot, event),
            Ok(Message::Exited { slot, status }) => {
                let how = describe_exit(status);
                dispatcher.on_exit(slot, &how)?;
            }
            Ok(Message::Stop) => dispatcher.on_stop(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(dispatcher.finish())
}

struct Dispatcher<'a> {
    jobs: Vec<Job>,
    progress: Vec<Progress>,
    by_id: HashMap<RunId, usize>,
    /// The job and worker of each slot.
    slots: Vec<Option<(usize, Worker, usize)>>,
    stopping: bool,
    options: &'a Options,
    sender: &'a Sender<Message>,
    watcher: &'a mut dyn Watcher,
}

/// Whether a job can be started now.
enum Readiness {
    Ready,
    Later,
    Never(String),
}

impl<'a> Dispatcher<'a> {
    fn new(
        jobs: Vec<Job>,
        options: &'a Options,
        sender: &'a Sender<Message>,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        let by_id = jobs.iter().enumerate().map(|(i, job)| (job.id().clone(), i)).collect();
        let progress = jobs.iter().map(|_| Progress::Waiting { not_before: None, tries: 0 }).collect();
        let slots = options.slots.iter().map(|_| None).collect();
        Self { jobs, progress, by_id, slots, stopping: false, options, sender, watcher }
    }

    fn is_over(&self) -> bool {
        let idle = self.slots.iter().all(Option::is_none);
        let all_done = self.progress.iter().all(|p| matches!(p, Progress::Done { .. }));
        idle && (self.stopping || all_done)
    }

    fn readiness(&self, index: usize) -> Readiness {
        if let Progress::Waiting { not_before: Some(time), .. } = self.progress[index]
            && time > Instant::now()
        {
            return Readiness::Later;
        }
        let Some(teacher) = self.jobs[index].record.teacher_run.as_ref().and_then(|id| self.by_id.get(id))
        else {
            return Readiness::Ready;
        };
        match &self.progress[*teacher] {
            Progress::Done { state: RunState::Finished, .. } => Readiness::Ready,
            Progress::Done { state, .. } => {
                Readiness::Never(format!("its teacher {} {}", self.jobs[*teacher].id(), state.as_str()))
            }
            _ => Readiness::Later,
        }
    }

    /// Fills the free slots, and settles jobs that can never run.
    fn start_what_can(&mut self) -> Result<(), StoreError> {
        if self.stopping {
            return Ok(());
        }
        let mut ready = Vec::new();
        for index in 0..self.jobs.len() {
            if !matches!(self.progress[index], Progress::Waiting { .. }) {
                continue;
            }
            match self.readiness(index) {
                Readiness::Ready => ready.push(index),
                Readiness::Later => {}
                Readiness::Never(reason) => self.settle(index, None, RunState::Failed, Some(reason)),
            }
        }
        let mut ready = ready.into_iter();
        for slot in 0..self.slots.len() {
            while self.slots[slot].is_none() {
                let Some(index) = ready.next() else { return Ok(()) };
                self.start(index, slot, ready.len())?;
            }
        }
        Ok(())
    }

    /// Starts a job, unless another sweep has it or has done it.
    fn start(&mut self, index: usize, slot: usize, others_ready: usize) -> Result<(), StoreError> {
        let Progress::Waiting { tries, .. } = self.progress[index] else { return Ok(()) };
        let dir = self.jobs[index].dir(&self.options.store);
        if dir.try_lock()?.is_none() {
            let not_before = Some(Instant::now() + LOCKED_PAUSE);
            self.progress[index] = Progress::Waiting { not_before, tries };
            return Ok(());
        }
        if let Some(status) = dir.status()?
            && status.state.is_done()
            && self.jobs[index].state != status.state
        {
            self.settle(index, None, status.state, status.reason);
            return Ok(());
        }
        let threads = self.threads_for(others_ready);
        let job = &self.jobs[index];
        let worker = Worker::spawn(
            &WorkerCommand {
                program: &self.options.program,
                store: &self.options.store,
                role: job.record.role,
                id: job.id(),
                device: &self.options.slots[slot],
                threads,
            },
            slot,
            self.sender.clone(),
        )?;
        self.slots[slot] = Some((index, worker, threads));
        self.progress[index] = Progress::Running { tries: tries + 1, ended: None, locked: false };
        self.watcher.started(&self.jobs[index], slot, threads);
        Ok(())
    }

    /// Splits the free CPU threads between this job and the others that could start beside it.
    fn threads_for(&self, others_ready: usize) -> usize {
        if let Some(threads) = self.options.threads_per_worker {
            return threads;
        }
        let used: usize = self.slots.iter().flatten().map(|(_, _, threads)| threads).sum();
        let free = self.options.threads.saturating_sub(used);
        let free_slots = self.slots.iter().filter(|s| s.is_none()).count();
        (free / (others_ready + 1).min(free_slots).max(1)).max(1)
    }

    fn on_event(&mut self, slot: usize, event: Event) {
        let Some((index, ..)) = &self.slots[slot] else { return };
        self.watcher.event(&self.jobs[*index], slot, &event);
        if let Progress::Running { ended, locked, .. } = &mut self.progress[*index] {
            match event {
                Event::Ended { state, reason } => *ended = Some((state, reason)),
                Event::Locked => *locked = true,
                Event::Preparing { .. }
                | Event::Started { .. }
                | Event::Resumed { .. }
                | Event::Metric { .. } => {}
            }
        }
    }

    fn on_exit(&mut self, slot: usize, how: &str) -> Result<(), StoreError> {
        let Some((index, ..)) = self.slots[slot].take() else { return Ok(()) };
        let Progress::Running { tries, ended, locked } = &mut self.progress[index] else { return Ok(()) };
        let tries = *tries;
        if *locked {
            let not_before = Some(Instant::now() + LOCKED_PAUSE);
            self.progress[index] = Progress::Waiting { not_before, tries: tries.saturating_sub(1) };
            return Ok(());
        }
        if let Some((state, reason)) = ended.take() {
            self.settle(index, Some(slot), state, reason);
        } else if self.stopping {
            self.settle(index, Some(slot), RunState::Interrupted, None);
        } else if tries < self.options.attempts {
            self.watcher.retried(&self.jobs[index], slot, how);
            let not_before = Some(Instant::now() + Duration::from_secs(u64::from(tries)));
            self.progress[index] = Progress::Waiting { not_before, tries };
        } else {
            self.record_failure(index, how)?;
            self.settle(index, Some(slot), RunState::Failed, Some(how.to_owned()));
        }
        Ok(())
    }

    /// Writes the failure that a crashed worker could not write itself.
    fn record_failure(&self, index: usize, reason: &str) -> Result<(), StoreError> {
        let dir = self.jobs[index].dir(&self.options.store);
        let now = timestamp();
        let status = dir.status()?.unwrap_or(RunStatus {
            format_version: FORMAT_VERSION,
            state: RunState::Failed,
            attempt: 1,
            device: String::new(),
            threads: 0,
            pid: 0,
            started: now.clone(),
            updated: now.clone(),
            reason: None,
        });
        let reason = Some(reason.to_owned());
        dir.write_status(&RunStatus { state: RunState::Failed, updated: now, reason, ..status })
    }

    fn settle(&mut self, index: usize, slot: Option<usize>, state: RunState, reason: Option<String>) {
        self.watcher.ended(&self.jobs[index], slot, state, reason.as_deref());
        self.progress[index] = Progress::Done { state, reason };
    }

    /// The first request lets workers stop in good order, the second ends them at once.
    fn on_stop(&mut self) {
        let again = std::mem::replace(&mut self.stopping, true);
        if !again {
            self.watcher.stopping();
        }
        for (_, worker, _) in self.slots.iter_mut().flatten() {
            if again { worker.kill() } else { worker.stop() }
        }
    }

    fn finish(self) -> Vec<JobResult> {
        self.watcher.end();
        self.jobs
            .into_iter()
            .zip(self.progress)
            .map(|(job, progress)| match progress {
                Progress::Done { state, reason } => JobResult { job, state, reason },
                Progress::Waiting { .. } | Progress::Running { .. } => {
                    JobResult { state: job.state, reason: None, job }
                }
            })
            .collect()
    }
}
