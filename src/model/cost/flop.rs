//! How many floating-point operations a model takes: two for a multiply-add.

use super::parameters::{count_body, count_head};
use crate::model::config::ModelConfig;

/// Tokens of a batch and what is done with them.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub sequence: usize,
    /// Tokens whose hidden state enters the loss.
    pub rows: usize,
}

/// FLOP of a forward pass up to the last hidden states of the rows that count. Counted is what the
/// mathematics needs: the products with weights and, in attention, the scores and weighted sums of the pairs
/// that the causal mask leaves; what goes element by element (norms, biases, softmax) counts nothing. The
/// last block's feed-forward layer runs on the rows that count alone.
pub fn count_forward_flop(model: &ModelConfig, Tokens { batch, sequence, rows }: Tokens) -> f64 {
    let [hidden, intermediate, layers, batch, sequence, rows] =
        [model.hidden_size, model.intermediate_size, model.layers, batch, sequence, rows].map(|n| n as f64);
    let queries = (model.heads * model.head_dim) as f64;
    let keys = (model.kv_heads * model.head_dim) as f64;
    let tokens = batch * sequence;
    let projections = tokens * hidden * (2.0 * queries + 2.0 * keys);
    let pairs = batch * sequence * (sequence + 1.0) / 2.0;
    let attention = 2.0 * pairs * queries;
    let feed_forward = 3.0 * hidden * intermediate;
    2.0 * (layers * (projections + attention) + ((layers - 1.0) * tokens + rows) * feed_forward)
}

/// FLOP of one product of so many rows with the output head.
pub fn count_head_flop(model: &ModelConfig, rows: f64) -> f64 {
    2.0 * rows * count_head(model) as f64
}

/// FLOP of one token's forward pass with its logits, in a sequence of `sequence` tokens, roughly: two for
/// each weight but the embedding's, and the attention over half the sequence on average.
pub fn estimate_token_flop(model: &ModelConfig, sequence: u64) -> f64 {
    let weights = count_body(model).saturating_add(count_head(model)) as f64;
    let attention = 2.0 * (model.layers * model.heads * model.head_dim) as f64 * sequence as f64;
    2.0 * weights + attention
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SizeConfig;

    /// Two operations a weight and token, on one-token sequences in which every row counts: attention
    /// has one pair a token then.
    #[test]
    fn every_matrix_of_the_model_counts_once() {
        let size = SizeConfig { hidden_size: Some(768), layers: Some(2), ..SizeConfig::default() };
        let model = ModelConfig::from_size(&size, 6400).unwrap();
        let tokens = Tokens { batch: 3, sequence: 1, rows: 3 };
        let norms = (2 * model.layers + 1) * model.hidden_size;
        let weights = model.parameters() as f64 - norms as f64;
        let pairs = (2 * 2 * model.layers * model.heads * model.head_dim) as f64;
        let expected = 3.0 * (2.0 * weights + pairs);
        assert_eq!(count_forward_flop(&model, tokens) + count_head_flop(&model, 3.0), expected);
    }

    #[test]
    fn an_embedding_that_is_no_head_costs_no_arithmetic() {
        let size = |tied| SizeConfig {
            hidden_size: Some(64),
            layers: Some(4),
            tie_word_embeddings: Some(tied),
            ..SizeConfig::default()
        };
        let [tied, untied] = [true, false].map(|tied| ModelConfig::from_size(&size(tied), 1000).unwrap());
        assert!(untied.parameters() > tied.parameters());
        assert_eq!(estimate_token_flop(&untied, 32), estimate_token_flop(&tied, 32));
    }
}
