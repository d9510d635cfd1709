//! Qwen 2 and 2.5, dense (Qwen team, 2407.10671).

use serde_json::{Value, json};

use super::keys::Keys;
use super::read::{Defaults, check_full_attention, read_decoder};
use super::write::write_decoder;
use crate::model::config::{BlockParts, Family, ModelConfig};
use crate::model::error::ModelError;

/// `Qwen2ForCausalLM`: a Llama with biases on queries, keys and values.
#[derive(Debug)]
pub struct Qwen2;

impl Family for Qwen2 {
    fn architecture(&self) -> &'static str {
        "Qwen2ForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn read(&self, keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
        check_full_attention(keys)?;
        let parts = BlockParts { qkv_bias: true, ..BlockParts::default() };
        read_decoder(keys, &Self, parts, Defaults { head_dim: None, max_position_embeddings: 32_768 })
    }

    fn write(&self, config: &ModelConfig) -> Value {
        let mut json = write_decoder(config);
        json["use_sliding_window"] = json!(false);
        json
    }
}
