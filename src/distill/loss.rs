//! `[loss]` as the kernels take it.

use crate::kernels::{Distillation, Divergence};
use crate::spec::{LossConfig, LossKind};

impl From<&LossConfig> for Distillation {
    fn from(config: &LossConfig) -> Self {
        let divergence = match config.kind {
            LossKind::ForwardKl => Some(Divergence::ForwardKl),
            LossKind::ReverseKl => Some(Divergence::ReverseKl),
            LossKind::Js => Some(Divergence::JensenShannon { beta: config.beta }),
            LossKind::SkewForwardKl => Some(Divergence::SkewForwardKl { skew: config.skew }),
            LossKind::SkewReverseKl => Some(Divergence::SkewReverseKl { skew: config.skew }),
            LossKind::Tvd => Some(Divergence::TotalVariation),
            LossKind::LogitMse => Some(Divergence::LogitMse),
            LossKind::None => None,
        };
        Self { divergence, temperature: config.temperature, hard_weight: config.hard_weight() }
    }
}

/// The name of a soft loss in an experiment file.
pub(super) fn name(kind: LossKind) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::AlphaWeighs;

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
        assert_eq!(name(LossKind::SkewForwardKl), "skew_forward_kl");
    }
}
