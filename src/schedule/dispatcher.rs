//! The event loop of a sweep on this machine: workers in slots, one process a run, or one a device.
//!
//! Workers only report; they know nothing of each other. So a crash of one costs its run one
//! attempt, and nobody else anything but those that share its process. Nothing that goes wrong with one run ends the loop.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::board::{Board, JobResult, Verdict};
use super::device::DeviceName;
use super::events::Event;
use super::failure::{Exit, Failure, memory_kills};
use super::plan::Job;
use super::process::{Message, Worker, WorkerCommand, Workers};
use super::search::{self, Next, Search};
use crate::store::{RunDir, RunId, RunState, Store, StoreError};

/// How long a run that another process works on is left alone before it is looked at again; also the time
/// between two looks at the clocks of the workers.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Bytes that the runs on a device may take together, by their estimates; no limit on a device that is not
    /// here. A run that takes more than this by itself is started when it has the device for itself.
    pub memory: HashMap<DeviceName, u64>,
    /// The devices whose runs share a process, but those that must have the device for themselves.
    pub shared: HashSet<DeviceName>,
    /// Times a run is tried before it is given up.
    pub attempts: u32,
    /// How long a worker may give no sign of life before it is ended.
    pub stall_timeout: Option<Duration>,
    /// How long a run may take in this sweep, all attempts together.
    pub time_limit: Option<Duration>,
    /// Whether the first run that fails ends the sweep.
    pub fail_fast: bool,
}

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

