//! What a model is: its family, its sizes, and the parts that its blocks have.

use std::fmt;

use serde_json::Value;

use super::error::ModelError;
use super::family::keys::Keys;

/// A decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// How its directory is read and written.
    pub family: &'static dyn Family,
    /// Which parts its blocks have that not every model's have.
    pub parts: BlockParts,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even. Need not be `hidden_size / heads`.
    pub head_dim: usize,
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The rotary embedding.
    pub rope: RopeConfig,
    /// Epsilon of RMSNorm.
    pub rms_norm_eps: f64,
    /// Standard deviation of the random start.
    pub initializer_range: f64,
    /// Positions that the model was made for. Not a limit of the arithmetic.
    pub max_position_embeddings: usize,
    /// First token of a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token of padding.
    pub pad_token_id: Option<u32>,
}

/// Parts of a block that not every model has; a plain Llama has none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockParts {
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// A bias on what the attention gives back to the residual stream.
    pub output_bias: bool,
    /// Biases on the three products of the feed-forward layer.
    pub mlp_bias: bool,
    /// RMSNorm of each head's queries and keys, before they are turned by their position (Henry et al.,
    /// 2010.04245, with RMSNorm in place of the length).
    pub qk_norm: bool,
}

/// Rotary position embedding (Su et al., 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Frequencies stretched for longer texts.
    pub scaling: Option<Llama3Scaling>,
}

/// The stretching of Llama 3.1: low frequencies are divided by `factor`, high ones kept, those
/// between blended.
#[derive(Debug, Clone, PartialEq)]
pub struct Llama3Scaling {
    /// How much longer the texts are.
    pub factor: f64,
    /// Wavelengths above `original / low_freq_factor` are stretched.
    pub low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` are kept.
    pub high_freq_factor: f64,
    /// Positions before the stretching.
    pub original_max_position_embeddings: f64,
}

/// A family of models: how their directories, in the layout of Hugging Face, are read and written. Each has
/// a file of its own in `family/`, and a row in the list of `family/mod.rs`.
pub trait Family: fmt::Debug + Sync {
    /// What `architectures` in `config.json` names: `LlamaForCausalLM`.
    fn architecture(&self) -> &'static str;

    /// What `model_type` in `config.json` is: `llama`.
    fn model_type(&self) -> &'static str;

    /// Reads a `config.json`. What is left out there is what transformers fills in.
    ///
    /// # Errors
    /// Where a size is missing or wrong, or where kdx does not compute what is described.
    fn read(&self, keys: &Keys<'_>) -> Result<ModelConfig, ModelError>;

    /// Writes the `config.json` from which transformers makes the same model.
    fn write(&self, config: &ModelConfig) -> Value;

    /// Names the tensor of a checkpoint that holds a parameter of [`ModelConfig::tensors`]. The paths of our
    /// parameters are Hugging Face's names, so only a family that has others says more.
    fn name_tensor(&self, parameter: &str) -> String {
        parameter.to_owned()
    }
}

impl PartialEq for dyn Family {
    fn eq(&self, other: &Self) -> bool {
        self.architecture() == other.architecture()
    }
}

impl ModelConfig {
    /// Names and shapes of all parameters, in the model's order. A name is the path to the parameter in
    /// [`Transformer`](super::Transformer); what a checkpoint calls it, its family knows. Matrices are
    /// `[out, in]`.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self { hidden_size, vocab_size, .. } = *self;
        let block = self.block_tensors();
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocab_size, hidden_size])];
        for layer in 0..self.layers {
            let named =
                block.iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape.clone()));
            tensors.extend(named);
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden_size]));
        if !self.tie_word_embeddings {
            tensors.push(("lm_head.weight".to_owned(), vec![vocab_size, hidden_size]));
        }
        tensors
    }

    /// Those of one block, named from there.
    fn block_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self { hidden_size, intermediate_size, head_dim, parts, .. } = *self;
        let (queries, keys) = (self.heads * head_dim, self.kv_heads * head_dim);
        let BlockParts { qkv_bias, output_bias, mlp_bias, qk_norm } = parts;
        let products = [
            ("self_attn.q_proj", [queries, hidden_size], qkv_bias),
            ("self_attn.k_proj", [keys, hidden_size], qkv_bias),
            ("self_attn.v_proj", [keys, hidden_size], qkv_bias),
            ("self_attn.o_proj", [hidden_size, queries], output_bias),
            ("mlp.gate_proj", [intermediate_size, hidden_size], mlp_bias),
            ("mlp.up_proj", [intermediate_size, hidden_size], mlp_bias),
            ("mlp.down_proj", [hidden_size, intermediate_size], mlp_bias),
        ];
        let norms = [
            ("input_layernorm", hidden_size, true),
            ("post_attention_layernorm", hidden_size, true),
            ("self_attn.q_norm", head_dim, qk_norm),
            ("self_attn.k_norm", head_dim, qk_norm),
        ];
        let mut tensors = Vec::new();
        for (name, shape, has_bias) in products {
            tensors.push((format!("{name}.weight"), shape.to_vec()));
            if has_bias {
                tensors.push((format!("{name}.bias"), vec![shape[0]]));
            }
        }
        let norms = norms.into_iter().filter(|(_, _, is_there)| *is_there);
        tensors.extend(norms.map(|(name, width, _)| (format!("{name}.weight"), vec![width])));
        tensors
    }

    /// The `config.json` that transformers loads.
    pub fn to_json(&self) -> Value {
        self.family.write(self)
    }
}
