//! The event loop of a sweep, wherever its runs are trained.
//!
//! The dispatcher owns all state: the board, the search, attempts, clocks, requests to stop. An [`Executor`]
//! starts attempts, reports on them and stops them. So a crash of a worker costs its run one attempt, and
//! nobody else anything but those that share its process. Nothing that goes wrong with one run ends the loop.

mod attempt;
mod ends;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use self::attempt::{Attempt, Cut, TrainingTime};
use super::board::{Board, JobResult};
use super::events::Event;
use super::executor::error::SweepError;
use super::executor::{AtInterrupt, Executor, Handle, Message, Report, Request, Stop, Update};
use super::failure::{Failure, in_words};
use super::job::Job;
use super::rows::Rows;
use super::search::{Next, Search};
use super::watcher::Watcher;
use crate::spec::{ResourcesConfig, RunId};
use crate::store::{RunState, Store, StoreError};

/// How long a run that another process works on is left alone before it is looked at again; also the time
/// between two looks at the clocks of the workers.
const PAUSE: Duration = Duration::from_secs(1);

/// What holds for all runs of a sweep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the runs are kept.
    pub store: Store,
    /// Attempts, time limits, and what executors honour of the rest.
    pub resources: ResourcesConfig,
    /// Whether the first run that fails ends the sweep.
    pub fail_fast: bool,
}

/// How a sweep ended.
#[derive(Debug)]
pub struct Outcome {
    /// How every job ended.
    pub results: Vec<JobResult>,
    /// What goes on without the sweep, by the names that its executor gives it.
    pub left: Vec<String>,
}

/// Runs the jobs, each after those that it needs, and returns when all are done or
/// the user stopped the sweep. `messages` must also receive [`Message::Stop`] for Ctrl-C. A `search`
/// says which run is trained next, and how far.
///
/// # Errors
/// Where a decision of the search cannot be kept, the workers having been stopped in good order; or where the
/// executor cannot go on.
pub fn dispatch(
    jobs: Vec<Job>,
    options: &Options,
    executor: &mut dyn Executor,
    search: Option<Search>,
    messages: &Receiver<Message>,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, SweepError> {
    watcher.begin(&jobs, executor.slots(jobs.len()));
    for ignored in executor.ignored_keys(&options.resources) {
        watcher.notice(&format!("warning: {ignored}"));
    }
    let adopted = executor.adopt(&jobs);
    let mut dispatcher = Dispatcher::new(jobs, options, executor, search, watcher);
    let left = adopted.and_then(|adopted| dispatcher.run(adopted, messages));
    dispatcher.watcher.end();
    match (left?, dispatcher.search_error) {
        (_, Some(error)) => Err(error.into()),
        (left, None) => Ok(Outcome { results: dispatcher.board.into_results(), left }),
    }
}

struct Dispatcher<'a> {
    board: Board,
    /// The attempts under way.
    attempts: BTreeMap<Handle, Attempt>,
    /// How long each job was trained in this sweep.
    trained: Vec<TrainingTime>,
    rows: Rows,
    search: Option<Search>,
    /// What keeps the search from going on.
    search_error: Option<StoreError>,
    /// The jobs that were found with another process.
    elsewhere: Vec<bool>,
    stopping: bool,
    options: &'a Options,
    executor: &'a mut dyn Executor,
    watcher: &'a mut dyn Watcher,
}

impl<'a> Dispatcher<'a> {
    fn new(
        jobs: Vec<Job>,
        options: &'a Options,
        executor: &'a mut dyn Executor,
        search: Option<Search>,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        let (trained, elsewhere) = (vec![TrainingTime::default(); jobs.len()], vec![false; jobs.len()]);
        Self {
            board: Board::new(jobs, options.resources.attempts),
            attempts: BTreeMap::new(),
            trained,
            rows: Rows::default(),
            search,
            search_error: None,
            elsewhere,
            stopping: false,
            options,
            executor,
            watcher,
        }
    }

    /// Runs the jobs, of which some are under way already; what goes on without the sweep.
    fn run(
        &mut self,
        adopted: Vec<(usize, Handle)>,
        messages: &Receiver<Message>,
    ) -> Result<Vec<String>, SweepError> {
        for (index, handle) in adopted {
            self.board.begin(index);
            self.attempts.insert(handle, Attempt::new(index));
        }
        loop {
            self.start_ready();
            let updates = self.executor.poll()?;
            let is_quiet = updates.is_empty();
            updates.into_iter().for_each(|update| self.handle_update(update));
            self.check_clocks();
            if self.attempts.is_empty() && (self.stopping || self.board.is_done()) {
                return Ok(Vec::new());
            }
            // What ended has made room.
            let pause = if is_quiet { PAUSE } else { Duration::ZERO };
            let mut message = match messages.recv_timeout(pause) {
                Ok(message) => Ok(message),
                Err(RecvTimeoutError::Timeout) => Err(TryRecvError::Empty),
                Err(RecvTimeoutError::Disconnected) => Err(TryRecvError::Disconnected),
            };
            while message != Err(TryRecvError::Empty) {
                let goes_on = match message {
                    Ok(Message::News) => true,
                    Ok(Message::Stop) => self.handle_interrupt(),
                    Err(_) => false,
                };
                if !goes_on {
                    return Ok(self.executor.leave());
                }
                message = messages.try_recv();
            }
        }
    }

