//! The configuration keys in which the runs of an experiment differ, and how to call them.

use polars::prelude::*;
use serde_json::Value;

use super::cell::Cell;
use super::columns::{BASELINE, KIND, NO_SOFT_LOSS, SEED, is_configuration_column};
use super::format;
use super::relevance::{counts, is_of_loss, places};
use crate::spec::PATH_KEYS;

/// The keys in which the runs of an experiment differ, the seed left out.
#[derive(Debug, Clone)]
pub struct Grid {
    /// In the order of the experiment's axes; keys that differ without being an axis (those of a
    /// baseline) come last.
    pub axes: Vec<Axis>,
}

/// A configuration key with the values that it takes.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The dotted key: `loss.temperature`.
    pub key: String,
    /// What people call it: `temperature`, `student hidden size`.
    pub name: String,
    /// The same among other settings of a student: `hidden size`.
    brief: String,
    /// Its values: numbers by size, others in the plan's order. Those are left out that only runs
    /// have to which the key means nothing.
    pub cells: Vec<Cell>,
    /// The values as text.
    pub labels: Vec<String>,
    /// How the values are spread.
    pub spacing: Spacing,
    /// The name with what the numbers mean, for the title of a plot's axis.
    pub title: String,
}

/// How the values of an axis are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Numbers, evenly or in no order.
    Linear,
    /// Positive numbers that are nearer to a constant ratio than to a constant step.
    Log,
    /// Words, switches, files.
    Category,
}

impl Grid {
    /// The grid of a runs table. `axes` are the experiment's, in its file's order.
    pub fn of(runs: &DataFrame, axes: &[String]) -> PolarsResult<Self> {
        let columns = runs.get_column_names_owned();
        let known = |key: &str| columns.iter().any(|c| c == key);
        let mut keys: Vec<String> = axes.iter().filter(|key| known(key)).cloned().collect();
        let others = columns.iter().filter(|c| is_configuration_column(c)).map(ToString::to_string);
        keys.extend(others.filter(|key| !axes.contains(key)));
        keys.retain(|key| key != SEED);
        let tried = tried(runs)?;
        let mut varying = Vec::new();
        for key in keys {
            // What is null because nobody has tried the run yet is not a value.
            let n = tried.column(&key)?.n_unique()?;
            let planned = runs.column(&key)?.drop_nulls().n_unique()?;
            if n.max(planned) > 1 {
                varying.push(key);
            }
        }
        let axes = varying.iter().map(|key| Axis::of(runs, key, &varying)).collect::<PolarsResult<_>>()?;
        Ok(Self { axes })
    }

    /// The dotted keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().map(|axis| axis.key.as_str())
    }

    /// Axes with at least two values.
    pub fn varied(&self) -> impl Iterator<Item = &Axis> {
        self.axes.iter().filter(|axis| axis.cells.len() > 1)
    }

    /// What people call a configuration: `forward_kl, temperature 2, alpha 0.5`. `cells` are its
    /// values in the order of [`Grid::axes`].
    pub fn label(&self, cells: &[Cell]) -> String {
        let set = || self.axes.iter().zip(cells).filter(|(_, cell)| **cell != Cell::Null);
        let kind = set().find(|(axis, _)| axis.key == KIND).map(|(_, cell)| cell.to_string());
        let named = set().filter(|(axis, _)| axis.cells.len() > 1);
        let parts = named.map(|(axis, cell)| (axis.key.as_str(), axis.brief.as_str(), axis.text(cell)));
        label(&parts.collect::<Vec<_>>(), kind.as_deref())
    }
}

/// What people call a configuration with these keys, names and values. `kind` is its soft loss, where
/// configurations differ in it.
pub fn label(parts: &[(&str, &str, String)], kind: Option<&str>) -> String {
    let is_alone = kind == Some(NO_SOFT_LOSS);
    let counting = parts.iter().filter(|(key, ..)| counts(key, kind) && !(is_alone && *key == KIND));
    let mut parts: Vec<_> = counting.collect();
    // The kind says most, wherever it stands in the file.
    parts.sort_by_key(|(key, ..)| *key != KIND);
    let mut words: Vec<String> =
        parts.into_iter().map(|(key, name, value)| phrase(key, name, value)).collect();
    if is_alone {
        words.insert(0, LABELS_ALONE.to_owned());
    }
    if words.is_empty() { "the only configuration".to_owned() } else { words.join(", ") }
}

/// A value in a sentence: `temperature 2`; a loss kind speaks for itself.
fn phrase(key: &str, name: &str, value: &str) -> String {
    if key == KIND { value.to_owned() } else { format!("{name} {value}") }
}

/// What pages call a student without a soft loss.
pub const LABELS_ALONE: &str = "labels alone";

