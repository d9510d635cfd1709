//! What a worker tells the dispatcher: one JSON object a line, on the worker's standard output.

use serde::{Deserialize, Serialize};

use crate::store::{MetricRow, RunState};

/// One report of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Something is made before the training that may take long.
    Preparing {
        /// What.
        what: String,
        /// How much of it is done.
        done: u64,
        /// How much it is.
        total: u64,
    },
    /// The run cannot go on until another process has made something.
    Waiting {
        /// What.
        what: String,
    },
    /// The data is ready, the models are built, training begins.
    Started {
        /// Optimizer steps that the run will take.
        total_steps: u64,
        /// Parameters of the model that is trained.
        parameters: u64,
    },
    /// The run goes on from the checkpoint of an attempt before.
    Resumed {
        /// Steps that it need not take again.
        step: u64,
    },
    /// The run begins again: the checkpoint of an attempt before cannot be used.
    Restarted {
        /// Which file is wrong, and how.
        reason: String,
    },
    /// A row of the metrics was written.
    Metric {
        /// The row.
        row: MetricRow,
        /// Training tokens a second so far.
        tokens_per_second: f64,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps that it holds.
        step: u64,
    },
    /// The worker goes on with what it does; sent every few seconds unless it hangs.
    Alive,
    /// Another process holds the lock of this run.
    Locked,
    /// The run ended, in a state that the worker has written to the run directory.
    Ended {
        /// How.
        state: RunState,
        /// Why it diverged or failed.
        reason: Option<String>,
    },
}

impl Event {
    /// The event as one line, without the line's end.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line; none for anything that is not an event, such as a library's chatter.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_pipe() {
        let event = Event::Ended { state: RunState::Diverged, reason: Some("loss is NaN\nat step 3".into()) };
        let line = event.to_line();
        assert!(!line.contains('\n'));
        assert_eq!(Event::from_line(&line), Some(event));
    }

    #[test]
    fn chatter_is_not_an_event() {
        assert_eq!(Event::from_line("loading…"), None);
        assert_eq!(Event::from_line(r#"{"event":"unheard_of"}"#), None);
    }
}
