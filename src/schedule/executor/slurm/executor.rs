//! Slurm's executor: submits attempts as job arrays, cancels them, and comes back to what was submitted
//! before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::client::{Client, CommandError};
use super::error::SlurmError;
use super::options::{Options, ignored_keys};
use super::parse::QueueLine;
use super::record::{Submission, Submissions, SubmittedTask};
use super::submit::{Submitted, submit, task_for};
use super::task::Task;
use crate::schedule::executor::error::SweepError;
use crate::schedule::executor::{
    AtInterrupt, End, Executor, Handle, IgnoredKey, Message, Report, Request, Stop, Update,
};
use crate::schedule::failure::Failure;
use crate::schedule::follow::{Follower, Since};
use crate::schedule::job::Job;
use crate::spec::{ResourcesConfig, RunId};
use crate::store::RunDir;

/// Pause after Slurm took no more jobs.
const LIMIT_PAUSE: Duration = Duration::from_secs(30);

/// Jobs that one `scancel` is given: command lines have an end.
const CANCEL_AT_ONCE: usize = 500;

/// Running jobs that are shown at once.
const MOST_ROWS: usize = 16;

/// What the queue said about the submissions of these names.
pub(super) type Answer = (Vec<String>, Result<Vec<QueueLine>, CommandError>);

/// The jobs of one experiment in a Slurm cluster.
#[derive(Debug)]
pub struct SlurmExecutor<'a> {
    pub(super) options: &'a Options<'a>,
    pub(super) client: Client,
    pub(super) submissions: Submissions,
    /// Attempts that the next poll submits.
    batch: Vec<Pending>,
    /// The tasks that were submitted and not judged.
    pub(super) tasks: BTreeMap<Handle, Task>,
    /// The tasks that are to be cancelled, until Slurm has heard it.
    to_cancel: BTreeSet<Handle>,
    /// The runs of this sweep.
    pub(super) runs: HashSet<RunId>,
    pub(super) follower: Follower,
    /// What the next poll tells.
    pub(super) updates: Vec<Update>,
    pub(super) answers: (Sender<Answer>, Receiver<Answer>),
    /// Wakes the dispatcher when the queue has answered.
    pub(super) wake: Sender<Message>,
    /// Whether an answer of the queue is awaited.
    pub(super) is_asking: bool,
    pub(super) next_question: Instant,
    /// When the run directories are looked at again.
    pub(super) next_look: Instant,
    no_submission_before: Instant,
    /// Tasks that one array may have.
    largest_array: usize,
    /// Why each submission waits, as last said.
    pub(super) said: HashMap<String, String>,
    /// Whether Slurm does not answer now.
    pub(super) is_silent: bool,
    /// Attempts so far.
    started: usize,
}

/// An attempt that is to be submitted.
#[derive(Debug)]
struct Pending {
    attempt: Handle,
    submitted: SubmittedTask,
    followed: Followed,
}

/// What it takes to follow a run: its directory, its optimizer steps and trained parameters.
#[derive(Debug, Clone)]
struct Followed {
    dir: RunDir,
    size: (u64, u64),
}

impl Followed {
    fn of(job: &Job, options: &Options<'_>) -> Self {
        Self { dir: job.dir(&options.store), size: (job.estimate.steps, job.estimate.parameters) }
    }
}

impl<'a> SlurmExecutor<'a> {
    /// The right to submit for the experiment. `wake` is the dispatcher's.
    ///
    /// # Errors
    /// Where Slurm's commands are not there, or another sweep submits for the experiment.
    pub fn open(options: &'a Options<'a>, wake: Sender<Message>) -> Result<Self, SlurmError> {
        let client = Client::new()?;
        let submissions = Submissions::open(&options.store, options.experiment)?;
        let now = Instant::now();
        Ok(Self {
            options,
            largest_array: client.largest_array() as usize,
            client,
            submissions,
            batch: Vec::new(),
            tasks: BTreeMap::new(),
            to_cancel: BTreeSet::new(),
            runs: HashSet::new(),
            follower: Follower::new(),
            updates: Vec::new(),
            answers: mpsc::channel(),
            wake,
            is_asking: false,
            next_question: now,
            next_look: now,
            no_submission_before: now,
            said: HashMap::new(),
            is_silent: false,
            started: 0,
        })
    }

    fn new_handle(&mut self) -> Handle {
        self.started += 1;
        Handle(self.started)
    }

