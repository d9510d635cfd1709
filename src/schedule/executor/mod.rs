//! What runs the attempts of a sweep: processes of this machine, or jobs of a cluster.
//!
//! An [`Executor`] starts attempts, says what happens to them, and stops them. It decides nothing about a
//! sweep: what is tried again, given up, paused or left alone is decided in the dispatcher, which owns all
//! state. docs/adding.md shows how another one is added.
//!
//! ```text
//! local   worker processes of this machine: one a run, or one a device
//! slurm   job arrays of a Slurm cluster
//! error   why a sweep cannot go on
//! ```

pub mod error;
pub mod local;
pub mod slurm;

use std::fmt;

use self::error::SweepError;
use super::events::Event;
use super::failure::Failure;
use super::job::Job;
use crate::spec::ResourcesConfig;
use crate::store::RunState;

/// One attempt at a run, by the number that its executor gave it; no two of a sweep have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(pub usize);

/// What wakes the dispatcher, which else looks once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// An executor has something to say: it is polled.
    News,
    /// The user asked to stop.
    Stop,
}

/// An attempt that is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The run.
    pub job: &'a Job,
    /// Whether it must have its device for itself: it ran out of memory beside others.
    pub is_alone: bool,
    /// The step at which the run pauses; none to train it to its end.
    pub until: Option<u64>,
    /// Other runs that could start now, for an executor that splits what it has between them.
    pub others_ready: usize,
}

/// What an executor has to say.
#[derive(Debug)]
pub enum Update {
    /// About an attempt.
    Attempt(Handle, Report),
    /// About itself, for those who look on.
    Notice(String),
}

/// What happened to an attempt.
#[derive(Debug)]
pub enum Report {
    /// Its worker runs, at a place such as `cpu, 2 threads`. Nothing else is told before, but an end.
    Started {
        /// Where, in words.
        place: String,
    },
    /// Its worker reported.
    Event(Event),
    /// It runs no longer, and will be started again without another request, as by a cluster's queue.
    Requeued {
        /// Why, in words.
        reason: String,
    },
    /// It is over; nothing more is told about it.
    Ended(End),
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// Its worker said in which state it left the run, and why where that is not plain.
    Left(RunState, Option<String>),
    /// Another process has the run.
    Elsewhere,
    /// Something else than the run was at fault, in words. The run goes on, and no attempt is counted.
    Lost(String),
    /// It never began, and this needs no word. No attempt is counted.
    NotBegun,
    /// The attempt came to nothing, and counts.
    Failed {
        /// Why.
        failure: Failure,
        /// Whether others ran beside it, so that it may get further alone.
        had_company: bool,
    },
}

/// How an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its worker writes a checkpoint and ends.
    InGoodOrder,
    /// It ends now; what it did since its last checkpoint is lost.
    AtOnce,
}

/// What becomes of the attempts under way when the user asks the sweep to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtInterrupt {
    /// They are stopped, and the sweep waits for their ends.
    Stop(Stop),
    /// They go on without the sweep.
    Leave,
}

/// Starts, polls and stops attempts. None of the methods may wait for a worker or a network for long: the
/// dispatcher calls them between all else that it does.
pub trait Executor {
    /// Attempts that run at once at most, out of so many jobs: what those who look on have rows for.
    fn slots(&self, jobs: usize) -> usize;

    /// Attempts that can be started now at most; 0 where none can.
    fn capacity(&self) -> usize;

    /// Whether this run could be started now, alone on its device if it must be.
    fn fits(&self, job: &Job, is_alone: bool) -> bool;

    /// Takes over what a sweep before this one started and left: places in `jobs`, and the attempts. Called
    /// once, before all else.
    ///
    /// # Errors
    /// Where what was left cannot be read.
    fn adopt(&mut self, jobs: &[Job]) -> Result<Vec<(usize, Handle)>, SweepError> {
        let _ = jobs;
        Ok(Vec::new())
    }

    /// Starts an attempt that [fits](Self::fits), or sees to it that the next poll does.
    ///
    /// # Errors
    /// Where it could not be started: the attempt counts as failed.
    fn start(&mut self, request: &Request<'_>) -> Result<Handle, Failure>;

    /// What happened since the last call, in order. An executor with threads that listen wakes the dispatcher
    /// by [`Message::News`]; another one looks when it is called, as often as it finds right.
    ///
    /// # Errors
    /// Where the sweep cannot go on.
    fn poll(&mut self) -> Result<Vec<Update>, SweepError>;

    /// Asks an attempt to stop; that it ended is told by [`Self::poll`]. May be called again for the same
    /// one.
    fn stop(&mut self, attempt: Handle, how: Stop);

    /// What becomes of the attempts under way when the user asks to stop, for the first time or once more.
    fn at_interrupt(&self, is_first: bool) -> AtInterrupt;

    /// Lets go of the attempts under way, and names them as the user can look for them.
    fn leave(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Whether workers' events include their signs of life, so that silence means that one hangs. Where they
    /// do not, workers must end themselves when they stall (`kdx worker --stall-timeout`).
    fn hears_signs_of_life(&self) -> bool;

    /// The keys of `[resources]` that are set and that this executor can do nothing with. It takes the
    /// section apart key by key, so that a new key does not compile until each executor says what it does
    /// with it.
    fn ignored_keys(&self, resources: &ResourcesConfig) -> Vec<IgnoredKey>;
}

/// A key of `[resources]` that is set, and that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// Its name within the section.
    pub key: &'static str,
    /// Where it has no effect, why, and what to set in its place; in words.
    pub reason: String,
}

impl fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resources.{} has no effect {}", self.key, self.reason)
    }
}
