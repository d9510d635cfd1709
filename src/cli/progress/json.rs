//! One JSON object a line on standard output, for programs.

use serde_json::{Value, json};

use crate::cli::text;
use crate::schedule::{Event, Job, Watcher, timestamp};
use crate::store::RunState;

pub(super) struct Json {
    name: String,
    done_before: usize,
    states: std::collections::BTreeMap<&'static str, u64>,
}

impl Json {
    pub(super) fn new(name: &str, done_before: usize) -> Self {
        Self { name: name.to_owned(), done_before, states: std::collections::BTreeMap::new() }
    }
}

/// Prints an object with the time and what it says.
fn say(event: &str, mut fields: Value) {
    if let Some(object) = fields.as_object_mut() {
        object.insert("event".to_owned(), event.into());
        object.insert("time".to_owned(), timestamp().into());
    }
    text::say!("{fields}");
}

fn describe(job: &Job) -> Value {
    json!({
        "run": job.id(),
        "purpose": job.purpose(),
        "label": job.label(),
        "point": job.point(),
        "steps": job.estimate.steps,
        "state": job.state,
    })
}

impl Watcher for Json {
    fn begin(&mut self, jobs: &[Job], slots: usize) {
        let jobs: Vec<Value> = jobs.iter().map(describe).collect();
        let fields = json!({
            "experiment": self.name, "slots": slots, "done_before": self.done_before, "runs": jobs
        });
        say("begin", fields);
    }

    fn started(&mut self, job: &Job, slot: usize, place: &str) {
        say("worker", json!({ "run": job.id(), "slot": slot, "place": place }));
    }

    fn event(&mut self, job: &Job, slot: usize, event: &Event) {
        // How a run ended is said once the sweep knows what it makes of it.
        if matches!(event, Event::Alive | Event::Locked | Event::Ended { .. }) {
            return;
        }
        let mut fields = serde_json::to_value(event).unwrap_or_default();
        let name = fields["event"].as_str().unwrap_or_default().to_owned();
        if let Some(object) = fields.as_object_mut() {
            object.insert("run".to_owned(), job.id().to_string().into());
            object.insert("slot".to_owned(), slot.into());
        }
        say(&name, fields);
    }

    fn elsewhere(&mut self, job: &Job) {
        say("elsewhere", json!({ "run": job.id() }));
    }

    fn retried(&mut self, job: &Job, slot: Option<usize>, reason: &str) {
        say("again", json!({ "run": job.id(), "slot": slot, "reason": reason }));
    }

    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>) {
        *self.states.entry(state.as_str()).or_default() += 1;
        say("ended", json!({ "run": job.id(), "slot": slot, "state": state, "reason": reason }));
    }

    fn paused(&mut self, job: &Job, slot: usize) {
        say("paused", json!({ "run": job.id(), "slot": slot }));
    }

    fn notice(&mut self, text: &str) {
        say("notice", json!({ "text": text }));
    }

    fn stopping(&mut self) {
        say("stopping", json!({}));
    }

    fn end(&mut self) {
        say("end", json!({ "experiment": self.name, "runs": self.states }));
    }
}