/// Runs the jobs, teachers before the students that need them, and returns when all are done or
/// the user stopped the sweep. `messages` must also receive [`Message::Stop`] for Ctrl-C. A `search`
/// says which run is trained next, and how far.
///
/// # Errors
/// Where a decision of the search cannot be kept; the workers have then been stopped in good order.
pub fn dispatch(
    jobs: Vec<Job>,
    options: &Options,
    search: Option<Search>,
    sender: &Sender<Message>,
    messages: &Receiver<Message>,
    watcher: &mut dyn Watcher,
) -> Result<Vec<JobResult>, StoreError> {
    watcher.begin(&jobs, options.slots.len());
    let mut dispatcher = Dispatcher::new(jobs, options, search, sender, watcher);
    loop {
        dispatcher.start_what_can();
        if dispatcher.is_over() {
            break;
        }
        match messages.recv_timeout(PAUSE) {
            Ok(Message::Event { slot, event }) => dispatcher.on_event(slot, event),
            Ok(Message::Exited { slot, exit }) => dispatcher.on_exit(slot, &exit),
            Ok(Message::Stop) => dispatcher.on_stop(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        dispatcher.check_clocks();
    }
    dispatcher.watcher.end();
    match dispatcher.trouble {
        Some(error) => Err(error),
        None => Ok(dispatcher.board.into_results()),
    }
}

/// What happens in a slot.
struct Running {
    index: usize,
    worker: Worker,
    threads: usize,
    /// When the worker last gave a sign of life.
    alive: Instant,
    /// Whether other workers ran on the device at any time of this attempt.
    had_company: bool,
    /// See [`memory_kills`], when the worker was started.
    memory_kills: Option<u64>,
    /// Bytes that earlier attempts left in the run's log.
    log_before: u64,
    /// What the worker said of the run's end.
    ended: Option<(RunState, Option<String>)>,
    /// Whether another process has the run.
    is_locked: bool,
    /// Why the dispatcher ended the worker.
    cut: Option<Cut>,
    /// Whether the worker was asked to stop because the search gave the run up.
    is_given_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Stalled,
    TimeLimit,
}

struct Dispatcher<'a> {
    board: Board,
    slots: Vec<Option<Running>>,
    /// When each job was first started in this sweep; later by the time for which it was paused since.
    began: Vec<Option<Instant>>,
    /// Since when a job is paused.
    paused: Vec<Option<Instant>>,
    search: Option<Search>,
    /// What keeps the search from going on.
    trouble: Option<StoreError>,
    /// The jobs that were found with another process.
    elsewhere: Vec<bool>,
    stopping: bool,
    options: &'a Options,
    workers: Workers,
    watcher: &'a mut dyn Watcher,
}

impl<'a> Dispatcher<'a> {
    fn new(
        jobs: Vec<Job>,
        options: &'a Options,
        search: Option<Search>,
        sender: &Sender<Message>,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        let slots = options.slots.iter().map(|_| None).collect();
        let (began, elsewhere) = (vec![None; jobs.len()], vec![false; jobs.len()]);
        let paused = vec![None; jobs.len()];
        let board = Board::new(jobs, options.attempts);
        Self {
            board,
            slots,
            began,
            paused,
            search,
            trouble: None,
            elsewhere,
            stopping: false,
            options,
            workers: Workers::new(sender.clone()),
            watcher,
        }
    }

    fn is_over(&self) -> bool {
        self.slots.iter().all(Option::is_none) && (self.stopping || self.board.is_done())
    }

    /// Fills the free slots, and settles jobs that can never run.
    fn start_what_can(&mut self) {
        // The students of a teacher that was asked to stop are not begun.
        if self.stopping {
            return;
        }
        for (index, reason) in self.board.hopeless() {
            self.settle(index, None, RunState::Failed, Some(reason));
        }
        if self.slots.iter().all(Option::is_some) {
            return;
        }
        let mut ready = self.board.ready();
        for slot in 0..self.slots.len() {
            while !self.stopping && self.slots[slot].is_none() {
                let Some((index, until)) = self.choose(&mut ready, slot) else { break };
                self.start(index, slot, ready.len(), until);
            }
        }
    }

    /// Takes the job that a slot is to do next out of those that could be started, and says how far it goes.
    fn choose(&mut self, ready: &mut Vec<usize>, slot: usize) -> Option<(usize, Option<u64>)> {
        if self.search.is_none() {
            let place = ready.iter().position(|&index| self.fits(index, slot))?;
            return Some((ready.remove(place), None));
        }
        loop {
            let fitting: Vec<usize> = ready.iter().copied().filter(|&index| self.fits(index, slot)).collect();
            let runs: Vec<&RunId> = fitting.iter().map(|&index| self.board.job(index).id()).collect();
            match self.search.as_mut()?.next(&runs) {
                Ok(Next::Start { which, until }) => {
                    let index = *fitting.get(which)?;
                    ready.retain(|&other| other != index);
                    return Some((index, until));
                }
                Ok(Next::Stop(stopped)) => {
                    for (which, reason) in stopped {
                        let Some(&index) = fitting.get(which) else { continue };
                        ready.retain(|&other| other != index);
                        self.stop_early(index, reason);
                    }
                }
                Ok(Next::Wait) => return None,
                Err(error) => {
                    self.on_trouble(error);
                    return None;
                }
            }
        }
    }

    /// Settles a run that the search gives up.
    fn stop_early(&mut self, index: usize, mut reason: String) {
        if let Err(error) = search::record_stop(self.board.job(index), &self.options.store, &reason) {
            reason += &format!("; and this could not be recorded: {}", in_words(&error));
        }
        self.settle(index, None, RunState::Stopped, Some(reason));
    }

    /// The search cannot go on: what it decides would be lost.
    fn on_trouble(&mut self, error: StoreError) {
        self.trouble.get_or_insert(error);
        self.stop();
    }

    /// Whether a job may be started in a slot beside what runs on the same device.
    fn fits(&self, index: usize, slot: usize) -> bool {
        let mut beside = self.beside(slot).peekable();
        if beside.peek().is_none() {
            return true;
        }
        if self.board.is_alone(index) {
            return false;
        }
        let device = &self.options.slots[slot];
        let estimated = |index: usize| self.board.job(index).estimate.memory_on(device);
        let mut taken = estimated(index);
        for running in beside {
            if self.board.is_alone(running.index) {
                return false;
            }
            taken = taken.saturating_add(estimated(running.index));
        }
        self.options.memory.get(device).is_none_or(|&memory| taken <= memory)
    }

    /// What runs in the other slots of the same device.
    fn beside(&self, slot: usize) -> impl Iterator<Item = &Running> {
        let device = &self.options.slots[slot];
        let others = self.slots.iter().enumerate();
        let others = others.filter(move |(other, _)| *other != slot && self.options.slots[*other] == *device);
        others.filter_map(|(_, running)| running.as_ref())
    }

    /// Starts a job, unless another sweep has it or has done it.
    fn start(&mut self, index: usize, slot: usize, others_ready: usize, until: Option<u64>) {
        let dir = self.board.job(index).dir(&self.options.store);
        match dir.owner() {
            Ok(None) => {}
            Ok(Some(_)) => return self.postpone(index),
            Err(error) => {
                self.board.begin(index);
                return self.fail(index, slot, &Failure::Crashed(in_words(&error)), false);
            }
        }
        // Done by another sweep since the plan was made.
        if let Ok(Some(status)) = dir.status()
            && status.state.is_done()
            && self.board.job(index).state != status.state
        {
            return self.settle(index, None, status.state, status.reason);
        }
        self.board.begin(index);
        let threads = self.threads_for(others_ready);
        let job = self.board.job(index);
        let device = &self.options.slots[slot];
        let command = WorkerCommand {
            program: &self.options.program,
            store: &self.options.store,
            id: job.id(),
            device,
            threads,
            until,
        };
        let log_before = log_length(&dir);
        let is_shared = self.options.shared.contains(device) && !self.board.is_alone(index);
        let started = if is_shared {
            self.workers.start_in_host(&command, slot)
        } else {
            self.workers.start_alone(&command, slot)
        };
        match started {
            Ok(worker) => {
                let place = format!("{device}, {threads} thread{}", if threads == 1 { "" } else { "s" });
                self.watcher.started(job, slot, &place);
                self.slots[slot] = Some(Running {
                    index,
                    worker,
                    threads,
                    alive: Instant::now(),
                    had_company: false,
                    memory_kills: memory_kills(),
                    log_before,
                    ended: None,
                    is_locked: false,
                    cut: None,
                    is_given_up: false,
                });
                let began = self.began[index].get_or_insert_with(Instant::now);
                *began += self.paused[index].take().map_or(Duration::ZERO, |paused| paused.elapsed());
                self.note_company(slot);
            }
            Err(error) => self.fail(index, slot, &Failure::Crashed(in_words(&error)), false),
        }
    }

    /// Marks all workers of a slot's device as having company, where there is more than one.
    fn note_company(&mut self, slot: usize) {
        if self.beside(slot).next().is_none() {
            return;
        }
        let device = &self.options.slots[slot];
        for (running, of) in self.slots.iter_mut().zip(&self.options.slots) {
            if let Some(running) = running.as_mut().filter(|_| of == device) {
                running.had_company = true;
            }
        }
    }

    fn postpone(&mut self, index: usize) {
        self.board.postpone(index, PAUSE);
        if !std::mem::replace(&mut self.elsewhere[index], true) {
            self.watcher.elsewhere(self.board.job(index));
        }
    }

    /// Splits the free CPU threads between this job and the others that could start beside it.
    fn threads_for(&self, others_ready: usize) -> usize {
        if let Some(threads) = self.options.threads_per_worker {
            return threads;
        }
        let used: usize = self.slots.iter().flatten().map(|running| running.threads).sum();
        let free = self.options.threads.saturating_sub(used);
        let free_slots = self.slots.iter().filter(|s| s.is_none()).count();
        (free / (others_ready + 1).min(free_slots).max(1)).max(1)
    }

    fn on_event(&mut self, slot: usize, event: Event) {
        let Some(running) = &mut self.slots[slot] else { return };
        running.alive = Instant::now();
        self.watcher.event(self.board.job(running.index), slot, &event);
        match event {
            Event::Ended { state, reason } => running.ended = Some((state, reason)),
            Event::Locked => running.is_locked = true,
            Event::Metric { row, .. } => {
                let run = self.board.job(running.index).id();
                match self.search.as_mut().map(|search| search.observe(run, &row)) {
                    Some(Ok(Some(_))) => {
                        running.is_given_up = true;
                        running.worker.stop();
                    }
                    None | Some(Ok(None)) => {}
                    Some(Err(error)) => self.on_trouble(error),
                }
            }
            Event::Preparing { .. }
            | Event::Waiting { .. }
            | Event::Started { .. }
            | Event::Resumed { .. }
            | Event::Restarted { .. }
            | Event::Checkpoint { .. }
            | Event::Alive => {}
        }
    }

    fn on_exit(&mut self, slot: usize, exit: &Exit) {
        let Some(running) = self.slots[slot].take() else { return };
        let index = running.index;
        if running.is_locked {
            return self.postpone(index);
        }
        match (running.ended, running.cut) {
            (Some((RunState::Interrupted, _)) | None, Some(Cut::TimeLimit)) => {
                let limit = humantime::format_duration(self.options.time_limit.unwrap_or_default());
                let reason = format!("it took longer than {limit} (resources.time_limit)");
                self.give_up(index, Some(slot), reason);
            }
            (Some((RunState::Interrupted, _)), _) if running.is_given_up && !self.stopping => {
                self.pause(index, slot);
            }
            (Some((RunState::Paused, _)), _) => self.pause(index, slot),
            (Some((state, reason)), _) => {
                self.settle(index, Some(slot), state, reason);
                if state == RunState::Failed && self.options.fail_fast {
                    self.stop();
                }
            }
            (None, _) if self.stopping => self.settle(index, Some(slot), RunState::Interrupted, None),
            (None, cut) => {
                let failure = match (cut, self.options.stall_timeout) {
                    (Some(Cut::Stalled), Some(time)) => Failure::Stalled(time),
                    _ => {
                        let dir = self.board.job(index).dir(&self.options.store);
                        let were_killed =
                            running.memory_kills.zip(memory_kills()).is_some_and(|(a, b)| b > a);
                        let written = log_length(&dir).saturating_sub(running.log_before);
                        let log = dir.log_end(written.min(LOG_END)).unwrap_or_default();
                        Failure::of(exit, &log, were_killed)
                    }
                };
                self.fail(index, slot, &failure, running.had_company);
            }
        }
    }

    /// A run waits for what the search says about it.
    fn pause(&mut self, index: usize, slot: usize) {
        self.paused[index] = Some(Instant::now());
        self.watcher.paused(self.board.job(index), slot);
        self.board.pause(index);
        self.tell_search(index, RunState::Paused);
    }

    /// Tells the search in which state a worker left a run.
    fn tell_search(&mut self, index: usize, state: RunState) {
        let Some(search) = &mut self.search else { return };
        let job = self.board.job(index);
        if let Err(error) = search.left(job.id(), state, &job.dir(&self.options.store)) {
            self.on_trouble(error);
        }
    }

    /// An attempt came to nothing: another one, or the end of the run.
    fn fail(&mut self, index: usize, slot: usize, failure: &Failure, had_company: bool) {
        let mut reason = failure.to_string();
        match self.board.fail(index, failure, had_company) {
            Verdict::Again => {
                if self.board.is_alone(index) && had_company {
                    reason += "; it will be tried alone";
                }
                self.watcher.retried(self.board.job(index), Some(slot), &reason);
            }
            Verdict::GiveUp => self.give_up(index, Some(slot), reason),
        }
    }

    /// Settles a run as failed, and writes the failure that its worker could not write itself.
    fn give_up(&mut self, index: usize, slot: Option<usize>, mut reason: String) {
        let dir = self.board.job(index).dir(&self.options.store);
        if let Err(error) = Failure::record(&dir, &reason) {
            reason += &format!("; and this could not be recorded: {}", in_words(&error));
        }
        self.settle(index, slot, RunState::Failed, Some(reason));
        if self.options.fail_fast {
            self.stop();
        }
    }

    fn settle(&mut self, index: usize, slot: Option<usize>, state: RunState, reason: Option<String>) {
        self.watcher.ended(self.board.job(index), slot, state, reason.as_deref());
        self.board.settle(index, state, reason);
        if state.is_done() || state == RunState::Failed {
            self.tell_search(index, state);
        }
    }

    /// Ends workers that hang, and stops those whose time is up.
    fn check_clocks(&mut self) {
        for running in self.slots.iter_mut().flatten() {
            let is_silent = self.options.stall_timeout.is_some_and(|limit| running.alive.elapsed() >= limit);
            if is_silent && running.ended.is_none() && running.cut != Some(Cut::Stalled) {
                running.cut = Some(Cut::Stalled);
                running.worker.kill();
            }
            let took = self.began[running.index].map(|began| began.elapsed());
            let is_late = self.options.time_limit.zip(took).is_some_and(|(limit, took)| took >= limit);
            if is_late && running.cut.is_none() {
                running.cut = Some(Cut::TimeLimit);
                running.worker.stop();
            }
        }
    }

    /// The first request lets workers stop in good order, the second ends them at once.
    fn on_stop(&mut self) {
        if !self.stopping {
            return self.stop();
        }
        for running in self.slots.iter_mut().flatten() {
            running.worker.kill();
        }
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.watcher.stopping();
        for running in self.slots.iter_mut().flatten() {
            running.worker.stop();
        }
    }
}

/// Bytes of a log's end in which the cause of a crash is looked for.
const LOG_END: u64 = 4096;

/// Bytes in the log of a run; 0 where there is none.
fn log_length(dir: &RunDir) -> u64 {
    std::fs::metadata(dir.log_path()).map_or(0, |log| log.len())
}

/// An error with what to do about it, on one line.
fn in_words(error: &StoreError) -> String {
    match miette::Diagnostic::help(error) {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}
