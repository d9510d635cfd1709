//! What the dispatcher and a process that several runs share say to each other, a line each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::schedule::events::Event;
use crate::spec::RunId;

/// What a shared process is asked to do. Runs have numbers, in the order in which they were started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Train a run.
    Start {
        /// Its number.
        number: u64,
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
        number: u64,
    },
}

/// What a shared process has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// A run reports.
    Event {
        /// Its number.
        number: u64,
        /// Its report.
        event: Event,
    },
    /// Nothing more comes from a run.
    Over {
        /// Its number.
        number: u64,
        /// What it panicked of, where it did.
        panic: Option<String>,
    },
}

/// An event of a run as its process writes it.
pub fn format_event(number: u64, event: &Event) -> String {
    to_line(&Report::Event { number, event: event.clone() })
}

/// Nothing here is left half done by a thread that panics.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line, without its end.
pub fn to_line(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_pipe() {
        let report = Report::Over { number: 3, panic: Some("at\nthe disco".to_owned()) };
        assert!(!to_line(&report).contains('\n'));
        assert_eq!(serde_json::from_str::<Report>(&to_line(&report)).unwrap(), report);
        let event = format_event(1, &Event::Checkpoint { step: 2 });
        let expected = Report::Event { number: 1, event: Event::Checkpoint { step: 2 } };
        assert_eq!(serde_json::from_str::<Report>(&event).unwrap(), expected);
        let run = RunId("ab".to_owned());
        let request = Request::Start { number: 1, run, threads: 2, until: Some(3) };
        assert_eq!(serde_json::from_str::<Request>(&to_line(&request)).unwrap(), request);
    }
}