impl Axis {
    fn of(runs: &DataFrame, key: &str, varying: &[String]) -> PolarsResult<Self> {
        let column = runs.column(key)?;
        let places = places(runs, key)?;
        let mut cells: Vec<Cell> = Vec::new();
        for (row, has_place) in places.into_iter().enumerate() {
            let cell = Cell::of(column, row);
            if has_place && cell != Cell::Null && !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let numeric = cells.iter().all(|cell| cell.number().is_some());
        if numeric || cells.iter().all(|cell| matches!(cell, Cell::Bool(_))) {
            cells.sort_by(Cell::order);
        }
        let spacing = if numeric { spacing(&cells) } else { Spacing::Category };
        let labels = if PATH_KEYS.contains(&key) {
            below_common_directory(&cells)
        } else {
            cells.iter().map(Cell::to_string).collect()
        };
        let name = name(key, varying);
        let title = title(key, &name, runs);
        Ok(Self { key: key.to_owned(), name, brief: brief_name(key, varying), cells, labels, spacing, title })
    }

    /// Whether the key belongs to what a student is taught with.
    pub fn is_of_loss(&self) -> bool {
        is_of_loss(&self.key)
    }

    /// Not an axis of the grid: whether a student is distilled or learns from labels alone.
    pub fn of_training() -> Self {
        Self {
            key: BASELINE.to_owned(),
            name: String::new(),
            brief: String::new(),
            cells: vec![Cell::Bool(false), Cell::Bool(true)],
            labels: vec!["distilled".to_owned(), LABELS_ALONE.to_owned()],
            spacing: Spacing::Category,
            title: String::new(),
        }
    }

    /// Which of the values a cell is.
    pub fn index(&self, cell: &Cell) -> Option<usize> {
        self.cells.iter().position(|c| c == cell)
    }

    /// The value that a flattened configuration has here.
    pub fn cell_of(&self, config: &[(String, Value)]) -> Cell {
        match config.iter().find(|(key, _)| *key == self.key).map(|(_, value)| value) {
            None | Some(Value::Null) => Cell::Null,
            Some(Value::Bool(v)) => Cell::Bool(*v),
            Some(Value::Number(v)) => v.as_f64().map_or(Cell::Null, Cell::Number),
            Some(Value::String(v)) => Cell::Text(v.clone()),
            Some(other) => Cell::Text(other.to_string()),
        }
    }

    /// A value as text.
    pub fn text(&self, cell: &Cell) -> String {
        self.index(cell).map_or_else(|| cell.to_string(), |index| self.labels[index].clone())
    }

    /// A value in a sentence.
    pub fn phrase(&self, cell: &Cell) -> String {
        phrase(&self.key, &self.brief, &self.text(cell))
    }
}

fn tried(runs: &DataFrame) -> PolarsResult<DataFrame> {
    // Every configuration has a seed of its own or the default one; a run that was never tried and
    // whose seed is no axis has none.
    let known = runs.column(SEED).map(|seed| seed.is_not_null());
    match known {
        Ok(mask) => runs.filter(&mask),
        Err(_) => Ok(runs.clone()),
    }
}

/// What people call a key, unlike all the other names on the same page.
fn name(key: &str, varying: &[String]) -> String {
    let short = short_name(key);
    let is_unique = varying.iter().filter(|other| short_name(other) == short).count() <= 1;
    if is_unique { short } else { key.replace(['.', '_'], " ") }
}

/// The same within a configuration, where a student's settings need no prefix.
pub fn brief_name(key: &str, varying: &[String]) -> String {
    let name = name(key, varying);
    match name.strip_prefix("student ") {
        Some(rest) if !varying.iter().any(|other| other != key && short_name(other).ends_with(rest)) => {
            rest.to_owned()
        }
        _ => name,
    }
}

fn title(key: &str, name: &str, runs: &DataFrame) -> String {
    match key {
        "loss.alpha" => {
            let weighs = runs.column("loss.alpha_weighs").map(|column| column.drop_nulls());
            match weighs {
                Ok(column) if column.n_unique().is_ok_and(|n| n == 1) => {
                    format!("alpha (weight of the {} loss)", Cell::of(&column, 0))
                }
                _ => name.to_owned(),
            }
        }
        "optimizer.learning_rate" => "peak learning rate".to_owned(),
        "data.max_length" => format!("{name} (tokens)"),
        "train.batch_size" => format!("{name} (sequences)"),
        _ => name.to_owned(),
    }
}

fn short_name(key: &str) -> String {
    let (section, last) = key.rsplit_once('.').unwrap_or(("", key));
    let bare = matches!(section, "loss" | "optimizer" | "train" | "schedule" | "evaluate") && last != "kind";
    if bare { last.replace('_', " ") } else { format!("{section} {last}").replace(['.', '_'], " ") }
}

/// Logarithmic where the ratios of neighbours vary less than their differences, over a range that
/// is wide enough to matter.
fn spacing(cells: &[Cell]) -> Spacing {
    let values: Vec<f64> = cells.iter().filter_map(Cell::number).collect();
    let (Some(&low), Some(&high)) = (values.first(), values.last()) else { return Spacing::Linear };
    if low <= 0.0 || high / low < 4.0 {
        return Spacing::Linear;
    }
    if values.len() == 2 {
        return if high / low >= 10.0 { Spacing::Log } else { Spacing::Linear };
    }
    let variation = |of: fn(f64, f64) -> f64| {
        let steps: Vec<f64> = values.windows(2).map(|w| of(w[0], w[1])).collect();
        let mean = steps.iter().sum::<f64>() / steps.len() as f64;
        (steps.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / steps.len() as f64).sqrt() / mean
    };
    if variation(|a, b| (b / a).ln()) < variation(|a, b| b - a) { Spacing::Log } else { Spacing::Linear }
}

/// Paths without the directories that all of them share; of a single path, its file name.
pub fn below_common_directory(cells: &[Cell]) -> Vec<String> {
    let texts: Vec<String> = cells.iter().map(Cell::to_string).collect();
    let split = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let parts: Vec<Vec<String>> = texts.iter().map(|text| split(text)).collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0).saturating_sub(1);
    let shared = (0..shortest).take_while(|&i| parts.iter().all(|p| p[i] == parts[0][i])).count();
    parts.iter().map(|p| p[shared..].join("/")).map(|text| format::shorten(&text, 40)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[f64]) -> Vec<Cell> {
        values.iter().map(|v| Cell::Number(*v)).collect()
    }

