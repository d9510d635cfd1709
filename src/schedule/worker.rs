//! One run, from its directory: what `kdx worker` does, in a process of its own or beside other runs.
//!
//! The worker owns its run directory. In a process of its own it reports by [`Event`]s on standard output,
//! logs to standard error, and stops, leaving a checkpoint, when its standard input ends: so it also stops
//! when the dispatcher dies. A signal that asks it to end does the same. For several runs in a process see
//! `shared_process`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use miette::Diagnostic;
use thiserror::Error;

use super::device::{DeviceError, DeviceName};
use super::events::Event;
use super::shared_process::protocol::format_event;
use crate::distill::{self, DistillError, Job, Observer, Outcome};
use crate::interrupt::Interrupt;
use crate::spec::{FORMAT_VERSION, ModelSource, RunId, RunRecord};
use crate::store::{HeldRun, MetricRow, RunState, RunStatus, Store, StoreError};

/// Why a worker could not do its run.
#[derive(Debug, Error, Diagnostic)]
pub enum WorkerError {
    /// A file of the store.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The device.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Device(#[from] DeviceError),
    /// The training.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Distill(#[from] DistillError),
}

/// What a worker is to do.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The store that holds the run.
    pub store: &'a Store,
    /// The run.
    pub id: &'a RunId,
    /// Where to train.
    pub device: &'a DeviceName,
    /// The step at which the run pauses; none to train it to its end.
    pub until: Option<u64>,
}

/// What keeps an eye on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervision {
    /// The dispatcher at the other end of the pipes: the end of standard input stops the worker.
    Dispatcher,
    /// The process that it shares with other runs.
    SharedProcess {
        /// Its number there.
        number: u64,
    },
    /// Nobody near: signals alone stop the worker, and it ends itself when the training gives no sign of
    /// life for so long.
    Own {
        /// None for never.
        stall_timeout: Option<Duration>,
    },
}

/// Exit code of a worker that hung and has ended itself.
const STALLED: i32 = 75;

/// Trains one run from its directory, to its end or `until` a step, and leaves its status and summary there.
/// `Running` where another process has it.
pub fn work(task: &Task<'_>, supervision: Supervision) -> Result<RunState, WorkerError> {
    work_until(task, supervision, &Arc::new(Interrupt::new()))
}

/// [`work`], also until it is asked to `stop`.
pub(super) fn work_until(
    task: &Task<'_>,
    supervision: Supervision,
    stop: &Arc<Interrupt>,
) -> Result<RunState, WorkerError> {
    let result = attempt(task, supervision, stop);
    match &result {
        Ok((RunState::Running, _)) => emit(supervision, &Event::Locked),
        Ok((state, reason)) => emit(supervision, &Event::Ended { state: *state, reason: reason.clone() }),
        Err(error @ WorkerError::Store(StoreError::LeaseLost { .. })) => {
            tracing::error!("{}", in_words(error));
            emit(supervision, &Event::Locked);
        }
        // Said here too: on a full disk it may not have come into the status.
        Err(error) => {
            emit(supervision, &Event::Ended { state: RunState::Failed, reason: Some(in_words(error)) });
        }
    }
    Ok(result?.0)
}