    /// Starts what is ready and fits, and settles jobs that can never run.
    fn start_ready(&mut self) {
        // The students of a teacher that was asked to stop are not begun.
        if self.stopping {
            return;
        }
        loop {
            let hopeless = self.board.hopeless();
            if hopeless.is_empty() {
                break;
            }
            for (index, reason) in hopeless {
                self.settle(index, RunState::Failed, Some(reason));
            }
        }
        if self.executor.capacity() == 0 {
            return;
        }
        let mut ready = self.board.ready();
        while !self.stopping && self.executor.capacity() > 0 {
            let Some((index, until)) = self.choose(&mut ready) else { break };
            self.start(index, ready.len(), until);
        }
    }

    /// Takes the job that is started next out of those that are ready, and says how far it goes.
    fn choose(&mut self, ready: &mut Vec<usize>) -> Option<(usize, Option<u64>)> {
        if self.search.is_none() {
            let place = ready.iter().position(|&index| self.fits(index))?;
            return Some((ready.remove(place), None));
        }
        loop {
            let fitting: Vec<usize> = ready.iter().copied().filter(|&index| self.fits(index)).collect();
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
                    self.fail_search(error);
                    return None;
                }
            }
        }
    }

    fn fits(&self, index: usize) -> bool {
        self.executor.fits(self.board.job(index), self.board.is_alone(index))
    }

    /// Starts a job, unless another sweep has it or has done it.
    fn start(&mut self, index: usize, others_ready: usize, until: Option<u64>) {
        let job = self.board.job(index);
        let dir = job.dir(&self.options.store);
        match dir.owner() {
            Ok(None) => {}
            Ok(Some(_)) => return self.postpone(index),
            Err(error) => {
                self.board.begin(index);
                return self.fail(index, &Failure::Crashed(in_words(&error)), false);
            }
        }
        // Done by another sweep since the plan was made.
        if let Ok(Some(status)) = dir.status()
            && status.state.is_done()
            && job.state != status.state
        {
            return self.settle(index, status.state, status.reason);
        }
        self.board.begin(index);
        let (job, is_alone) = (self.board.job(index), self.board.is_alone(index));
        match self.executor.start(&Request { job, is_alone, until, others_ready }) {
            Ok(handle) => drop(self.attempts.insert(handle, Attempt::new(index))),
            Err(failure) => self.fail(index, &failure, false),
        }
    }

    fn handle_update(&mut self, update: Update) {
        let (handle, report) = match update {
            Update::Notice(text) => return self.watcher.notice(&text),
            Update::Attempt(handle, report) => (handle, report),
        };
        let Some(attempt) = self.attempts.get_mut(&handle) else { return };
        let index = attempt.index;
        attempt.alive = Instant::now();
        match report {
            Report::Started { place } => {
                self.trained[index].start();
                let row = self.rows.take(index);
                self.watcher.started(self.board.job(index), row, &place);
            }
            Report::Event(event) => self.handle_event(handle, &event),
            Report::Requeued { reason } => {
                self.trained[index].pause();
                let row = self.rows.free(index);
                self.watcher.retried(self.board.job(index), row, &reason);
            }
            Report::Ended(end) => self.handle_end(handle, end),
        }
    }

    fn handle_event(&mut self, handle: Handle, event: &Event) {
        let Some(attempt) = self.attempts.get_mut(&handle) else { return };
        let job = self.board.job(attempt.index);
        if let Some(row) = self.rows.of(attempt.index) {
            self.watcher.event(job, row, event);
        }
        match event {
            Event::Ended { .. } => attempt.has_last_word = true,
            Event::Metric { row, .. } => {
                match self.search.as_mut().map(|search| search.observe(job.id(), row)) {
                    Some(Ok(Some(_))) => {
                        attempt.is_given_up = true;
                        self.executor.stop(handle, Stop::InGoodOrder);
                    }
                    None | Some(Ok(None)) => {}
                    Some(Err(error)) => self.fail_search(error),
                }
            }
            Event::Preparing { .. }
            | Event::Waiting { .. }
            | Event::Started { .. }
            | Event::Resumed { .. }
            | Event::Restarted { .. }
            | Event::Checkpoint { .. }
            | Event::Alive
            | Event::Locked => {}
        }
    }

    /// Ends workers that hang, and stops those whose time is up.
    fn check_clocks(&mut self) {
        let (silence, limit) = (self.options.resources.stall_timeout(), self.options.resources.time_limit());
        let silence = silence.filter(|_| self.executor.hears_signs_of_life());
        for (&handle, attempt) in &mut self.attempts {
            let is_silent = silence.is_some_and(|silence| attempt.alive.elapsed() >= silence);
            if is_silent && !attempt.has_last_word && attempt.cut != Some(Cut::Stalled) {
                attempt.cut = Some(Cut::Stalled);
                self.executor.stop(handle, Stop::AtOnce);
            }
            let is_late = limit.is_some_and(|limit| self.trained[attempt.index].total() >= limit);
            if is_late && attempt.cut.is_none() {
                attempt.cut = Some(Cut::TimeLimit);
                self.executor.stop(handle, Stop::InGoodOrder);
            }
        }
    }

    /// The user asks to stop, perhaps not for the first time. False where the attempts go on without the
    /// sweep.
    fn handle_interrupt(&mut self) -> bool {
        match self.executor.at_interrupt(!self.stopping) {
            AtInterrupt::Leave => return false,
            AtInterrupt::Stop(_) if !self.stopping => self.stop(),
            AtInterrupt::Stop(how) => self.stop_attempts(how),
        }
        true
    }

    /// Begins nothing any more, and stops what is under way in good order.
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.watcher.stopping();
            self.stop_attempts(Stop::InGoodOrder);
        }
    }

    fn stop_attempts(&mut self, how: Stop) {
        for &handle in self.attempts.keys() {
            self.executor.stop(handle, how);
        }
    }
}
