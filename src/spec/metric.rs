//! The metrics: what a run measures, in which unit, and which direction is better.
//!
//! The rows of `metrics.jsonl` and the evaluations of `summary.json` hold values by name. What a name means
//! stands in [`METRICS`] and nowhere else: tables, plots, pages, comparisons, searches and progress lines ask
//! here. A name may have a prefix, as `math/hard_loss` on one of several held-out sets: it means what the
//! part after the last `/` means. A name that is not registered says in the evaluation itself what it is, see
//! `store::Evaluation::declared`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What training makes small: `alpha * hard + (1 - alpha) * soft`.
pub const LOSS: &str = "loss";
/// Cross-entropy on the labels: what pages rank by.
pub const HARD_LOSS: &str = "hard_loss";
/// The divergence from the teacher, temperature² included.
pub const SOFT_LOSS: &str = "soft_loss";
/// How often student and teacher have the same most likely token.
pub const AGREEMENT: &str = "agreement";
/// How often the most likely token is the label.
pub const ACCURACY: &str = "accuracy";
/// `exp` of the hard loss.
pub const PERPLEXITY: &str = "perplexity";

/// The unit of losses.
pub const NATS: &str = "nats a token";
/// The unit of shares from 0 to 1, which pages and lines show as percentages.
pub const FRACTION: &str = "fraction";
/// The unit of speeds.
pub const TOKENS_PER_SECOND: &str = "tokens a second";
/// The unit of times.
pub const SECONDS: &str = "seconds";
/// The unit of memory.
pub const BYTES: &str = "bytes";
/// Of what has no unit.
pub const NO_UNIT: &str = "";

/// Which direction of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Losses, times, memory.
    #[default]
    Lower,
    /// Agreement, accuracy, throughput.
    Higher,
}

impl Better {
    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// What is to be known of a metric to show it and to judge by it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetricInfo {
    /// In words, as `nats a token`; empty for what has none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub unit: Cow<'static, str>,
    /// Which direction is better; none where neither is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// What it is, in a line; may be empty.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub description: Cow<'static, str>,
}

/// Where the values of a metric come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// Every row of the metrics has it as a key of its own.
    EveryRow,
    /// Every evaluation.
    Evaluation,
    /// Evaluations of a student that has a teacher.
    WithTeacher,
    /// Evaluations of a student that a soft loss teaches.
    WithSoftLoss,
    /// Once, at the end of a run: a column of the runs table under its own name.
    Run,
}

/// A metric that kdx knows by name.
#[derive(Debug)]
pub struct Metric {
    /// As files write it.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which direction is better.
    pub better: Better,
    /// What it is, in a line.
    pub description: &'static str,
    /// Where its values come from.
    pub measured: Measured,
    /// Whether `[loss]` scales it: then it can not be held against that of a run with another loss.
    pub is_scaled_by_loss: bool,
    /// Whether it stands where there is room for few: in progress lines, lists of runs and learning curves.
    pub is_headline: bool,
}