/// One attempt: how the run ended, and why where that is not plain.
fn attempt(
    task: &Task<'_>,
    supervision: Supervision,
    stop: &Arc<Interrupt>,
) -> Result<(RunState, Option<String>), WorkerError> {
    let Task { store, id, device, .. } = *task;
    let Some(dir) = store.run_dir(id).try_acquire()? else { return Ok((RunState::Running, None)) };
    let record = dir.record()?;
    // Done by another sweep between the planning and now.
    let before = dir.status()?;
    if let Some(status) = before.as_ref().filter(|s| s.state.is_done()) {
        return Ok((status.state, status.reason.clone()));
    }

    let now = timestamp();
    let mut status = RunStatus {
        format_version: FORMAT_VERSION,
        state: RunState::Running,
        attempt: before.map_or(1, |s| s.attempt + 1),
        device: device.to_string(),
        threads: rayon::current_num_threads(),
        pid: std::process::id(),
        started: now.clone(),
        updated: now,
        reason: None,
    };
    dir.write_status(&status)?;
    // Of an attempt that was killed between its summary and its status.
    dir.remove_summary()?;

    let mut result = train(task, &record, &dir, supervision, stop);
    if let (Ok(Outcome::Finished(summary) | Outcome::Diverged(summary)), Supervision::SharedProcess { .. }) =
        (&mut result, supervision)
    {
        // The process's, not the run's.
        summary.peak_memory = 0;
    }
    let (state, reason) = match &result {
        Ok(Outcome::Finished(summary)) => {
            dir.write_summary(summary)?;
            (RunState::Finished, None)
        }
        Ok(Outcome::Diverged(summary)) => {
            dir.write_summary(summary)?;
            let step = summary.diverged_at.unwrap_or(summary.steps);
            (RunState::Diverged, Some(format!("the loss was no longer finite at step {step}")))
        }
        Ok(Outcome::Paused) => (RunState::Paused, None),
        Ok(Outcome::Interrupted) => (RunState::Interrupted, None),
        Err(error) => (RunState::Failed, Some(in_words(error))),
    };
    status.state = state;
    status.updated = timestamp();
    status.reason.clone_from(&reason);
    match (dir.write_status(&status), result) {
        // Another attempt is under way: what this one came to, or failed of, is of no interest.
        (Err(lost @ StoreError::LeaseLost { .. }), _) => return Err(lost.into()),
        (_, Err(error)) => return Err(error),
        (written, Ok(_)) => written?,
    }
    if state.is_done()
        && let Err(error) = dir.remove_checkpoint()
    {
        // The next sweep tries again.
        tracing::warn!("the checkpoint of the run that is done stays: {error}");
    }
    Ok((state, reason))
}

fn train(
    task: &Task<'_>,
    record: &RunRecord,
    dir: &HeldRun,
    supervision: Supervision,
    stop: &Arc<Interrupt>,
) -> Result<Outcome, WorkerError> {
    let Task { store, device, until, .. } = *task;
    if !matches!(supervision, Supervision::SharedProcess { .. }) {
        let stop = Arc::clone(stop);
        stop_at_signal(move || stop.ask());
    }
    match supervision {
        Supervision::Dispatcher => {
            stop_at_end_of_input(Arc::clone(stop));
            say_alive(stop, supervision);
        }
        Supervision::SharedProcess { .. } => say_alive(stop, supervision),
        Supervision::Own { stall_timeout: Some(limit) } => end_when_stalled(Arc::clone(stop), limit),
        Supervision::Own { stall_timeout: None } => {}
    }
    // Elsewhere the dispatcher has looked.
    if matches!(supervision, Supervision::Own { .. }) {
        device.check()?;
    }
    super::device::keep_kernels(&store.cache_dir(), device);
    let stage = record.spec.stage();
    let job = Job {
        record,
        dir,
        start_dir: stage.start.model().map(|model| model_dir(store, model)),
        teacher_dirs: stage.teachers.iter().map(|teacher| model_dir(store, &teacher.model)).collect(),
        cache_dir: &store.cache_dir(),
        device: device.to_burn()?,
        until,
    };
    Ok(distill::train(&job, &mut Reporter { supervision, prepared: None }, stop)?)
}

/// The Hugging Face directory of a model.
fn model_dir(store: &Store, model: &ModelSource) -> PathBuf {
    match model {
        ModelSource::Directory(path) => path.clone(),
        ModelSource::Run(id) => store.run_dir(id).model_dir(),
    }
}

/// Sets `stop` when standard input ends. The thread lives as long as the process.
fn stop_at_end_of_input(stop: Arc<Interrupt>) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
        stop.ask();
    });
}

