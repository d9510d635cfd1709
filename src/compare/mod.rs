//! Pairing, statistics and verdicts of two experiments.
//!
//! Runs are paired by configuration: everything but the seed and where files lie. A configuration
//! is worse where a metric worsened beyond its tolerance and, with several seeds on both sides, the
//! confidence interval of the difference excludes zero. The intervals are of one configuration at a
//! time: with many configurations, a few differ by chance, which is what the tolerances are for.

mod error;
pub mod json;
pub mod markdown;
mod pairing;
mod source;
pub mod text;
mod verdict;

use polars::prelude::DataType;
use serde::Serialize;

use crate::experiment::suggest::find_nearest;
use crate::report::cell::{numbers, texts};
use crate::report::columns::name_held_out;
use crate::spec::metric::find;
use crate::spec::{Better, CompareConfig};

pub use error::CompareError;
pub use source::{Side, Source};
pub use verdict::{Metric, Row, Verdict};

/// What replaces the tolerances of head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Metrics to compare, by their names or their columns of the runs table; if empty, all that have
    /// tolerances.
    pub metrics: Vec<String>,
    /// Allowed worsening as a fraction of base's value.
    pub relative: Option<f64>,
    /// Allowed worsening in the metric's own unit.
    pub absolute: Option<f64>,
    /// Which direction is better.
    pub better: Option<Better>,
    /// Confidence that a difference must reach to count.
    pub confidence: Option<f64>,
    /// Configuration keys that do not take part in pairing.
    pub ignored: Vec<String>,
}

/// Two sides, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What base is called.
    pub base: String,
    /// What head is called.
    pub head: String,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// What was compared.
    pub metrics: Vec<Metric>,
    /// The verdicts, the most urgent first.
    pub rows: Vec<Row>,
    /// What the reader should know about how they were found.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether something is worse or missing.
    pub fn is_failure(&self) -> bool {
        self.rows.iter().any(|row| row.verdict.is_failure())
    }

    /// How many verdicts there are of each kind, the most urgent first.
    pub fn counts(&self) -> Vec<(Verdict, usize)> {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        Verdict::ALL.into_iter().map(|verdict| (verdict, count(verdict))).filter(|(_, n)| *n > 0).collect()
    }
}

/// Compares head with base. Tolerances are those of head, else of base, else the defaults.
pub fn compare(base: &Source, head: &Source, overrides: &Overrides) -> Result<Comparison, CompareError> {
    let (base, head) = (base.read()?, head.read()?);
    let config = head.compare.as_ref().or(base.compare.as_ref()).cloned().unwrap_or_default();
    let confidence = choose_confidence(&config, overrides)?;
    let names = choose_columns(&config, overrides, [&base, &head]);
    for side in [&base, &head] {
        check_columns(side, &names)?;
    }
    let metrics: Vec<Metric> = names
        .iter()
        .map(|name| choose_tolerance(name, &config, overrides, [&head, &base]))
        .collect::<Result<_, _>>()?;
    check_figures(&base, &names)?;
    let pairing = pairing::pair(&base, &head, &names, &overrides.ignored)?;
    let mut rows: Vec<Row> =
        pairing.pairs.iter().flat_map(|pair| verdict::judge(pair, &metrics, confidence)).collect();
    rows.sort_by_key(|row| row.verdict);
    let mut notes = pairing.notes;
    for side in [&base, &head] {
        notes.extend(
            side.damaged.iter().map(|(run, why)| format!("{}: run {run} is left out: {why}", side.name)),
        );
        if !side.damaged.is_empty() {
            notes.push(format!(
                "{}: `kdx verify --reset` sets damaged runs aside, and the next `kdx sweep` begins them \
                 again",
                side.name
            ));
        }
    }
    Ok(Comparison { base: base.name, head: head.name, confidence, metrics, rows, notes })
}

fn choose_confidence(config: &CompareConfig, overrides: &Overrides) -> Result<f64, CompareError> {
    for (what, value) in [("--relative", overrides.relative), ("--absolute", overrides.absolute)] {
        if let Some(found) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(CompareError::Setting { what, found, expected: "a number of at least 0" });
        }
    }
    let confidence = overrides.confidence.unwrap_or(config.confidence);
    if !(confidence > 0.0 && confidence < 1.0) {
        let expected = "a number between 0 and 1, both excluded";
        return Err(CompareError::Setting { what: "the confidence", found: confidence, expected });
    }
    Ok(confidence)
}

