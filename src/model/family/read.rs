//! What all families read from a `config.json`.

use serde_json::Value;

use super::keys::Keys;
use crate::model::config::{BlockParts, Family, Llama3Scaling, ModelConfig, RopeConfig};
use crate::model::error::ModelError;

/// What transformers fills in where a family's `config.json` leaves it out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    /// Width of a head; the hidden width shared between the heads where there is none.
    pub(super) head_dim: Option<usize>,
    /// Positions that the model was made for.
    pub(super) max_position_embeddings: usize,
}

/// Reads a decoder whose blocks have these parts.
pub(super) fn read_decoder(
    keys: &Keys<'_>,
    family: &'static dyn Family,
    parts: BlockParts,
    defaults: Defaults,
) -> Result<ModelConfig, ModelError> {
    check_arithmetic(keys)?;
    let hidden_size = keys.read_size("hidden_size", "the width of the residual stream")?;
    let heads = keys.read_size("num_attention_heads", "the number of attention heads")?;
    let kv_heads = keys.read_size_or("num_key_value_heads", heads)?;
    if heads % kv_heads != 0 {
        return Err(keys.refuse("num_key_value_heads", format!("a divisor of the {heads} attention heads")));
    }
    Ok(ModelConfig {
        family,
        parts,
        hidden_size,
        intermediate_size: keys.read_size("intermediate_size", "the width of the feed-forward layer")?,
        layers: keys.read_size("num_hidden_layers", "the number of blocks")?,
        heads,
        kv_heads,
        head_dim: read_head_dim(keys, hidden_size, heads, defaults.head_dim)?,
        vocab_size: keys.read_size("vocab_size", "the number of rows of the embedding")?,
        tie_word_embeddings: keys.read_flag("tie_word_embeddings")?,
        rope: read_rope(keys)?,
        rms_norm_eps: keys.read_positive_or("rms_norm_eps", 1e-6)?,
        initializer_range: keys.read_positive_or("initializer_range", 0.02)?,
        max_position_embeddings: keys
            .read_size_or("max_position_embeddings", defaults.max_position_embeddings)?,
        bos_token_id: keys.read_token("bos_token_id")?,
        eos_token_ids: keys.read_tokens("eos_token_id")?,
        pad_token_id: keys.read_token("pad_token_id")?,
    })
}

/// Refuses another activation, and weights in a type that kdx does not read.
fn check_arithmetic(keys: &Keys<'_>) -> Result<(), ModelError> {
    if let Some(found) = keys.get("hidden_act").filter(|&act| act != "silu") {
        return Err(keys.refuse_unsupported("hidden_act", found, "silu"));
    }
    if let Some(found) = keys.get("quantization_config") {
        return Err(keys.refuse_unsupported("quantization_config", found, "weights in f32, f16 or bf16"));
    }
    Ok(())
}

/// Refuses a model in which some layers see a window of the text only, as Qwen's configurations say it:
/// `layer_types`, or in older ones a flag and the first layer with a window.
pub(super) fn check_full_attention(keys: &Keys<'_>) -> Result<(), ModelError> {
    const SUPPORTED: &str = "full attention in every layer";
    if let Some(found) = keys.get("layer_types") {
        let is_full = |kinds: &Vec<Value>| kinds.iter().all(|kind| kind == "full_attention");
        return match found.as_array().is_some_and(is_full) {
            true => Ok(()),
            false => Err(keys.refuse_unsupported("layer_types", found, SUPPORTED)),
        };
    }
    // What is left out, transformers fills in: a window, from layer 28 on. Only null is none.
    let has_window = keys.map.get("sliding_window") != Some(&Value::Null);
    let first_with_window = keys.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
    let layers = keys.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or(u64::MAX);
    if keys.read_flag("use_sliding_window")? && has_window && first_with_window < layers {
        return Err(keys.refuse_unsupported("use_sliding_window", &Value::Bool(true), SUPPORTED));
    }
    Ok(())
}

fn read_head_dim(
    keys: &Keys<'_>,
    hidden_size: usize,
    heads: usize,
    default: Option<usize>,
) -> Result<usize, ModelError> {
    let is_shared = keys.get("head_dim").is_none() && default.is_none();
    if is_shared && !hidden_size.is_multiple_of(heads) {
        let expected = format!("a divisor of `hidden_size = {hidden_size}`");
        return Err(keys.refuse("num_attention_heads", expected));
    }
    let head_dim = keys.read_size_or("head_dim", default.unwrap_or(hidden_size / heads))?;
    if head_dim % 2 != 0 {
        let (key, expected) = match is_shared {
            false => ("head_dim", "an even number: the rotary embedding turns pairs"),
            true => ("num_attention_heads", "a number that leaves heads of even width"),
        };
        return Err(keys.refuse(key, expected.to_owned()));
    }
    Ok(head_dim)
}

/// Reads the rotary embedding: `rope_theta` and `rope_scaling` (transformers 4), or both in
/// `rope_parameters` (transformers 5).
fn read_rope(keys: &Keys<'_>) -> Result<RopeConfig, ModelError> {
    let key = if keys.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let outer_theta = keys.read_positive_or("rope_theta", 10_000.0)?;
    let Some(value) = keys.get(key) else { return Ok(RopeConfig { theta: outer_theta, scaling: None }) };
    let map = value.as_object().ok_or_else(|| keys.refuse(key, "an object".to_owned()))?;
    let inner = Keys { path: keys.path, map };
    let theta = inner.read_positive_or("rope_theta", outer_theta)?;
    let default = Value::from("default");
    let kind = inner.get("rope_type").or_else(|| inner.get("type")).unwrap_or(&default);
    let scaling = match kind.as_str() {
        Some("default") => None,
        Some("llama3") => {
            let number = |name: &'static str| {
                let expected = format!("an object with `{name}` above 0");
                inner
                    .get(name)
                    .and_then(Value::as_f64)
                    .filter(|n| n.is_finite() && *n > 0.0)
                    .ok_or_else(|| keys.refuse(key, expected))
            };
            let scaling = Llama3Scaling {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: number("original_max_position_embeddings")?,
            };
            if scaling.high_freq_factor <= scaling.low_freq_factor {
                return Err(keys.refuse(key, "`high_freq_factor` above `low_freq_factor`".to_owned()));
            }
            Some(scaling)
        }
        _ => return Err(keys.refuse_unsupported(key, value, "rope_type `default` or `llama3`")),
    };
    Ok(RopeConfig { theta, scaling })
}
