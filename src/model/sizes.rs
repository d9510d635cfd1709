//! Models by the sizes that an experiment file declares: new ones, and those of a checkpoint made larger or
//! smaller.

use super::config::{BlockParts, ModelConfig, RopeConfig};
use super::error::ModelError;
use super::family::llama::Llama;
use crate::spec::SizeConfig;

/// Above this a size is mistyped: 4 TB of weights.
const MOST_PARAMETERS: u64 = 1_000_000_000_000;
/// What a model declared by size is good for; the rotary embedding has no table that could end.
const DEFAULT_POSITIONS: usize = 32_768;

impl ModelConfig {
    /// A Llama of declared sizes. `vocab_size` is the tokenizer's, and gives way to a declared one.
    ///
    /// # Errors
    /// Where the heads do not divide, a size is missing, or all sizes together are absurd.
    pub fn from_size(size: &SizeConfig, vocab_size: usize) -> Result<Self, ModelError> {
        let size = size.resolve(vocab_size)?;
        let config = Self {
            family: &Llama,
            parts: BlockParts::default(),
            hidden_size: size.hidden_size,
            intermediate_size: size.intermediate_size,
            layers: size.layers,
            heads: size.heads,
            kv_heads: size.kv_heads,
            head_dim: size.head_dim,
            vocab_size: size.vocab_size,
            tie_word_embeddings: size.tie_word_embeddings,
            rope: RopeConfig { theta: size.rope_theta, scaling: None },
            rms_norm_eps: size.rms_norm_eps,
            initializer_range: size.initializer_range,
            max_position_embeddings: DEFAULT_POSITIONS,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        };
        check_size(config)
    }

    /// The same model with the declared sizes in place of its own: what a student has that starts from
    /// a part of a checkpoint.
    ///
    /// # Errors
    /// As for [`ModelConfig::from_size`].
    pub fn resize(self, size: &SizeConfig) -> Result<Self, ModelError> {
        if !size.is_declared() {
            return Ok(self);
        }
        let merged = SizeConfig {
            hidden_size: size.hidden_size.or(Some(self.hidden_size)),
            layers: size.layers.or(Some(self.layers)),
            heads: size.heads.or(Some(self.heads)),
            kv_heads: size.kv_heads.or(Some(self.kv_heads)),
            intermediate_size: size.intermediate_size.or(Some(self.intermediate_size)),
            vocab_size: size.vocab_size.or(Some(self.vocab_size)),
            tie_word_embeddings: size.tie_word_embeddings.or(Some(self.tie_word_embeddings)),
            rope_theta: size.rope_theta.or(Some(self.rope.theta)),
            rms_norm_eps: size.rms_norm_eps.or(Some(self.rms_norm_eps)),
            initializer_range: size.initializer_range.or(Some(self.initializer_range)),
        };
        // A checkpoint may have heads of a width of their own; they keep it unless they are declared.
        let keeps_heads = size.hidden_size.is_none() && size.heads.is_none();
        let resolved = if keeps_heads {
            let divisible = SizeConfig { hidden_size: Some(self.heads * self.head_dim), ..merged };
            Self { hidden_size: self.hidden_size, ..Self::from_size(&divisible, self.vocab_size)? }
        } else {
            Self::from_size(&merged, self.vocab_size)?
        };
        let rope = RopeConfig { theta: resolved.rope.theta, scaling: self.rope.scaling };
        let resized = Self {
            family: self.family,
            parts: self.parts,
            rope,
            max_position_embeddings: self.max_position_embeddings,
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids,
            pad_token_id: self.pad_token_id,
            ..resolved
        };
        check_size(resized)
    }
}

/// Refuses a model that no machine holds, before anything of its size is allocated.
///
/// # Errors
/// Where it has too many parameters.
pub(super) fn check_size(config: ModelConfig) -> Result<ModelConfig, ModelError> {
    let parameters = config.parameters();
    if parameters > MOST_PARAMETERS {
        return Err(ModelError::TooLarge { parameters });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(hidden_size: usize, layers: usize) -> SizeConfig {
        SizeConfig { hidden_size: Some(hidden_size), layers: Some(layers), ..SizeConfig::default() }
    }

    #[test]
    fn declared_sizes_replace_those_of_a_checkpoint() {
        let base = ModelConfig {
            head_dim: 20,
            eos_token_ids: vec![2],
            ..ModelConfig::from_size(&size(64, 2), 320).unwrap()
        };
        let none = base.clone().resize(&SizeConfig::default()).unwrap();
        assert_eq!(none, base);
        let shallow = SizeConfig { layers: Some(1), ..SizeConfig::default() };
        let shallow = base.clone().resize(&shallow).unwrap();
        assert_eq!(shallow, ModelConfig { layers: 1, ..base.clone() }, "nothing else changes");
        let wide = SizeConfig { hidden_size: Some(128), ..SizeConfig::default() };
        let wide = base.clone().resize(&wide).unwrap();
        assert_eq!(
            (wide.hidden_size, wide.head_dim, wide.intermediate_size),
            (128, 16, base.intermediate_size)
        );
        assert_eq!(wide.eos_token_ids, [2]);
        let wrong = SizeConfig { kv_heads: Some(3), ..SizeConfig::default() };
        assert!(matches!(base.resize(&wrong), Err(ModelError::Size(_))));
    }

    #[test]
    fn a_resized_model_stays_of_its_family() {
        let parts = BlockParts { qk_norm: true, ..BlockParts::default() };
        let base = ModelConfig::from_size(&size(64, 2), 320).unwrap();
        let base = ModelConfig { family: &crate::model::family::qwen3::Qwen3, parts, ..base };
        let resized = base.clone().resize(&size(32, 1)).unwrap();
        assert_eq!((resized.family, resized.parts), (base.family, parts));
        assert_eq!((resized.hidden_size, resized.layers), (32, 1));
    }

    #[test]
    fn sizes_that_no_machine_holds_are_refused() {
        let absurd = SizeConfig { vocab_size: Some(usize::MAX), ..size(64, 1) };
        assert!(matches!(ModelConfig::from_size(&absurd, 1), Err(ModelError::TooLarge { .. })));
    }
}
