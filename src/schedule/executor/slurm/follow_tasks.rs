//! What happened to tasks that were submitted: by what Slurm's queue says, and by what their workers leave in
//! the run directories.

use std::time::{Duration, Instant};

use super::client::{Client, CommandError};
use super::error::SlurmError;
use super::executor::{SlurmExecutor, count_runs};
use super::parse::{QueueLine, TaskState};
use super::reason;
use super::verdict::{Judgement, judge};
use crate::schedule::events::Event;
use crate::schedule::executor::{End, Handle, Message, Report, Update};
use crate::store::RunState;

/// Time between two looks at the run directories.
const PAUSE: Duration = Duration::from_secs(1);

impl SlurmExecutor<'_> {
    /// Tells what happened since the last call.
    pub(super) fn follow_tasks(&mut self) -> Result<(), SlurmError> {
        self.ask_queue();
        while let Ok((names, answer)) = self.answers.1.try_recv() {
            self.is_asking = false;
            self.handle_queue(&names, answer)?;
        }
        if Instant::now() < self.next_look {
            return Ok(());
        }
        self.next_look = Instant::now() + PAUSE;
        for (attempt, event) in self.follower.poll() {
            self.handle_event(Handle(attempt), event);
        }
        self.judge_ended()
    }

    /// Asks the queue, on a thread of its own: a silent controller must not hold up anything.
    fn ask_queue(&mut self) {
        if self.is_asking || self.tasks.is_empty() || Instant::now() < self.next_question {
            return;
        }
        let mut names: Vec<String> = self.tasks.values().map(|task| task.submission.clone()).collect();
        names.sort();
        names.dedup();
        self.is_asking = true;
        self.next_question = Instant::now() + Duration::from_secs(u64::from(self.options.slurm.poll));
        let (sender, wake) = (self.answers.0.clone(), self.wake.clone());
        std::thread::spawn(move || {
            let answer = Client::queue(&names);
            // The receivers are gone only when the sweep is.
            let _ = sender.send((names, answer));
            let _ = wake.send(Message::News);
        });
    }

    fn handle_queue(
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
            self.updates.push(Update::Notice("Slurm answers again".to_owned()));
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
        for attempt in asked.map(|(&attempt, _)| attempt).collect::<Vec<_>>() {
            let Some(task) = self.tasks.get_mut(&attempt) else { continue };
            let before = std::mem::replace(&mut task.state, TaskState::Queued);
            task.update(&lines);
            match task.state {
                TaskState::Running => self.tell_started(attempt),
                // A worker may be seen before the queue says that its task runs.
                TaskState::Queued if before == TaskState::Running && task.has_started => {
                    task.has_started = false;
                    let reason = "Slurm took its job back into the queue: preempted, or its node failed";
                    self.tell(attempt, Report::Requeued { reason: reason.to_owned() });
                }
                TaskState::Queued | TaskState::Ended(_) => {}
            }
        }
        self.tell_reasons(&lines);
        Ok(())
    }

    /// Says why tasks wait, where that is not the ordinary wait for a free node.
    fn tell_reasons(&mut self, lines: &[QueueLine]) {
        for line in lines.iter().filter(|line| line.state == TaskState::Queued) {
            let Some(words) = reason::in_words(&line.reason) else { continue };
            if self.said.insert(line.name.clone(), line.reason.clone()).as_ref() != Some(&line.reason) {
                let count = count_runs(line.tasks.len().max(1));
                self.updates.push(Update::Notice(format!("job {} waits with {count}: {words}", line.job)));
            }
        }
    }

    /// A submission that was recorded, but never made.
    fn undo(&mut self, name: &str) -> Result<(), SlurmError> {
        let lost = self.tasks.iter().filter(|(_, task)| task.submission == name);
        for attempt in lost.map(|(&attempt, _)| attempt).collect::<Vec<_>>() {
            self.end(attempt, End::NotBegun);
        }
        Ok(self.submissions.remove(name)?)
    }

    /// Says that a task runs, unless that was said.
    fn tell_started(&mut self, attempt: Handle) {
        let Some(task) = self.tasks.get_mut(&attempt).filter(|task| !task.has_started) else { return };
        task.has_started = true;
        let place = task.place();
        self.tell(attempt, Report::Started { place });
    }

    fn handle_event(&mut self, attempt: Handle, event: Event) {
        if matches!(event, Event::Started { .. }) {
            self.tell_started(attempt);
        }
        let Some(task) = self.tasks.get_mut(&attempt) else { return };
        if let Event::Ended { state, .. } = &event
            && (state.is_done() || *state == RunState::Failed)
        {
            // Whatever Slurm says of the job, this is what came of the run.
            task.has_last_word = true;
        }
        if task.has_started {
            self.tell(attempt, Report::Event(event));
        }
    }

    /// Judges tasks that have ended.
    fn judge_ended(&mut self) -> Result<(), SlurmError> {
        for attempt in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Some(task) = self.tasks.get(&attempt) else { continue };
            // A directory that cannot be read now is read again.
            let Ok(Some(evidence)) = task.evidence() else { continue };
            let exit = || self.client.exit(task.job?, task.number);
            let name = task.submission.clone();
            let end = match judge(&evidence, exit) {
                Judgement::Wait => continue,
                Judgement::Settle(state, reason) => End::Left(state, reason),
                Judgement::GoOn(reason) => End::Lost(reason),
                Judgement::Elsewhere => End::Elsewhere,
                Judgement::Fail(failure) => End::Failed { failure, had_company: false },
            };
            self.end(attempt, end);
            self.forget_if_over(&name)?;
        }
        Ok(())
    }

    /// Waits for a task no longer.
    fn end(&mut self, attempt: Handle, end: End) {
        self.follower.forget(attempt.0);
        self.tasks.remove(&attempt);
        self.tell(attempt, Report::Ended(end));
    }

    /// Forgets a submission none of whose tasks anybody waits for.
    pub(super) fn forget_if_over(&mut self, name: &str) -> Result<(), SlurmError> {
        if self.tasks.values().any(|task| task.submission == name) {
            return Ok(());
        }
        let Some(submission) = self.submissions.get(name) else { return Ok(()) };
        // Tasks of runs that this sweep leaves out are for the next one.
        let is_left = submission.tasks.iter().any(|task| {
            let dir = self.options.store.run_dir(&task.run);
            let is_done = dir.status().ok().flatten().is_some_and(|status| status.state.is_done());
            !self.runs.contains(&task.run) && !is_done
        });
        if is_left { Ok(()) } else { Ok(self.submissions.remove(name)?) }
    }
}
