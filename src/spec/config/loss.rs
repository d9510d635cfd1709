//! `[loss]`: how hard and soft losses are mixed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `alpha * hard + (1 - alpha) * soft`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// The soft loss: a divergence between teacher and student.
    pub kind: LossKind,
    /// Softens both distributions; soft losses are multiplied by its square (Hinton et al., 2015).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// The mixing weight; see `alpha_weighs`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Which loss alpha multiplies; some papers weigh the soft one.
    pub alpha_weighs: AlphaWeighs,
    /// For `js`: the teacher's weight in the mixture, `m = beta·p + (1-beta)·q` (GKD, 2306.13649).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta: f64,
    /// For the skewed divergences: the weight of the first distribution in the mixture
    /// (DistiLLM, 2402.03898).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub skew: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::ForwardKl,
            temperature: 1.5,
            alpha: 0.5,
            alpha_weighs: AlphaWeighs::Hard,
            beta: 0.5,
            skew: 0.1,
        }
    }
}

impl LossConfig {
    /// The weight of the hard loss, whatever alpha weighs; 1 for `none`.
    pub fn hard_weight(&self) -> f64 {
        match (self.kind, self.alpha_weighs) {
            (LossKind::None, _) => 1.0,
            (_, AlphaWeighs::Hard) => self.alpha,
            (_, AlphaWeighs::Soft) => 1.0 - self.alpha,
        }
    }
}

/// The soft loss. `p` is the teacher, `q` the student, both at the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// KL(p ‖ q), mass-covering.
    ForwardKl,
    /// KL(q ‖ p), mode-seeking (MiniLLM, 2306.08543).
    ReverseKl,
    /// Generalized Jensen–Shannon: `beta·KL(p‖m) + (1-beta)·KL(q‖m)`.
    Js,
    /// KL(p ‖ skew·p + (1-skew)·q).
    SkewForwardKl,
    /// KL(q ‖ skew·q + (1-skew)·p).
    SkewReverseKl,
    /// Total variation distance, `½·Σ|p-q|`.
    Tvd,
    /// Mean squared error of the raw logits; no temperature.
    LogitMse,
    /// No soft loss: the baseline that learns from labels alone.
    None,
}

/// Which loss alpha multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlphaWeighs {
    /// `alpha * hard + (1 - alpha) * soft`.
    Hard,
    /// `(1 - alpha) * hard + alpha * soft`.
    Soft,
}
