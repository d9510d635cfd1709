//! The event loop of a sweep through Slurm: submits runs that are ready, follows them, judges how their
//! tasks ended.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::client::{Client, CommandError};
use super::error::SlurmError;
use super::parse::{QueueLine, TaskState};
use super::reason;
use super::record::{Submission, Submissions};
use super::submit::{Submitted, submit};
use super::task::Task;
use crate::schedule::board::{Board, JobResult};
use crate::schedule::device::DeviceName;
use crate::schedule::dispatcher::Watcher;
use crate::schedule::events::Event;
use crate::schedule::follow::{Follower, Since};
use crate::schedule::plan::Job;
use crate::schedule::process::Message;
use crate::spec::SlurmConfig;
use crate::store::{RunState, Store};

/// Time between two looks at the run directories, and the pause before a run that another process works on
/// is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause after Slurm took no more jobs.
const LIMIT_PAUSE: Duration = Duration::from_secs(30);

/// Jobs that one `scancel` is given: command lines have an end.
const CANCEL_AT_ONCE: usize = 500;

/// What a sweep through Slurm is made with.
#[derive(Debug)]
pub struct Options<'a> {
    /// The experiment's name.
    pub experiment: &'a str,
    /// What Slurm is asked for.
    pub slurm: &'a SlurmConfig,
    /// Where the runs are kept; absolute, and on a file system that the nodes share.
    pub store: Store,
    /// The kdx on the nodes.
    pub program: PathBuf,
    /// The device that workers train on.
    pub device: DeviceName,
    /// Times a run is tried before it is given up.
    pub attempts: u32,
    /// How long a worker may give no sign of life before it ends itself.
    pub stall_timeout: Option<Duration>,
    /// How long a run may take in this sweep, waiting in queues left out.
    pub time_limit: Option<Duration>,
    /// Whether the first run that fails ends the sweep.
    pub fail_fast: bool,
    /// Whether Ctrl-C cancels the jobs; else they go on.
    pub cancel_on_interrupt: bool,
}

/// How a sweep through Slurm ended.
#[derive(Debug)]
pub struct Outcome {
    /// How every job ended.
    pub results: Vec<JobResult>,
    /// Slurm's numbers of the jobs that go on without the sweep.
    pub left: Vec<u64>,
}

/// Runs the jobs through Slurm, teachers before the students that need them. Returns when all are done, or
/// the user stopped the sweep.
///
/// # Errors
/// Where Slurm will not take the jobs, or the record of them cannot be written. Submitted jobs go on.
pub fn dispatch(
    jobs: Vec<Job>,
    options: &Options<'_>,
    messages: &Receiver<Message>,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, SlurmError> {
    let client = Client::new()?;
    let submissions = Submissions::open(&options.store, options.experiment)?;
    let rows = options.slurm.max_tasks.unwrap_or(MOST_ROWS).min(MOST_ROWS).min(jobs.len());
    watcher.begin(&jobs, rows);
    let mut dispatcher = Dispatcher::new(jobs, options, client, submissions, watcher);
    let result = dispatcher.run(messages);
    dispatcher.watcher.end();
    result?;
    let left =
        dispatcher.tasks.values().filter_map(|task| task.job).collect::<std::collections::BTreeSet<_>>();
    Ok(Outcome { results: dispatcher.board.into_results(), left: left.into_iter().collect() })
}

/// Running jobs that are shown at once.
const MOST_ROWS: usize = 16;

/// What the queue said about the submissions of these names.
type Answer = (Vec<String>, Result<Vec<QueueLine>, CommandError>);

pub(super) struct Dispatcher<'a> {
    pub(super) board: Board,
    /// The tasks that were submitted and not judged, by the index of their run.
    pub(super) tasks: BTreeMap<usize, Task>,
    /// How long each run was seen running.
    ran: HashMap<usize, Duration>,
    pub(super) follower: Follower,
    pub(super) submissions: Submissions,
    pub(super) client: Client,
    pub(super) options: &'a Options<'a>,
    pub(super) watcher: &'a mut dyn Watcher,
    answers: (Sender<Answer>, Receiver<Answer>),
    /// Whether an answer of the queue is awaited.
    is_asking: bool,
    next_look: Instant,
    no_submission_before: Instant,
    /// Tasks that one array may have.
    largest_array: usize,
    /// Why each submission waits, as last said.
    said: HashMap<String, String>,
    /// Whether Slurm does not answer now.
    is_silent: bool,
    pub(super) stopping: bool,
    /// Whether jobs are to be cancelled, and were not yet.
    must_cancel: bool,
}

