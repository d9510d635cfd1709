//! `[loss]`: the kinds of soft loss, the numbers that each reads, and how hard and soft losses are mixed.
//!
//! A kind is a name in [`LossKind`] and a row in [`LossConfig::row`]; what it computes is the kernels'. All
//! else that is to be known of it (which keys count, which values teach nothing) follows from the row.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernels::{Distillation, Divergence};
use crate::spec::canonical::Object;

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
    /// For `mixed_kl`: the weight of KL(p ‖ q) against KL(q ‖ p); at ½ the two are symmetric.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub forward_weight: f64,
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
            forward_weight: 0.5,
        }
    }
}

/// What is to be known of a kind.
pub(crate) struct LossRow {
    /// What the kernels compute, with its number; none where there is no soft loss.
    pub divergence: Option<Divergence>,
    /// Where the number comes from.
    pub number: Option<&'static LossNumber>,
}

/// A key of `[loss]` that only some kinds read.
pub(crate) struct LossNumber {
    /// Its dotted name.
    pub key: &'static str,
    /// Who reads it, in words: "only …".
    pub when: &'static str,
    /// What to write where the value makes the loss zero.
    pub advice: &'static str,
    /// Its value.
    pub get: fn(&LossConfig) -> f64,
    /// Makes it what it is where it is left out.
    pub reset: fn(&mut LossConfig),
}

/// Every key that only some kinds read.
pub(crate) const LOSS_NUMBERS: [LossNumber; 3] = [BETA, SKEW, FORWARD_WEIGHT];

const BETA: LossNumber = LossNumber {
    key: "loss.beta",
    when: "`js` has it",
    advice: "choose `beta` between 0 and 1; near 0 the loss goes like `forward_kl`, near 1 like `reverse_kl`",
    get: |loss| loss.beta,
    reset: |loss| loss.beta = LossConfig::default().beta,
};

const SKEW: LossNumber = LossNumber {
    key: "loss.skew",
    when: "`skew_forward_kl` and `skew_reverse_kl` have it",
    advice: "choose `skew` below 1, where a distribution is compared with itself; 0.1 is DistiLLM's choice",
    get: |loss| loss.skew,
    reset: |loss| loss.skew = LossConfig::default().skew,
};

const FORWARD_WEIGHT: LossNumber = LossNumber {
    key: "loss.forward_weight",
    when: "`mixed_kl` has it",
    advice: "choose `forward_weight` between 0 and 1",
    get: |loss| loss.forward_weight,
    reset: |loss| loss.forward_weight = LossConfig::default().forward_weight,
};

impl LossConfig {
    /// The row of its kind: the one place beside the kernels that tells the kinds apart.
    pub(crate) fn row(&self) -> LossRow {
        let Self { beta, skew, forward_weight, .. } = *self;
        let (divergence, number) = match self.kind {
            LossKind::ForwardKl => (Some(Divergence::ForwardKl), None),
            LossKind::ReverseKl => (Some(Divergence::ReverseKl), None),
            LossKind::MixedKl => (Some(Divergence::MixedKl { forward_weight }), Some(&FORWARD_WEIGHT)),
            LossKind::Js => (Some(Divergence::JensenShannon { beta }), Some(&BETA)),
            LossKind::SkewForwardKl => (Some(Divergence::SkewForwardKl { skew }), Some(&SKEW)),
            LossKind::SkewReverseKl => (Some(Divergence::SkewReverseKl { skew }), Some(&SKEW)),
            LossKind::Tvd => (Some(Divergence::TotalVariation), None),
            LossKind::LogitMse => (Some(Divergence::LogitMse), None),
            LossKind::None => (None, None),
        };
        LossRow { divergence, number }
    }

    /// Whether its kind reads a key of [`LOSS_NUMBERS`].
    pub(crate) fn reads(&self, key: &str) -> bool {
        self.row().number.is_some_and(|number| number.key == key)
    }

    /// Whether the temperature softens the distributions that its kind compares.
    pub fn has_temperature(&self) -> bool {
        self.row().divergence.is_some_and(|divergence| divergence.has_temperature())
    }

    /// Its part in the name of a run: what differs from the default.
    pub(in crate::spec) fn identify(&self) -> Object {
        let default = Self::default();
        let Self { kind, temperature, alpha, alpha_weighs, beta, skew, forward_weight } = self;
        let mut object = Object::default();
        object.set_unless("kind", kind, &default.kind);
        object.set_unless("temperature", temperature, &default.temperature);
        object.set_unless("alpha", alpha, &default.alpha);
        object.set_unless("alpha_weighs", alpha_weighs, &default.alpha_weighs);
        object.set_unless("beta", beta, &default.beta);
        object.set_unless("skew", skew, &default.skew);
        object.set_unless("forward_weight", forward_weight, &default.forward_weight);
        object
    }

    /// The weight of the hard loss, whatever alpha weighs; 1 for `none`.
    pub fn hard_weight(&self) -> f64 {
        match (self.kind, self.alpha_weighs) {
            (LossKind::None, _) => 1.0,
            (_, AlphaWeighs::Hard) => self.alpha,
            (_, AlphaWeighs::Soft) => 1.0 - self.alpha,
        }
    }
}

impl From<&LossConfig> for Distillation {
    fn from(config: &LossConfig) -> Self {
        Self {
            divergence: config.row().divergence,
            temperature: config.temperature,
            hard_weight: config.hard_weight(),
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
    /// `w·KL(p ‖ q) + (1-w)·KL(q ‖ p)` with `w = forward_weight`; at ½ the symmetric KL (Jeffreys).
    MixedKl,
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

impl LossKind {
    /// Its name in an experiment file.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_weighs_the_loss_that_it_says() {
        let weight = |kind, alpha_weighs| {
            let config = LossConfig { kind, alpha: 0.3, alpha_weighs, ..LossConfig::default() };
            Distillation::from(&config).hard_weight
        };
        assert_eq!(weight(LossKind::ForwardKl, AlphaWeighs::Hard), 0.3);
        assert_eq!(weight(LossKind::ForwardKl, AlphaWeighs::Soft), 0.7);
        assert_eq!(weight(LossKind::None, AlphaWeighs::Soft), 1.0);
    }

    #[test]
    fn names_are_those_of_the_experiment_file() {
        assert_eq!(LossKind::SkewForwardKl.name(), "skew_forward_kl");
    }
}