/// Calls `stop` on a signal that asks the process to end.
pub(super) fn stop_at_signal(stop: impl FnMut() + Send + 'static) {
    if let Err(error) = ctrlc::set_handler(stop) {
        tracing::warn!("signals end this worker at once: {error}");
    }
}

/// Time between two signs of life.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Sends a sign of life now and then, as long as the training looks whether it should stop. The thread
/// lives not much longer than the run.
fn say_alive(stop: &Arc<Interrupt>, supervision: Supervision) {
    let (stop, mut seen) = (Arc::downgrade(stop), stop.looks());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(ALIVE_EVERY);
            let Some(looks) = stop.upgrade().map(|stop| stop.looks()) else { return };
            if std::mem::replace(&mut seen, looks) != looks {
                emit(supervision, &Event::Alive);
            }
        }
    });
}

/// Ends this process when the training does not look for so long whether it should stop. The thread lives
/// as long as the process.
fn end_when_stalled(stop: Arc<Interrupt>, limit: Duration) {
    std::thread::spawn(move || {
        let mut seen = (stop.looks(), Instant::now());
        loop {
            std::thread::sleep(ALIVE_EVERY.min(limit));
            let looks = stop.looks();
            if looks != seen.0 {
                seen = (looks, Instant::now());
            } else if seen.1.elapsed() >= limit {
                let limit = humantime::format_duration(limit);
                tracing::error!(
                    "no sign of life for {limit} (resources.stall_timeout): this worker ends itself"
                );
                std::process::exit(STALLED);
            }
        }
    });
}

/// Time between two reports about what is being prepared.
const PREPARING_EVERY: Duration = Duration::from_secs(1);

struct Reporter {
    supervision: Supervision,
    /// When it last said what is being prepared.
    prepared: Option<Instant>,
}

impl Observer for Reporter {
    fn preparing(&mut self, what: &str, done: u64, total: u64) {
        if self.prepared.is_none_or(|last| last.elapsed() >= PREPARING_EVERY) {
            self.prepared = Some(Instant::now());
            emit(self.supervision, &Event::Preparing { what: what.to_owned(), done, total });
        }
    }

    fn waiting(&mut self, what: &str) {
        if self.prepared.is_none_or(|last| last.elapsed() >= PREPARING_EVERY) {
            self.prepared = Some(Instant::now());
            emit(self.supervision, &Event::Waiting { what: what.to_owned() });
        }
    }

    fn started(&mut self, total_steps: u64, parameters: u64) {
        emit(self.supervision, &Event::Started { total_steps, parameters });
    }

    fn resumed(&mut self, step: u64) {
        emit(self.supervision, &Event::Resumed { step });
    }

    fn restarted(&mut self, reason: &str) {
        emit(self.supervision, &Event::Restarted { reason: reason.to_owned() });
    }

    fn checkpoint(&mut self, step: u64) {
        emit(self.supervision, &Event::Checkpoint { step });
    }

    fn metric(&mut self, row: &MetricRow, tokens_per_second: f64) {
        emit(self.supervision, &Event::Metric { row: row.clone(), tokens_per_second });
    }
}

/// Sends an event.
fn emit(supervision: Supervision, event: &Event) {
    print_line(&match supervision {
        Supervision::SharedProcess { number } => format_event(number, event),
        Supervision::Dispatcher | Supervision::Own { .. } => event.to_line(),
    });
}

/// Prints a line for the dispatcher. One that no longer listens is no reason to fail: it also closed our
/// standard input, and that stops the run in good order.
pub(super) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// An error with its causes and what to do about it, on one line.
fn in_words(error: &dyn Diagnostic) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let mut at = Some(error);
    while let Some(diagnostic) = at {
        if let Some(help) = diagnostic.help() {
            return format!("{text} ({help})");
        }
        at = diagnostic.diagnostic_source();
    }
    text
}

/// Now, RFC 3339 in UTC with milliseconds.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