    #[test]
    fn spacing_follows_the_values() {
        assert_eq!(spacing(&numbers(&[1.0, 2.0, 4.0, 8.0])), Spacing::Log);
        assert_eq!(spacing(&numbers(&[1e-4, 3e-4, 1e-3])), Spacing::Log);
        assert_eq!(spacing(&numbers(&[1e-4, 1e-3])), Spacing::Log);
        assert_eq!(spacing(&numbers(&[1.0, 2.0, 3.0, 4.0])), Spacing::Linear);
        assert_eq!(spacing(&numbers(&[0.0, 0.5, 1.0])), Spacing::Linear);
        assert_eq!(spacing(&numbers(&[1.0, 4.0])), Spacing::Linear);
        assert_eq!(spacing(&numbers(&[])), Spacing::Linear);
    }

    #[test]
    fn names_are_short_unless_two_keys_share_them() {
        let keys = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let call = |key: &str, all: &[&str]| name(key, &keys(all));
        assert_eq!(call("loss.temperature", &["loss.temperature", "loss.kind"]), "temperature");
        assert_eq!(call("loss.kind", &["loss.kind"]), "loss kind");
        assert_eq!(call("student.hidden_size", &["student.hidden_size"]), "student hidden size");
        assert_eq!(call("teacher.train.epochs", &["teacher.train.epochs"]), "teacher train epochs");
        let both = ["train.batch_size", "evaluate.batch_size"];
        assert_eq!(call("train.batch_size", &both), "train batch size");
        let brief = |all: &[&str]| brief_name("student.hidden_size", &keys(all));
        assert_eq!(brief(&["student.hidden_size"]), "hidden size");
        assert_eq!(brief(&["student.hidden_size", "teacher.hidden_size"]), "student hidden size");
    }

    #[test]
    fn paths_lose_what_they_share() {
        let paths = |texts: &[&str]| texts.iter().map(|t| Cell::Text((*t).to_owned())).collect::<Vec<_>>();
        assert_eq!(below_common_directory(&paths(&["/a/b/t1", "/a/b/t2"])), ["t1", "t2"]);
        assert_eq!(below_common_directory(&paths(&["/a/x/t", "/a/y/t"])), ["x/t", "y/t"]);
        assert_eq!(below_common_directory(&paths(&["/a/b/t1"])), ["t1"]);
    }

    #[test]
    fn a_baseline_adds_no_value_to_the_axes_of_the_loss() {
        let runs = df!(
            "loss.kind" => ["forward_kl", "forward_kl", "none"],
            "loss.alpha" => [0.5, 0.5, 1.0],
            "loss.temperature" => [1.0, 2.0, 1.5],
            "train.seed" => [0i64, 0, 0],
            "train.epochs" => [1i64, 1, 1],
        )
        .unwrap();
        let grid = Grid::of(&runs, &["loss.temperature".to_owned()]).unwrap();
        assert_eq!(grid.keys().collect::<Vec<_>>(), ["loss.temperature", "loss.kind", "loss.alpha"]);
        assert_eq!(grid.varied().map(|axis| axis.key.as_str()).collect::<Vec<_>>(), ["loss.temperature"]);
        assert_eq!(grid.axes[0].labels, ["1", "2"]);
        let cells =
            |t: f64, kind: &str, a: f64| [Cell::Number(t), Cell::Text(kind.to_owned()), Cell::Number(a)];
        assert_eq!(grid.label(&cells(2.0, "forward_kl", 0.5)), "temperature 2");
        assert_eq!(grid.label(&cells(1.5, "none", 1.0)), "labels alone");
    }
}
