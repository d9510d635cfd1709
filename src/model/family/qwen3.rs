//! Qwen 3, dense (Qwen team, 2505.09388), and MiniMind since it has this layout.

use serde_json::{Value, json};

use super::keys::Keys;
use super::read::{Defaults, check_full_attention, read_decoder};
use super::write::write_decoder;
use crate::model::config::{BlockParts, Family, ModelConfig};
use crate::model::error::ModelError;

/// `Qwen3ForCausalLM`: queries and keys are normalized head by head, and heads are 128 wide unless its
/// configuration says otherwise.
#[derive(Debug)]
pub struct Qwen3;

impl Family for Qwen3 {
    fn architecture(&self) -> &'static str {
        "Qwen3ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn read(&self, keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
        check_full_attention(keys)?;
        let attention_bias = keys.read_flag("attention_bias")?;
        let parts = BlockParts {
            qkv_bias: attention_bias,
            output_bias: attention_bias,
            mlp_bias: false,
            qk_norm: true,
        };
        read_decoder(keys, &Self, parts, Defaults { head_dim: Some(128), max_position_embeddings: 32_768 })
    }

    fn write(&self, config: &ModelConfig) -> Value {
        let mut json = write_decoder(config);
        json["attention_bias"] = json!(config.parts.qkv_bias);
        json["use_sliding_window"] = json!(false);
        json
    }
}
