//! Llama, and what has its layout: SmolLM2, MiniMind before it normalized queries and keys.

use serde_json::{Value, json};

use super::keys::Keys;
use super::read::{Defaults, read_decoder};
use super::write::write_decoder;
use crate::model::config::{BlockParts, Family, ModelConfig};
use crate::model::error::ModelError;

/// `LlamaForCausalLM`: no biases unless its configuration says so.
#[derive(Debug)]
pub struct Llama;

impl Family for Llama {
    fn architecture(&self) -> &'static str {
        "LlamaForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn read(&self, keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
        let attention_bias = keys.read_flag("attention_bias")?;
        let parts = BlockParts {
            qkv_bias: attention_bias,
            output_bias: attention_bias,
            mlp_bias: keys.read_flag("mlp_bias")?,
            qk_norm: false,
        };
        read_decoder(keys, &Self, parts, Defaults { head_dim: None, max_position_embeddings: 2048 })
    }

    fn write(&self, config: &ModelConfig) -> Value {
        let mut json = write_decoder(config);
        json["attention_bias"] = json!(config.parts.qkv_bias);
        json["mlp_bias"] = json!(config.parts.mlp_bias);
        json
    }
}
