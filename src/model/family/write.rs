//! What all families write into a `config.json`, and the `generation_config.json` beside it.

use serde_json::{Value, json};

use crate::model::config::ModelConfig;

/// The keys that all families have; a family adds its own.
pub(super) fn write_decoder(config: &ModelConfig) -> Value {
    let mut rope = json!({ "rope_type": "default", "rope_theta": config.rope.theta });
    if let Some(scaling) = &config.rope.scaling {
        rope["rope_type"] = json!("llama3");
        rope["factor"] = json!(scaling.factor);
        rope["low_freq_factor"] = json!(scaling.low_freq_factor);
        rope["high_freq_factor"] = json!(scaling.high_freq_factor);
        rope["original_max_position_embeddings"] = json!(scaling.original_max_position_embeddings as u64);
    }
    json!({
        "architectures": [config.family.architecture()],
        "model_type": config.family.model_type(),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_word_embeddings,
        // Old and new name of the same: transformers 4 reads the first two, 5 the third.
        "rope_theta": config.rope.theta,
        "rope_scaling": config.rope.scaling.as_ref().map(|_| rope.clone()),
        "rope_parameters": rope,
        "rms_norm_eps": config.rms_norm_eps,
        "initializer_range": config.initializer_range,
        "max_position_embeddings": config.max_position_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": write_ends(config),
        "pad_token_id": config.pad_token_id,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "use_cache": true,
        "torch_dtype": "float32",
        "dtype": "float32",
    })
}

impl ModelConfig {
    /// The `generation_config.json` that goes with it.
    pub fn to_generation_json(&self) -> Value {
        json!({
            "_from_model_config": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": write_ends(self),
            "pad_token_id": self.pad_token_id,
        })
    }
}

/// The tokens that end a text, as both files have them.
fn write_ends(config: &ModelConfig) -> Value {
    match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    }
}
