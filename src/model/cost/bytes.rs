//! What a model's passes move through memory at the least, and keep for the backward pass.

use super::flop::Tokens;
use super::parameters::count_body;
use crate::model::config::ModelConfig;

/// Bytes that a forward pass up to the last hidden states moves: weights and the rows of the embedding are
/// read, `weight` bytes a number, and the last hidden states of the rows that count are written, `activation`
/// bytes a number.
pub fn count_forward_bytes(model: &ModelConfig, tokens: Tokens, weight: f64, activation: f64) -> f64 {
    let width = model.hidden_size as f64;
    let tokens_in = (tokens.batch * tokens.sequence) as f64;
    (count_body(model) as f64 + tokens_in * width) * weight + tokens.rows as f64 * width * activation
}

/// Numbers that the backward pass needs of the forward pass: of each block its input, the joined queries,
/// keys and values (queries and keys also before they are normalized, where they are), what the attention
/// gives, the residual stream after it, gate and up. The last block's feed-forward layer runs on the rows
/// that count alone.
pub fn count_kept(model: &ModelConfig, Tokens { batch, sequence, rows }: Tokens) -> f64 {
    let [width, intermediate, layers, tokens, rows] =
        [model.hidden_size, model.intermediate_size, model.layers, batch * sequence, rows].map(|n| n as f64);
    let queries = (model.heads * model.head_dim) as f64;
    let keys = (model.kv_heads * model.head_dim) as f64;
    let normalized = if model.parts.qk_norm { queries + keys } else { 0.0 };
    let attention = tokens * (width + 2.0 * queries + 2.0 * keys + normalized);
    let feed_forward = width + 2.0 * intermediate;
    layers * attention + ((layers - 1.0) * tokens + rows) * feed_forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::BlockParts;
    use crate::spec::SizeConfig;

    #[test]
    fn queries_and_keys_that_are_normalized_are_kept_twice() {
        let size = SizeConfig { hidden_size: Some(64), layers: Some(3), ..SizeConfig::default() };
        let plain = ModelConfig::from_size(&size, 100).unwrap();
        let parts = BlockParts { qk_norm: true, ..BlockParts::default() };
        let tokens = Tokens { batch: 2, sequence: 5, rows: 4 };
        let more = count_kept(&ModelConfig { parts, ..plain.clone() }, tokens) - count_kept(&plain, tokens);
        assert_eq!(more, (3 * 2 * 5 * (plain.heads + plain.kv_heads) * plain.head_dim) as f64);
    }
}
