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

use crate::report::cell::{numbers, texts};
use crate::spec::{Better, CompareConfig, Tolerance};

pub use error::CompareError;
pub use source::{Side, Source};
pub use verdict::{Metric, Row, Verdict};

/// What replaces the tolerances of head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Columns of the runs table to compare; all that have tolerances, if empty.
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
    let (metrics, confidence) = settings(config, overrides)?;
    let names: Vec<String> = metrics.iter().map(|metric| metric.name.clone()).collect();
    for side in [&base, &head] {
        check_columns(side, &names)?;
    }
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
                "{}: `kdx verify --reset` sets damaged runs aside, and the next `kdx sweep` begins them again",
                side.name
            ));
        }
    }
    Ok(Comparison { base: base.name, head: head.name, confidence, metrics, rows, notes })
}

fn settings(config: CompareConfig, overrides: &Overrides) -> Result<(Vec<Metric>, f64), CompareError> {
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
    let names: Vec<String> = match overrides.metrics.as_slice() {
        [] => config.metrics.keys().cloned().collect(),
        chosen => chosen.to_vec(),
    };
    let metric = |name: String| {
        let known = config.metrics.get(&name).copied();
        let mut tolerance =
            known.unwrap_or(Tolerance { better: usual_direction(&name), ..Tolerance::default() });
        tolerance.relative = overrides.relative.unwrap_or(tolerance.relative);
        tolerance.absolute = overrides.absolute.unwrap_or(tolerance.absolute);
        tolerance.better = overrides.better.unwrap_or(tolerance.better);
        Metric { name, tolerance }
    };
    Ok((names.into_iter().map(metric).collect(), confidence))
}

/// The direction of a metric that nobody gave a tolerance: losses, times and memory are better when
/// they are lower.
fn usual_direction(metric: &str) -> Better {
    let last = metric.rsplit('/').next().unwrap_or(metric);
    match last {
        "agreement" | "accuracy" | "tokens_per_second" => Better::Higher,
        _ => Better::Lower,
    }
}

fn check_columns(side: &Side, metrics: &[String]) -> Result<(), CompareError> {
    let has = |name: &str| side.runs.column(name).is_ok();
    let needed = ["seed", "status"].into_iter().chain(metrics.iter().map(String::as_str));
    let missing: Vec<String> = needed.filter(|name| !has(name)).map(str::to_owned).collect();
    if !missing.is_empty() {
        let found: Vec<&str> = side.runs.get_column_names().into_iter().map(|name| name.as_str()).collect();
        return Err(CompareError::NoColumn { side: side.name.clone(), missing, found: found.join(", ") });
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