    fn can_submit(&self) -> bool {
        !self.is_silent && Instant::now() >= self.no_submission_before
    }

    /// Takes over what a sweep before this one submitted.
    fn take_over(&mut self, jobs: &[Job]) -> Result<Vec<(usize, Handle)>, SlurmError> {
        let indices: HashMap<&RunId, usize> = jobs.iter().map(Job::id).zip(0..).collect();
        self.runs = jobs.iter().map(|job| job.id().clone()).collect();
        let submissions: Vec<Submission> = self.submissions.all().to_vec();
        let mut adopted: BTreeMap<usize, Handle> = BTreeMap::new();
        for submission in &submissions {
            for (submitted, number) in submission.tasks.iter().zip(1..) {
                let Some(&index) = indices.get(&submitted.run) else { continue };
                // Of two tasks of a run the later one counts.
                let attempt = match adopted.get(&index) {
                    Some(&attempt) => attempt,
                    None => self.new_handle(),
                };
                adopted.insert(index, attempt);
                let followed = Followed::of(&jobs[index], self.options);
                self.wait_for(attempt, (submission, number, submitted), followed)?;
            }
        }
        if !adopted.is_empty() {
            let text = format!("found {} submitted before", count_runs(adopted.len()));
            self.updates.push(Update::Notice(text));
        }
        submissions.iter().try_for_each(|submission| self.forget_if_over(&submission.name))?;
        Ok(adopted.into_iter().collect())
    }

    /// Waits for a task of a submission from now on.
    fn wait_for(
        &mut self,
        attempt: Handle,
        (submission, number, submitted): (&Submission, u32, &SubmittedTask),
        followed: Followed,
    ) -> Result<(), SlurmError> {
        let Followed { dir, size } = followed;
        let since = Since::Attempt(submitted.attempts_before);
        self.follower.follow_dir(attempt.0, dir.clone(), size, since)?;
        self.tasks.insert(attempt, Task::new(submission, number, submitted, dir));
        Ok(())
    }

    /// Submits what was started since the last poll, as arrays that Slurm takes.
    fn submit_batch(&mut self) -> Result<(), SlurmError> {
        let mut rest = std::mem::take(&mut self.batch);
        while !rest.is_empty() && self.can_submit() {
            let later = rest.split_off(rest.len().min(self.largest_array));
            let array = std::mem::replace(&mut rest, later);
            let tasks = array.iter().map(|pending| pending.submitted.clone()).collect();
            match submit(tasks, self.options, &mut self.submissions, &self.client)? {
                Submitted::Yes(submission) => {
                    let job = submission.job.unwrap_or_default();
                    let text = format!("submitted {} as job {job}", count_runs(array.len()));
                    self.updates.push(Update::Notice(text));
                    self.wait_for_all(&submission, array)?;
                }
                Submitted::Unknown(submission, reason) => {
                    self.wait_for_all(&submission, array)?;
                    self.fall_silent(&reason);
                }
                Submitted::Later(reason) => {
                    self.largest_array = (array.len() / 2).max(1);
                    self.no_submission_before = Instant::now() + LIMIT_PAUSE;
                    let text = format!("Slurm takes no more jobs now: {reason}");
                    if self.said.insert(String::new(), text.clone()).as_ref() != Some(&text) {
                        self.updates.push(Update::Notice(text));
                    }
                    rest.splice(0..0, array);
                }
            }
        }
        for pending in rest {
            self.tell(pending.attempt, Report::Ended(End::NotBegun));
        }
        Ok(())
    }

    fn wait_for_all(&mut self, submission: &Submission, array: Vec<Pending>) -> Result<(), SlurmError> {
        for (Pending { attempt, submitted, followed }, number) in array.into_iter().zip(1..) {
            self.wait_for(attempt, (submission, number, &submitted), followed)?;
        }
        Ok(())
    }