impl<'a> Dispatcher<'a> {
    fn new(
        jobs: Vec<Job>,
        options: &'a Options<'a>,
        client: Client,
        submissions: Submissions,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        let now = Instant::now();
        Self {
            board: Board::new(jobs, options.attempts),
            tasks: BTreeMap::new(),
            ran: HashMap::new(),
            follower: Follower::new(),
            submissions,
            largest_array: client.largest_array() as usize,
            client,
            options,
            watcher,
            answers: mpsc::channel(),
            is_asking: false,
            next_look: now,
            no_submission_before: now,
            said: HashMap::new(),
            is_silent: false,
            stopping: false,
            must_cancel: false,
        }
    }

    fn run(&mut self, messages: &Receiver<Message>) -> Result<(), SlurmError> {
        self.adopt()?;
        loop {
            self.submit_ready()?;
            if self.board.is_done() || (self.stopping && self.tasks.is_empty()) {
                return Ok(());
            }
            self.ask_queue();
            match messages.recv_timeout(PAUSE) {
                Ok(Message::Stop) if self.stopping || !self.options.cancel_on_interrupt => return Ok(()),
                Ok(Message::Stop) => self.stop(),
                Ok(Message::Event { .. } | Message::Exited { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            for (index, event) in self.follower.poll() {
                self.on_event(index, &event);
            }
            while let Ok((names, answer)) = self.answers.1.try_recv() {
                self.is_asking = false;
                self.on_queue(&names, answer)?;
            }
            self.judge_ended()?;
            self.check_clocks();
            self.cancel_if_asked();
        }
    }

    /// Takes over what a sweep before this one submitted.
    fn adopt(&mut self) -> Result<(), SlurmError> {
        let submissions: Vec<Submission> = self.submissions.all().to_vec();
        for submission in &submissions {
            self.wait_for(submission)?;
        }
        if !self.tasks.is_empty() {
            self.watcher.notice(&format!("found {} submitted before", in_words(self.tasks.len())));
        }
        submissions.iter().try_for_each(|submission| self.forget_if_over(&submission.name))
    }

    /// Waits for the tasks of a submission from now on.
    fn wait_for(&mut self, submission: &Submission) -> Result<(), SlurmError> {
        for (submitted, task) in Task::all_of(submission) {
            let Some(index) = self.board.index_of(&submitted.run) else { continue };
            let since = Since::Attempt(submitted.attempts_before);
            self.follower.follow(index, self.board.job(index), &self.options.store, since)?;
            self.board.begin(index);
            self.tasks.insert(index, task);
        }
        Ok(())
    }

    /// Submits what is ready, and settles what can never run.
    fn submit_ready(&mut self) -> Result<(), SlurmError> {
        if self.stopping {
            return Ok(());
        }
        for (index, reason) in self.board.hopeless() {
            self.settle(index, RunState::Failed, Some(reason))?;
        }
        if self.is_silent || Instant::now() < self.no_submission_before {
            return Ok(());
        }
        loop {
            let most = match self.options.slurm.max_tasks {
                // The limit of an array is its own: together they must not run more.
                Some(most) if !self.tasks.is_empty() => most.saturating_sub(self.tasks.len()),
                _ => usize::MAX,
            };
            let ready = if most == 0 { Vec::new() } else { self.free_of_ready()? };
            let batch = &ready[..ready.len().min(most).min(self.largest_array)];
            if batch.is_empty() {
                return Ok(());
            }
            let jobs: Vec<&Job> = batch.iter().map(|&index| self.board.job(index)).collect();
            match submit(&jobs, self.options, &mut self.submissions, &self.client)? {
                Submitted::Yes(submission) => {
                    self.wait_for(&submission)?;
                    let job = submission.job.unwrap_or_default();
                    self.watcher.notice(&format!("submitted {} as job {job}", in_words(batch.len())));
                }
                Submitted::Unknown(submission, reason) => {
                    self.wait_for(&submission)?;
                    self.fall_silent(&reason);
                    return Ok(());
                }
                Submitted::Later(reason) => {
                    self.largest_array = (batch.len() / 2).max(1);
                    self.no_submission_before = Instant::now() + LIMIT_PAUSE;
                    let text = format!("Slurm takes no more jobs now: {reason}");
                    if self.said.insert(String::new(), text.clone()).as_ref() != Some(&text) {
                        self.watcher.notice(&text);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// The ready runs that nobody else works on; those that somebody did are settled.
    fn free_of_ready(&mut self) -> Result<Vec<usize>, SlurmError> {
        let mut free = Vec::new();
        for index in self.board.ready() {
            let dir = self.board.job(index).dir(&self.options.store);
            // A directory that cannot be read is for its worker to complain about.
            match (dir.state().unwrap_or(RunState::Planned), self.board.job(index).state) {
                (RunState::Running, _) => self.postpone(index),
                (state, before) if state.is_done() && state != before => {
                    let reason = dir.status().ok().flatten().and_then(|status| status.reason);
                    self.settle(index, state, reason)?;
                }
                _ => free.push(index),
            }
        }
        Ok(free)
    }

    pub(super) fn postpone(&mut self, index: usize) {
        self.board.postpone(index, PAUSE);
        let id = self.board.job(index).id().to_string();
        if self.said.insert(id, String::new()).is_none() {
            self.watcher.elsewhere(self.board.job(index));
        }
    }

    /// Asks the queue, on a thread of its own: a silent controller must not hold up anything.
    fn ask_queue(&mut self) {
        if self.is_asking || self.tasks.is_empty() || Instant::now() < self.next_look {
            return;
        }
        let mut names: Vec<String> = self.tasks.values().map(|task| task.submission.clone()).collect();
        names.sort();
        names.dedup();
        self.is_asking = true;
        self.next_look = Instant::now() + Duration::from_secs(u64::from(self.options.slurm.poll));
        let sender = self.answers.0.clone();
        std::thread::spawn(move || {
            let answer = Client::queue(&names);
            // The receiver is gone only when the sweep is.
            let _ = sender.send((names, answer));
        });
    }

    fn on_queue(
        &mut self,
        names: &[String],
        answer: Result<Vec<QueueLine>, CommandError>,
    ) -> Result<(), SlurmError> {
        let lines = match answer {
            Ok(lines) => lines,
            Err(error) => {
                self.fall_silent(&SlurmError::from(error).to_string());
                return Ok(());
            }
        };
        if std::mem::take(&mut self.is_silent) {
            self.watcher.notice("Slurm answers again");
        }
        for name in names {
            match lines.iter().find(|line| line.name == *name) {
                Some(line) => self.submissions.set_job(name, line.job)?,
                None if self.submissions.get(name).is_some_and(|known| known.job.is_none()) => {
                    self.undo(name)?;
                }
                None => {}
            }
        }
        let asked = self.tasks.iter().filter(|(_, task)| names.contains(&task.submission));
        for index in asked.map(|(&index, _)| index).collect::<Vec<_>>() {
            let Some(task) = self.tasks.get_mut(&index) else { continue };
            let before = std::mem::replace(&mut task.state, TaskState::Queued);
            task.update(&lines);
            match task.state {
                TaskState::Running => self.show(index),
                // A worker may be seen before the queue says that its task runs.
                TaskState::Queued if before == TaskState::Running && task.slot.is_some() => {
                    let slot = task.slot.take();
                    let reason = "Slurm took its job back into the queue: preempted, or its node failed";
                    self.watcher.retried(self.board.job(index), slot, reason);
                }
                TaskState::Queued | TaskState::Ended(_) => {}
            }
        }
        for line in lines.iter().filter(|line| line.state == TaskState::Queued) {
            let Some(words) = reason::in_words(&line.reason) else { continue };
            if self.said.insert(line.name.clone(), line.reason.clone()).as_ref() != Some(&line.reason) {
                let count = in_words(line.tasks.len().max(1));
                self.watcher.notice(&format!("job {} waits with {count}: {words}", line.job));
            }
        }
        Ok(())
    }

    /// A submission that was recorded, but never made.
    fn undo(&mut self, name: &str) -> Result<(), SlurmError> {
        let lost = self.tasks.iter().filter(|(_, task)| task.submission == name).map(|(&index, _)| index);
        for index in lost.collect::<Vec<_>>() {
            self.tasks.remove(&index);
            self.follower.forget(index);
            self.board.postpone(index, Duration::ZERO);
        }
        Ok(self.submissions.remove(name)?)
    }

    fn fall_silent(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_silent, true) {
            self.watcher.notice(&format!("Slurm does not answer; its jobs go on, the sweep waits: {reason}"));
        }
    }

    /// Gives a task that runs the first free row.
    fn show(&mut self, index: usize) {
        let taken: Vec<usize> = self.tasks.values().filter_map(|task| task.slot).collect();
        let Some(task) = self.tasks.get_mut(&index).filter(|task| task.slot.is_none()) else { return };
        let slot = (0..).find(|slot| !taken.contains(slot)).unwrap_or(taken.len());
        task.slot = Some(slot);
        self.watcher.started(self.board.job(index), slot, &task.place());
    }

    fn on_event(&mut self, index: usize, event: &Event) {
        if matches!(event, Event::Started { .. }) {
            self.show(index);
        }
        if let Some(slot) = self.tasks.get(&index).and_then(|task| task.slot) {
            self.watcher.event(self.board.job(index), slot, event);
        }
        if let Event::Ended { state, .. } = event
            && (state.is_done() || *state == RunState::Failed)
            && let Some(task) = self.tasks.get_mut(&index)
        {
            // Whatever Slurm says of the job, this is what came of the run.
            task.has_last_word = true;
        }
    }

    /// Ends runs whose time is up.
    fn check_clocks(&mut self) {
        let Some(limit) = self.options.time_limit else { return };
        for (index, task) in self.tasks.iter_mut().filter(|(_, task)| task.slot.is_some()) {
            let ran = self.ran.entry(*index).or_default();
            *ran += PAUSE;
            if *ran >= limit
                && !task.is_cut
                && let Some(id) = task.id()
            {
                task.is_cut = self.client.cancel(&[id]).is_ok();
            }
        }
    }

    pub(super) fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.must_cancel = true;
            self.watcher.stopping();
            self.cancel_if_asked();
        }
    }

    /// Cancels every job, again and again until Slurm has heard it.
    fn cancel_if_asked(&mut self) {
        if !self.must_cancel {
            return;
        }
        let ids: Vec<String> = self.tasks.values().filter_map(Task::id).collect();
        let nameless = self.tasks.values().filter(|task| task.job.is_none());
        let by_name: std::collections::BTreeSet<&String> = nameless.map(|task| &task.submission).collect();
        let heard = |result| !matches!(result, Err(CommandError::NoAnswer(_)));
        let by_number = ids.chunks(CANCEL_AT_ONCE).all(|ids| heard(self.client.cancel(ids)));
        self.must_cancel =
            !(by_number && by_name.into_iter().all(|name| heard(self.client.cancel_by_name(name))));
        self.next_look = Instant::now();
    }
}

fn in_words(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}
