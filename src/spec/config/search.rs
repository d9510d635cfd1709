//! `[search]`: random sampling, and early stopping of bad runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare::Better;

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
    /// The held-out figure that runs are judged by; losses are better lower, `agreement` higher.
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
            metric: SearchMetric::HardLoss,
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

/// A held-out figure that runs are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMetric {
    /// `alpha * hard + (1 - alpha) * soft`.
    Loss,
    /// Cross-entropy on the labels.
    HardLoss,
    /// The divergence from the teacher.
    SoftLoss,
    /// How often student and teacher have the same most likely token.
    Agreement,
}

impl SearchMetric {
    /// Which direction is better.
    pub fn better(self) -> Better {
        match self {
            Self::Loss | Self::HardLoss | Self::SoftLoss => Better::Lower,
            Self::Agreement => Better::Higher,
        }
    }

    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::HardLoss => "hard_loss",
            Self::SoftLoss => "soft_loss",
            Self::Agreement => "agreement",
        }
    }
}