    /// Cancels what is to be cancelled, again and again until Slurm has heard it.
    fn cancel_asked(&mut self) {
        let tasks = &self.tasks;
        self.to_cancel.retain(|attempt| tasks.contains_key(attempt));
        if self.to_cancel.is_empty() {
            return;
        }
        let heard = |result| !matches!(result, Err(CommandError::NoAnswer(_)));
        let numbered = self.to_cancel.iter().filter_map(|attempt| Some((*attempt, tasks[attempt].id()?)));
        for some in numbered.collect::<Vec<_>>().chunks(CANCEL_AT_ONCE) {
            let ids: Vec<String> = some.iter().map(|(_, id)| id.clone()).collect();
            if heard(self.client.cancel(&ids)) {
                some.iter().for_each(|(attempt, _)| _ = self.to_cancel.remove(attempt));
            }
        }
        // A submission whose number is not known is cancelled by its name, where all of it is to be.
        let names: BTreeSet<&String> =
            self.to_cancel.iter().map(|attempt| &tasks[attempt].submission).collect();
        let of = |name: &String| -> Vec<Handle> {
            let tasks = tasks.iter().filter(|(_, task)| task.submission == *name);
            tasks.map(|(&attempt, _)| attempt).collect()
        };
        for attempts in names.into_iter().map(|name| (name, of(name))).collect::<Vec<_>>() {
            let (name, attempts) = attempts;
            let is_nameless = attempts.iter().all(|attempt| tasks[attempt].job.is_none());
            let is_whole = attempts.iter().all(|attempt| self.to_cancel.contains(attempt));
            if is_nameless && is_whole && heard(self.client.cancel_by_name(name)) {
                attempts.iter().for_each(|attempt| _ = self.to_cancel.remove(attempt));
            }
        }
        self.next_question = Instant::now();
    }

    pub(super) fn tell(&mut self, attempt: Handle, report: Report) {
        self.updates.push(Update::Attempt(attempt, report));
    }

    pub(super) fn fall_silent(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_silent, true) {
            let text = format!("Slurm does not answer; its jobs go on, the sweep waits: {reason}");
            self.updates.push(Update::Notice(text));
        }
    }
}

impl Executor for SlurmExecutor<'_> {
    fn slots(&self, jobs: usize) -> usize {
        self.options.slurm.max_tasks.unwrap_or(MOST_ROWS).min(MOST_ROWS).min(jobs)
    }

    fn capacity(&self) -> usize {
        match self.options.slurm.max_tasks {
            _ if !self.can_submit() => 0,
            None => usize::MAX,
            // The limit of an array is its own: together they must not run more.
            Some(most) if !self.tasks.is_empty() => most.saturating_sub(self.tasks.len() + self.batch.len()),
            Some(_) => self.largest_array.saturating_sub(self.batch.len()),
        }
    }

    fn fits(&self, _: &Job, _: bool) -> bool {
        self.capacity() > 0
    }

    fn adopt(&mut self, jobs: &[Job]) -> Result<Vec<(usize, Handle)>, SweepError> {
        Ok(self.take_over(jobs)?)
    }

    fn start(&mut self, request: &Request<'_>) -> Result<Handle, Failure> {
        let attempt = self.new_handle();
        let submitted = task_for(request.job, self.options);
        let followed = Followed::of(request.job, self.options);
        self.batch.push(Pending { attempt, submitted, followed });
        Ok(attempt)
    }

    fn poll(&mut self) -> Result<Vec<Update>, SweepError> {
        self.submit_batch()?;
        self.follow_tasks()?;
        self.cancel_asked();
        Ok(std::mem::take(&mut self.updates))
    }

    /// Slurm asks a worker to end and gives it time for its checkpoint, in any case.
    fn stop(&mut self, attempt: Handle, _: Stop) {
        if self.tasks.contains_key(&attempt) {
            self.to_cancel.insert(attempt);
        } else if let Some(place) = self.batch.iter().position(|pending| pending.attempt == attempt) {
            self.batch.remove(place);
            self.tell(attempt, Report::Ended(End::NotBegun));
        }
    }

    fn at_interrupt(&self, is_first: bool) -> AtInterrupt {
        if is_first && self.options.cancel_on_interrupt {
            AtInterrupt::Stop(Stop::InGoodOrder)
        } else {
            AtInterrupt::Leave
        }
    }

    fn leave(&mut self) -> Vec<String> {
        let jobs: BTreeSet<u64> = self.tasks.values().filter_map(|task| task.job).collect();
        jobs.into_iter().map(|job| job.to_string()).collect()
    }

    fn hears_signs_of_life(&self) -> bool {
        false
    }

    fn ignored_keys(&self, resources: &ResourcesConfig) -> Vec<IgnoredKey> {
        ignored_keys(resources)
    }
}

pub(super) fn count_runs(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}
