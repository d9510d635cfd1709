//! What an experiment file comes to, from the text to the runs.

mod expansion;
mod identity;
mod layering;
mod sampling;
mod warnings;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{Experiment, Problems, ResolveError, Resolved, Surrounding, Surroundings, load_in, resolve};
use crate::spec::RunRecord;

/// A section for everything that a run needs.
const COMPLETE: &str = r#"
[data]
train = "train.jsonl"
tokenizer = "tokenizer"
[teacher]
hidden_size = 32
layers = 2
[student]
hidden_size = 16
layers = 1
"#;

/// A directory with data, a tokenizer and experiment files.
struct Bench {
    root: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { root: tempfile::tempdir().unwrap() };
        bench.write("train.jsonl", "{\"text\": \"a\"}\n");
        bench.write("valid.jsonl", "{\"text\": \"b\"}\n");
        bench.write("tokenizer/tokenizer.json", "{}");
        bench
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Loads a file that has [`COMPLETE`] after its text, so that the text can begin with keys of
    /// the top and must not open these sections.
    fn load(&self, head: &str, grid: &str) -> Experiment {
        self.write("e.toml", &format!("{head}\n{COMPLETE}\n{grid}"));
        self.load_file("e.toml", &[], &[]).unwrap()
    }

    fn load_file(
        &self,
        name: &str,
        overrides: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Experiment, Problems> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let surroundings = Surroundings { variables, directory: self.path().to_owned() };
        load_in(Path::new(name), &overrides, &surroundings)
    }

    fn resolve(&self, experiment: &Experiment) -> Resolved {
        resolve_with(experiment, &[]).unwrap()
    }
}

/// Resolves an experiment against a store that holds these runs.
fn resolve_with(experiment: &Experiment, stored: &[RunRecord]) -> Result<Resolved, ResolveError> {
    let mut digest = |path: &Path| Ok(blake3::hash(&fs::read(path)?).to_hex().to_string());
    let find = |name: &str| {
        let found = stored.iter().find(|record| record.run_id.0.starts_with(name));
        found.cloned().ok_or_else(|| format!("no run begins with {name}").into())
    };
    resolve(experiment, Surrounding { digest: &mut digest, find: &find })
}

/// The values of one axis, point by point; null where it does not count.
fn column(experiment: &Experiment, key: &str) -> Vec<Value> {
    experiment.points.iter().map(|point| point.values.get(key).cloned().unwrap_or_default()).collect()
}

/// The values of all axes, point by point, as `2.0/0`.
fn rows(experiment: &Experiment) -> Vec<String> {
    let row = |point: &super::Point| {
        let cells = experiment.axes.iter().map(|axis| point.values.get(axis).map_or("-".to_owned(), cell));
        cells.collect::<Vec<_>>().join("/")
    };
    experiment.points.iter().map(row).collect()
}

fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
