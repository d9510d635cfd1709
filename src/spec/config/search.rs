//! `[search]`: random sampling, and early stopping of bad runs.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::spec::metric::{self, METRICS, Metric};

/// Random sampling, and early stopping of bad runs. Not part of a run's identity: it decides which runs
/// there are and how far they are trained, never what a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Points that are drawn from `[search.space]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub samples: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
    /// What stops bad runs early: nothing, asynchronous successive halving, or the median rule.
    pub pruner: Pruner,
    /// The metric that runs are judged by, as it is on held-out data.
    pub metric: SearchMetric,
    /// Evaluations that every run gets before it can be stopped: the first rung of `asha`.
    #[schemars(range(min = 1))]
    pub min_evaluations: u64,
    /// For `asha`: the reduction factor. One run in `eta` goes on from a rung, `eta` times as far.
    #[schemars(range(min = 2))]
    pub eta: u64,
    /// For `median`: runs that must have finished before any is stopped.
    #[schemars(range(min = 1))]
    pub min_runs: usize,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            samples: None,
            seed: 0,
            pruner: Pruner::None,
            metric: SearchMetric::default(),
            min_evaluations: 1,
            eta: 3,
            min_runs: 5,
        }
    }
}

/// What stops bad runs early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pruner {
    /// Every run is trained to its end.
    None,
    /// Asynchronous successive halving (Li et al., 1810.05934).
    Asha,
    /// The median stopping rule (Golovin et al., Vizier, 2017).
    Median,
}

impl Pruner {
    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Asha => "asha",
            Self::Median => "median",
        }
    }
}

/// A metric that runs are judged by while they train: one of those that the registry says are in every
/// validation row, under its name.
#[derive(Debug, Clone, Copy)]
pub struct SearchMetric(&'static Metric);

impl SearchMetric {
    /// The metric of this name; none where it is not registered, or not measured while a run trains.
    pub fn find(name: &str) -> Option<Self> {
        Self::choices().find(|metric| metric.as_str() == name)
    }

    /// All that a search can judge by.
    pub fn choices() -> impl Iterator<Item = Self> {
        METRICS.iter().filter(|metric| metric.is_in_validation_rows()).map(Self)
    }

    /// What is registered about it.
    pub fn metric(self) -> &'static Metric {
        self.0
    }

    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }
}

impl Default for SearchMetric {
    fn default() -> Self {
        Self(metric::ranking())
    }
}

impl PartialEq for SearchMetric {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for SearchMetric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SearchMetric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| {
            let known: Vec<&str> = Self::choices().map(Self::as_str).collect();
            D::Error::custom(format!(
                "`{name}` is no metric of a search, expected one of {}",
                known.join(", ")
            ))
        })
    }
}

/// One word for each metric, so that editors and the checker know them.
impl JsonSchema for SearchMetric {
    fn schema_name() -> Cow<'static, str> {
        "SearchMetric".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let word = |choice: Self| {
            json!({
                "type": "string", "const": choice.as_str(), "description": choice.metric().description,
            })
        };
        json_schema!({
            "description": "A metric that runs are judged by while they train.",
            "oneOf": Self::choices().map(word).collect::<Vec<_>>(),
        })
    }
}
