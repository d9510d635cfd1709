//! `[compare]`: when a configuration counts as worse.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::metric::Better;

/// When `kdx compare` calls a configuration worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompareConfig {
    /// Tolerances by column of the runs table, as `"validation/hard_loss" = { relative = 0.01 }`.
    pub metrics: std::collections::BTreeMap<String, Tolerance>,
    /// Confidence that a difference must reach to count, where several seeds allow a test.
    #[schemars(extend("exclusiveMinimum" = 0), extend("exclusiveMaximum" = 1))]
    pub confidence: f64,
}

impl Default for CompareConfig {
    fn default() -> Self {
        let metrics = [
            ("validation/hard_loss", Tolerance { relative: 0.01, ..Tolerance::default() }),
            ("validation/agreement", Tolerance { absolute: 0.01, ..Tolerance::default() }),
        ];
        Self { metrics: metrics.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(), confidence: 0.95 }
    }
}

/// How much worse a metric may get.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// Allowed worsening as a fraction of the base's value.
    #[schemars(range(min = 0.0))]
    pub relative: f64,
    /// Allowed worsening in the metric's own unit; the larger of the two allowances counts.
    #[schemars(range(min = 0.0))]
    pub absolute: f64,
    /// Which direction is better; left out, what is known of the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
}