/// Every metric that kdx knows, in the order in which tables and pages show them.
pub static METRICS: [Metric; 10] = [
    Metric {
        name: LOSS,
        unit: NATS,
        better: Better::Lower,
        description: "what training makes small: `alpha * hard + (1 - alpha) * soft`",
        measured: Measured::EveryRow,
        is_scaled_by_loss: true,
        is_headline: false,
    },
    Metric {
        name: HARD_LOSS,
        unit: NATS,
        better: Better::Lower,
        description: "cross-entropy on the labels",
        measured: Measured::Evaluation,
        is_scaled_by_loss: false,
        is_headline: true,
    },
    Metric {
        name: SOFT_LOSS,
        unit: NATS,
        better: Better::Lower,
        description: "divergence from the teacher, temperature² included",
        measured: Measured::WithSoftLoss,
        is_scaled_by_loss: true,
        is_headline: false,
    },
    Metric {
        name: AGREEMENT,
        unit: FRACTION,
        better: Better::Higher,
        description: "positions where student and teacher have the same most likely token",
        measured: Measured::WithTeacher,
        is_scaled_by_loss: false,
        is_headline: true,
    },
    Metric {
        name: ACCURACY,
        unit: FRACTION,
        better: Better::Higher,
        description: "positions where the most likely token is the label",
        measured: Measured::Evaluation,
        is_scaled_by_loss: false,
        is_headline: true,
    },
    Metric {
        name: PERPLEXITY,
        unit: NO_UNIT,
        better: Better::Lower,
        description: "exp of the hard loss",
        measured: Measured::Evaluation,
        is_scaled_by_loss: false,
        is_headline: false,
    },
    Metric {
        name: "tokens_per_second",
        unit: TOKENS_PER_SECOND,
        better: Better::Higher,
        description: "training tokens, evaluation left out",
        measured: Measured::Run,
        is_scaled_by_loss: false,
        is_headline: false,
    },
    Metric {
        name: "wall_seconds",
        unit: SECONDS,
        better: Better::Lower,
        description: "from the start to the end, everything included",
        measured: Measured::Run,
        is_scaled_by_loss: false,
        is_headline: false,
    },
    Metric {
        name: "peak_memory",
        unit: BYTES,
        better: Better::Lower,
        description: "of the worker process",
        measured: Measured::Run,
        is_scaled_by_loss: false,
        is_headline: false,
    },
    Metric {
        name: "parameters",
        unit: NO_UNIT,
        better: Better::Lower,
        description: "trained parameters of the student",
        measured: Measured::Run,
        is_scaled_by_loss: false,
        is_headline: false,
    },
];

impl Metric {
    /// What is to be known of it.
    pub fn info(&self) -> MetricInfo {
        MetricInfo { unit: self.unit.into(), better: Some(self.better), description: self.description.into() }
    }

    /// Whether evaluations hold it by name.
    pub fn is_in_evaluations(&self) -> bool {
        matches!(self.measured, Measured::Evaluation | Measured::WithTeacher | Measured::WithSoftLoss)
    }

    /// Whether every validation row has it that its run can have: what a search can judge by.
    pub fn is_in_validation_rows(&self) -> bool {
        self.measured == Measured::EveryRow || self.is_in_evaluations()
    }
}

/// The metric of this name, with or without a prefix: `math/hard_loss` is a hard loss.
pub fn find(name: &str) -> Option<&'static Metric> {
    let own = name.rsplit('/').next().unwrap_or(name);
    METRICS.iter().find(|metric| metric.name == own)
}

/// The metric that pages rank by, and searches judge by unless they say another.
pub fn ranking() -> &'static Metric {
    &METRICS[1]
}

/// What people call a metric: `hard loss`.
pub fn title(name: &str) -> String {
    name.replace('_', " ")
}

/// What values are sorted by: registered ones in the order of [`METRICS`], then all others by their names.
pub fn rank(name: &str) -> (usize, &str) {
    (METRICS.iter().position(|metric| metric.name == name).unwrap_or(METRICS.len()), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_a_prefix_changes_nothing() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(std::ptr::eq(find(metric.name).unwrap(), metric), "{}", metric.name);
            assert_eq!(rank(metric.name), (index, metric.name));
        }
        assert_eq!(find("math/accuracy").map(|metric| metric.better), Some(Better::Higher));
        assert_eq!(ranking().name, HARD_LOSS);
        assert!(find("reward").is_none() && find("accuracy/math").is_none());
    }

    #[test]
    fn metrics_stand_in_the_order_of_the_registry_and_others_behind() {
        let mut names = ["reward", PERPLEXITY, "bleu", HARD_LOSS, AGREEMENT];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, [HARD_LOSS, AGREEMENT, PERPLEXITY, "bleu", "reward"]);
    }

    #[test]
    fn what_is_known_of_a_metric_survives_its_file() {
        let info =
            MetricInfo { unit: "points".into(), better: Some(Better::Higher), description: Cow::default() };
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(text, r#"{"unit":"points","better":"higher"}"#);
        assert_eq!(serde_json::from_str::<MetricInfo>(&text).unwrap(), info);
        assert_eq!(serde_json::from_str::<MetricInfo>("{}").unwrap(), MetricInfo::default());
    }
}
