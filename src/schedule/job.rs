//! One run of a plan, and what to call it.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::estimate::Estimate;
use crate::spec::{Purpose, RunId, RunRecord};
use crate::store::{RunDir, RunState, RunSummary, Store};

/// One run of a plan.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the run is.
    pub record: RunRecord,
    /// What the experiment has it for.
    pub part: Part,
    /// Where it stood when the plan was made.
    pub state: RunState,
    /// Attempts so far.
    pub attempts: u32,
    /// What it costs.
    pub estimate: Estimate,
    /// What it came to, where it is done.
    pub summary: Option<RunSummary>,
}

/// What an experiment has a run for.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A point of its grid.
    Point {
        /// The values of the axes.
        values: BTreeMap<String, Value>,
        /// Whether others are held against it: nothing stops it early.
        is_baseline: bool,
    },
    /// Other runs need it.
    Need(Purpose),
}

impl Job {
    /// The run's identity.
    pub fn id(&self) -> &RunId {
        &self.record.run_id
    }

    /// The run in a few words: its point, or what others need it for.
    pub fn label(&self) -> String {
        match &self.part {
            Part::Need(purpose) => format!("{} {}", purpose.as_str(), model_label(&self.record)),
            Part::Point { values, .. } if values.is_empty() => "the only run".to_owned(),
            Part::Point { values, .. } => point_label(values),
        }
    }

    /// What the run is for, in a word: `run` for a point of the grid, else what others need it for.
    pub fn purpose(&self) -> &'static str {
        match &self.part {
            Part::Need(purpose) => purpose.as_str(),
            Part::Point { .. } => "run",
        }
    }

    /// The values of the axes; none of a run that others need.
    pub fn point(&self) -> Option<&BTreeMap<String, Value>> {
        match &self.part {
            Part::Point { values, .. } => Some(values),
            Part::Need(_) => None,
        }
    }

    /// Whether others are held against it: nothing stops it early.
    pub fn is_baseline(&self) -> bool {
        matches!(self.part, Part::Point { is_baseline: true, .. })
    }

    /// Its directory.
    pub fn dir(&self, store: &Store) -> RunDir {
        store.run_dir(self.id())
    }
}

/// A point in words, as `temperature=2 alpha=0.5`: each key by its last part where that is unique.
pub fn point_label(point: &BTreeMap<String, Value>) -> String {
    let short = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let mut names: HashMap<String, usize> = HashMap::new();
    for key in point.keys() {
        *names.entry(short(key)).or_default() += 1;
    }
    let parts: Vec<String> = point
        .iter()
        .map(|(key, value)| {
            let name = if names[&short(key)] == 1 { short(key) } else { key.clone() };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={value}")
        })
        .collect();
    parts.join(" ")
}

fn model_label(record: &RunRecord) -> String {
    let size = record.spec.stage().start.size();
    match (size.hidden_size, size.layers) {
        (Some(hidden), Some(layers)) => format!("{hidden}×{layers}"),
        _ => record.run_id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_label_keeps_the_section_only_where_names_collide() {
        let point = |pairs: &[(&str, Value)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<BTreeMap<_, _>>()
        };
        let plain = point(&[("loss.temperature", json!(2.0)), ("loss.kind", json!("js"))]);
        assert_eq!(point_label(&plain), "kind=js temperature=2.0");
        let colliding = point(&[("student.layers", json!(1)), ("teacher.layers", json!(4))]);
        assert_eq!(point_label(&colliding), "student.layers=1 teacher.layers=4");
    }
}