/// The columns that are compared: those that are asked for, else all that have tolerances. A metric may be
/// asked for by its name alone: `accuracy` is `validation/accuracy` where no column has that name.
fn choose_columns(config: &CompareConfig, overrides: &Overrides, sides: [&Side; 2]) -> Vec<String> {
    let asked: Vec<&String> = match overrides.metrics.as_slice() {
        [] => config.metrics.keys().collect(),
        chosen => chosen.iter().collect(),
    };
    let is_column = |name: &str| sides.iter().any(|side| side.runs.column(name).is_ok());
    let column = |name: &String| {
        let long = name_held_out(name);
        if !is_column(name) && is_column(&long) { long } else { name.clone() }
    };
    asked.into_iter().map(column).collect()
}

/// What a column is judged by. Its direction is the one that is asked for, else that of its tolerance, else
/// what is known of the metric.
fn choose_tolerance(
    name: &str,
    config: &CompareConfig,
    overrides: &Overrides,
    sides: [&Side; 2],
) -> Result<Metric, CompareError> {
    let tolerance = config.metrics.iter().find(|(key, _)| *key == name || name_held_out(key) == name);
    let tolerance = tolerance.map(|(_, tolerance)| *tolerance).unwrap_or_default();
    let own = name.split_once('/').map_or(name, |(_, own)| own);
    let known = || {
        let registered = find(name).map(|metric| metric.better);
        registered.or_else(|| sides.iter().find_map(|side| side.metrics.get(own)?.better))
    };
    let better = overrides.better.or(tolerance.better).or_else(known);
    Ok(Metric {
        name: name.to_owned(),
        relative: overrides.relative.unwrap_or(tolerance.relative),
        absolute: overrides.absolute.unwrap_or(tolerance.absolute),
        better: better.ok_or_else(|| CompareError::NoDirection { metric: name.to_owned() })?,
    })
}

fn check_columns(side: &Side, metrics: &[String]) -> Result<(), CompareError> {
    let has = |name: &str| side.runs.column(name).is_ok();
    let needed = ["seed", "status"].into_iter().chain(metrics.iter().map(String::as_str));
    let missing: Vec<String> = needed.filter(|name| !has(name)).map(str::to_owned).collect();
    if !missing.is_empty() {
        let found: Vec<&str> = side.runs.get_column_names().into_iter().map(|name| name.as_str()).collect();
        let near = |name: &String| {
            let column = if name.contains('/') { name.clone() } else { name_held_out(name) };
            find_nearest(&column, found.iter().copied().filter(|found| found.contains('/')))
        };
        let advice = match missing.iter().filter(|name| metrics.contains(name)).find_map(near) {
            Some(near) => format!("did you mean `{near}`? `kdx report` writes all columns into runs.csv"),
            None => format!("it has: {}", found.join(", ")),
        };
        return Err(CompareError::NoColumn { side: side.name.clone(), missing, advice });
    }
    let all_numbers = metrics.iter().map(String::as_str).chain(["seed"]);
    for name in all_numbers {
        let column = side.runs.column(name)?;
        // A column without any value has no type of its own.
        let is_numeric = column.dtype().is_primitive_numeric() || column.null_count() == column.len();
        if !is_numeric || column.dtype() == &DataType::Boolean {
            return Err(CompareError::NotNumbers {
                side: side.name.clone(),
                column: name.to_owned(),
                found: column.dtype().to_string(),
            });
        }
    }
    Ok(())
}

/// There must be something that head could fall short of.
fn check_figures(base: &Side, metrics: &[String]) -> Result<(), CompareError> {
    let status = texts(&base.runs, "status")?;
    // A base that diverged throughout is a base: head can only be as bad.
    if status.iter().flatten().any(|status| status == "diverged") {
        return Ok(());
    }
    for metric in metrics {
        let values = numbers(&base.runs, metric)?;
        let is_finished = |row: usize| status[row].as_deref() == Some("finished");
        if values.iter().enumerate().any(|(row, value)| value.is_some() && is_finished(row)) {
            return Ok(());
        }
    }
    Err(CompareError::NoFigures { side: base.name.clone(), metrics: metrics.to_vec() })
}
