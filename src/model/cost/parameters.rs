//! How many numbers of a model are trained.

use crate::model::config::{BlockParts, ModelConfig};

impl ModelConfig {
    /// Trained parameters, a tied head counted once; saturates where no machine could hold them.
    pub fn parameters(&self) -> u64 {
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        count_body(self).saturating_add(count_head(self).saturating_mul(matrices))
    }
}

/// Parameters of all blocks and of the last norm: all but the embedding and the output head. Saturates.
pub fn count_body(model: &ModelConfig) -> u64 {
    let hidden = model.hidden_size as u128;
    let total = count_block(model).saturating_mul(model.layers as u128).saturating_add(hidden);
    u64::try_from(total).unwrap_or(u64::MAX)
}

/// Numbers of the output head, `[vocab, hidden]`, as many as the embedding has. Saturates.
pub fn count_head(model: &ModelConfig) -> u64 {
    (model.hidden_size as u64).saturating_mul(model.vocab_size as u64)
}

/// Parameters of one block.
fn count_block(model: &ModelConfig) -> u128 {
    let [hidden, intermediate, heads, kv_heads, head_dim] =
        [model.hidden_size, model.intermediate_size, model.heads, model.kv_heads, model.head_dim]
            .map(|size| size as u128);
    let (queries, keys) = (heads.saturating_mul(head_dim), kv_heads.saturating_mul(head_dim));
    // Queries and output, keys and values; gate, up and down; two norms.
    let attention = hidden.saturating_mul(queries.saturating_add(keys)).saturating_mul(2);
    let feed_forward = hidden.saturating_mul(intermediate).saturating_mul(3);
    let block = attention.saturating_add(feed_forward).saturating_add(2 * hidden);
    let BlockParts { qkv_bias, output_bias, mlp_bias, qk_norm } = model.parts;
    let parts = [
        (qkv_bias, queries.saturating_add(keys.saturating_mul(2))),
        (output_bias, hidden),
        (mlp_bias, intermediate.saturating_mul(2).saturating_add(hidden)),
        (qk_norm, 2 * head_dim),
    ];
    let parts = parts.into_iter().filter(|(is_there, _)| *is_there);
    parts.fold(block, |sum, (_, numbers)| sum.saturating_add(numbers))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::transformer::Transformer;
    use crate::spec::SizeConfig;

    fn llama(size: SizeConfig, vocab: usize) -> ModelConfig {
        ModelConfig::from_size(&size, vocab).unwrap()
    }

    fn size(hidden_size: usize, layers: usize) -> SizeConfig {
        SizeConfig { hidden_size: Some(hidden_size), layers: Some(layers), ..SizeConfig::default() }
    }

    #[test]
    fn minimind_sizes_have_minimind_parameters() {
        assert_eq!(llama(size(512, 1), 6400).parameters(), 6_096_384);
        assert_eq!(llama(size(768, 2), 6400).parameters(), 17_305_344);
    }

    #[test]
    fn an_untied_head_counts_as_well() {
        let untied = SizeConfig { tie_word_embeddings: Some(false), ..size(512, 1) };
        assert_eq!(llama(untied, 6400).parameters(), 6_096_384 + 6400 * 512);
    }

    #[test]
    fn every_model_has_as_many_parameters_as_are_counted() {
        let base = llama(size(24, 2), 50);
        for number in 0..1 << 5 {
            let has = |bit: usize| number & (1 << bit) != 0;
            let parts =
                BlockParts { qkv_bias: has(0), output_bias: has(1), mlp_bias: has(2), qk_norm: has(3) };
            // Heads of a width of their own, so that no two widths are mixed up.
            let config = ModelConfig { parts, head_dim: 10, tie_word_embeddings: has(4), ..base.clone() };
            let weights = Transformer::random(&config, 0, &Device::flex()).weights();
            let numbers: usize = weights.values().map(Vec::len).sum();
            assert_eq!(config.parameters(), numbers as u64, "{parts:?}");
            let named: Vec<&String> = weights.keys().collect();
            let mut expected: Vec<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
            expected.sort();
            assert_eq!(named, expected.iter().collect::<Vec<_>>(), "{parts:?}");
        }
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let parts = BlockParts { qkv_bias: true, output_bias: true, mlp_bias: true, qk_norm: true };
        let most = usize::MAX;
        let absurd = ModelConfig {
            parts,
            hidden_size: most,
            intermediate_size: most,
            layers: most,
            heads: most,
            head_dim: most,
            vocab_size: most,
            ..llama(size(24, 2), 50)
        };
        assert_eq!(absurd.parameters(), u64::MAX);
    }
}
