//! A worker process for several runs of one device, each on a thread of its own.
//!
//! The runs share what a process has once for a device: CUDA's context, compiled kernels, the server's
//! thread. CubeCL gives each run a stream, whose launches wait for no other's, and a pool of memory.
//!
//! ```text
//! client   the dispatcher's side: starts a host, hands runs to it, tells their reports apart
//! serve    the host's side: a thread, a pool of threads, a log and a stream for each run
//! ```
//!
//! The dispatcher writes a [`Request`] a line to the host's standard input, the host a [`Report`] a line to its
//! standard output. A host without a run waits for the next one until its standard input ends. What it prints to
//! standard error is no single run's, so it goes into the logs of all that it has.

mod client;
mod serve;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::events::Event;
use crate::spec::RunId;

pub(super) use client::{Guest, Host};
pub use serve::serve;

/// What a host is asked to do. Runs have numbers, each in the order in which it was handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// Train a run.
    Start {
        /// Its number.
        guest: u64,
        /// The run.
        run: RunId,
        /// CPU threads.
        threads: usize,
        /// The step at which it pauses; none to train it to its end.
        until: Option<u64>,
    },
    /// Stop a run in good order; the others go on.
    Stop {
        /// Its number.
        guest: u64,
    },
}

/// What a host has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    /// A run reports.
    Event {
        /// Its number.
        guest: u64,
        /// Its report.
        event: Event,
    },
    /// Nothing more comes from a run.
    Over {
        /// Its number.
        guest: u64,
        /// What it panicked of, where it did.
        panic: Option<String>,
    },
}

/// An event of a run as its host writes it.
pub(super) fn event_line(guest: u64, event: &Event) -> String {
    line(&Report::Event { guest, event: event.clone() })
}

/// Nothing here is left half done by a thread that panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line, without its end.
fn line(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_pipe() {
        let report = Report::Over { guest: 3, panic: Some("at\nthe disco".to_owned()) };
        assert!(!line(&report).contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&line(&report)).unwrap(), report);
        let event = event_line(1, &Event::Checkpoint { step: 2 });
        let expected = Report::Event { guest: 1, event: Event::Checkpoint { step: 2 } };
        assert_eq!(serde_json::from_str::<Report>(&event).unwrap(), expected);
        let run = RunId("ab".to_owned());
        let request = Request::Start { guest: 1, run, threads: 2, until: Some(3) };
        assert_eq!(serde_json::from_str::<Request>(&line(&request)).unwrap(), request);
    }
}
