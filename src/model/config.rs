//! What a model is: its sizes, read from and written as the `config.json` of Hugging Face.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::ModelError;
use crate::spec::SizeConfig;

/// Above this a size is mistyped: 4 TB of weights.
const MOST_PARAMETERS: u64 = 1_000_000_000_000;
/// What a model declared by size is good for; the rotary embedding has no table that could end.
const DEFAULT_POSITIONS: usize = 32_768;

/// A decoder-only transformer of the Llama layout.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
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

impl ModelConfig {
    /// A model declared by size. `vocab_size` is the tokenizer's, and gives way to a declared one.
    ///
    /// # Errors
    /// Where the heads do not divide, a size is missing, or all sizes together are absurd.
    pub fn from_size(size: &SizeConfig, vocab_size: usize) -> Result<Self, ModelError> {
        let size = size.resolve(vocab_size)?;
        let config = Self {
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
        config.checked()
    }

    /// The same model with the declared sizes in place of its own: what a student has that starts from
    /// a part of a checkpoint.
    ///
    /// # Errors
    /// As for [`ModelConfig::from_size`].
    pub fn resized(self, size: &SizeConfig) -> Result<Self, ModelError> {
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
            rope,
            max_position_embeddings: self.max_position_embeddings,
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids,
            pad_token_id: self.pad_token_id,
            ..resolved
        };
        resized.checked()
    }

    /// Reads `config.json` of a model directory.
    ///
    /// # Errors
    /// Where the file is missing or no JSON, describes another architecture, leaves out a size, or
    /// holds one that no model can have.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        if !directory.is_dir() {
            return Err(ModelError::NoDirectory { path: directory.to_owned() });
        }
        let path = directory.join("config.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ModelError::NoConfig { directory: directory.to_owned() });
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(ModelError::ConfigNotJson { path, reason: "it is not UTF-8".to_owned() });
            }
            Err(error) => return Err(ModelError::io("read", &path)(error)),
        };
        Self::parse(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is for messages.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let map: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| ModelError::ConfigNotJson { path: path.to_owned(), reason: e.to_string() })?;
        let keys = Keys { path, map: &map };
        keys.check_layout()?;
        let hidden_size = keys.size("hidden_size", "the width of the residual stream")?;
        let heads = keys.size("num_attention_heads", "the number of attention heads")?;
        let kv_heads = keys.size_or("num_key_value_heads", heads)?;
        if heads % kv_heads != 0 {
            return Err(
                keys.wrong("num_key_value_heads", format!("a divisor of the {heads} attention heads"))
            );
        }
        if keys.get("head_dim").is_none() && hidden_size % heads != 0 {
            let expected = format!("a divisor of `hidden_size = {hidden_size}`");
            return Err(keys.wrong("num_attention_heads", expected));
        }
        let head_dim = keys.size_or("head_dim", hidden_size / heads)?;
        if head_dim % 2 != 0 {
            let (key, expected) = match keys.get("head_dim") {
                Some(_) => ("head_dim", "an even number: the rotary embedding turns pairs"),
                None => ("num_attention_heads", "a number that leaves heads of even width"),
            };
            return Err(keys.wrong(key, expected.to_owned()));
        }
        let config = Self {
            hidden_size,
            intermediate_size: keys.size("intermediate_size", "the width of the feed-forward layer")?,
            layers: keys.size("num_hidden_layers", "the number of blocks")?,
            heads,
            kv_heads,
            head_dim,
            vocab_size: keys.size("vocab_size", "the number of rows of the embedding")?,
            // What is left out from here on is what transformers fills in for a Llama.
            tie_word_embeddings: keys.flag("tie_word_embeddings")?,
            rope: keys.rope()?,
            rms_norm_eps: keys.positive_or("rms_norm_eps", 1e-6)?,
            initializer_range: keys.positive_or("initializer_range", 0.02)?,
            max_position_embeddings: keys.size_or("max_position_embeddings", 2048)?,
            bos_token_id: keys.token("bos_token_id")?,
            eos_token_ids: keys.tokens("eos_token_id")?,
            pad_token_id: keys.token("pad_token_id")?,
        };
        config.checked()
    }

    /// The `config.json` that transformers loads as `LlamaForCausalLM`.
    pub fn to_json(&self) -> Value {
        let mut rope = json!({ "rope_type": "default", "rope_theta": self.rope.theta });
        if let Some(scaling) = &self.rope.scaling {
            rope["rope_type"] = json!("llama3");
            rope["factor"] = json!(scaling.factor);
            rope["low_freq_factor"] = json!(scaling.low_freq_factor);
            rope["high_freq_factor"] = json!(scaling.high_freq_factor);
            rope["original_max_position_embeddings"] = json!(scaling.original_max_position_embeddings as u64);
        }
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": self.tie_word_embeddings,
            // Old and new name of the same: transformers 4 reads the first two, 5 the third.
            "rope_theta": self.rope.theta,
            "rope_scaling": self.rope.scaling.as_ref().map(|_| rope.clone()),
            "rope_parameters": rope,
            "rms_norm_eps": self.rms_norm_eps,
            "initializer_range": self.initializer_range,
            "max_position_embeddings": self.max_position_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_json(),
            "pad_token_id": self.pad_token_id,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "hidden_act": "silu",
            "use_cache": true,
            "torch_dtype": "float32",
            "dtype": "float32",
        })
    }

    /// The `generation_config.json` that goes with it.
    pub fn generation_json(&self) -> Value {
        json!({
            "_from_model_config": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_json(),
            "pad_token_id": self.pad_token_id,
        })
    }

    fn eos_json(&self) -> Value {
        match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        }
    }

    /// Names and shapes of all parameters, as Hugging Face names them, in the model's order.
    /// Matrices are `[out, in]`.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self { hidden_size, intermediate_size, vocab_size, .. } = *self;
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let block = [
            ("self_attn.q_proj", vec![queries, hidden_size]),
            ("self_attn.k_proj", vec![keys, hidden_size]),
            ("self_attn.v_proj", vec![keys, hidden_size]),
            ("self_attn.o_proj", vec![hidden_size, queries]),
            ("mlp.gate_proj", vec![intermediate_size, hidden_size]),
            ("mlp.up_proj", vec![intermediate_size, hidden_size]),
            ("mlp.down_proj", vec![hidden_size, intermediate_size]),
            ("input_layernorm", vec![hidden_size]),
            ("post_attention_layernorm", vec![hidden_size]),
        ];
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocab_size, hidden_size])];
        for layer in 0..self.layers {
            let named = block
                .iter()
                .map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape.clone()));
            tensors.extend(named);
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden_size]));
        if !self.tie_word_embeddings {
            tensors.push(("lm_head.weight".to_owned(), vec![vocab_size, hidden_size]));
        }
        tensors
    }

    /// Trained parameters, a tied head counted once; saturates where no machine could hold them.
    pub fn parameters(&self) -> u64 {
        let n = |size: usize| size as u128;
        let heads = n(self.heads).saturating_mul(n(self.head_dim));
        let kv_heads = n(self.kv_heads).saturating_mul(n(self.head_dim));
        let hidden = n(self.hidden_size);
        let attention = hidden.saturating_mul(heads.saturating_add(kv_heads)).saturating_mul(2);
        let feed_forward = hidden.saturating_mul(n(self.intermediate_size)).saturating_mul(3);
        let block = attention.saturating_add(feed_forward).saturating_add(2 * hidden);
        let embeddings = if self.tie_word_embeddings { 1 } else { 2 };
        let total = block
            .saturating_mul(n(self.layers))
            .saturating_add(hidden)
            .saturating_add(hidden.saturating_mul(n(self.vocab_size)).saturating_mul(embeddings));
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    fn checked(self) -> Result<Self, ModelError> {
        let parameters = self.parameters();
        if parameters > MOST_PARAMETERS {
            return Err(ModelError::TooLarge { parameters });
        }
        Ok(self)
    }
}

/// The keys of one `config.json`, with errors that name file and key.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    /// The value, `null` read as left out.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &'static str, expected: String) -> ModelError {
        let found = self.get(key).map_or_else(|| "left out".to_owned(), shown);
        ModelError::WrongValue { path: self.path.to_owned(), key, found, expected }
    }

    fn unsupported(&self, key: &'static str, found: &Value, supported: &str) -> ModelError {
        ModelError::Unsupported {
            path: self.path.to_owned(),
            key,
            found: shown(found),
            supported: supported.to_owned(),
        }
    }

    fn size(&self, key: &'static str, expected: &'static str) -> Result<usize, ModelError> {
        match self.get(key) {
            Some(_) => self.size_or(key, 0),
            None => Err(ModelError::MissingKey { path: self.path.to_owned(), key, expected }),
        }
    }

    fn size_or(&self, key: &'static str, default: usize) -> Result<usize, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        size.ok_or_else(|| self.wrong(key, "a whole number above 0".to_owned()))
    }

    fn positive_or(&self, key: &'static str, default: f64) -> Result<f64, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().filter(|n| n.is_finite() && *n > 0.0);
        number.ok_or_else(|| self.wrong(key, "a number above 0".to_owned()))
    }

    fn flag(&self, key: &'static str) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false".to_owned()))
    }

    fn token(&self, key: &'static str) -> Result<Option<u32>, ModelError> {
        Ok(self.tokens(key)?.first().copied())
    }

    /// One id, or a list of them; negative ones are how some models say that they have none.
    fn tokens(&self, key: &'static str) -> Result<Vec<u32>, ModelError> {
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        if values.iter().any(|value| value.as_i64().is_some_and(|id| id < 0)) {
            return Ok(Vec::new());
        }
        let ids = values.iter().map(|value| value.as_u64().and_then(|id| u32::try_from(id).ok()));
        ids.collect::<Option<_>>().ok_or_else(|| self.wrong(key, "a token id or a list of them".to_owned()))
    }

    /// That this is a model of the Llama layout, without the variations that kdx does not compute.
    fn check_layout(&self) -> Result<(), ModelError> {
        match (self.get("architectures"), self.get("model_type")) {
            (Some(found), _) => {
                let names = found.as_array().map(Vec::as_slice).unwrap_or_default();
                if !names.iter().any(|name| name == "LlamaForCausalLM") {
                    return Err(self.unsupported("architectures", found, "LlamaForCausalLM"));
                }
            }
            (None, Some(found)) if found != "llama" => {
                return Err(self.unsupported("model_type", found, "llama"));
            }
            (None, Some(_)) => {}
            (None, None) => {
                return Err(ModelError::MissingKey {
                    path: self.path.to_owned(),
                    key: "architectures",
                    expected: "[\"LlamaForCausalLM\"]",
                });
            }
        }
        for key in ["attention_bias", "mlp_bias"] {
            if self.flag(key)? {
                return Err(self.unsupported(key, &Value::Bool(true), "false"));
            }
        }
        if let Some(found) = self.get("hidden_act").filter(|&act| act != "silu") {
            return Err(self.unsupported("hidden_act", found, "silu"));
        }
        if let Some(found) = self.get("quantization_config") {
            return Err(self.unsupported("quantization_config", found, "weights in f32, f16 or bf16"));
        }
        Ok(())
    }

    /// The rotary embedding: `rope_theta` and `rope_scaling` (transformers 4), or both in
    /// `rope_parameters` (transformers 5).
    fn rope(&self) -> Result<RopeConfig, ModelError> {
        let key = if self.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let outer_theta = self.positive_or("rope_theta", 10_000.0)?;
        let Some(value) = self.get(key) else { return Ok(RopeConfig { theta: outer_theta, scaling: None }) };
        let map = value.as_object().ok_or_else(|| self.wrong(key, "an object".to_owned()))?;
        let inner = Keys { path: self.path, map };
        let theta = inner.positive_or("rope_theta", outer_theta)?;
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
                        .ok_or_else(|| self.wrong(key, expected))
                };
                let scaling = Llama3Scaling {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_max_position_embeddings: number("original_max_position_embeddings")?,
                };
                if scaling.high_freq_factor <= scaling.low_freq_factor {
                    return Err(self.wrong(key, "`high_freq_factor` above `low_freq_factor`".to_owned()));
                }
                Some(scaling)
            }
            _ => return Err(self.unsupported(key, value, "rope_type `default` or `llama3`")),
        };
        Ok(RopeConfig { theta, scaling })
    }
}

/// A value for a message, cut where it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(hidden_size: usize, layers: usize) -> SizeConfig {
        SizeConfig { hidden_size: Some(hidden_size), layers: Some(layers), ..SizeConfig::default() }
    }

    fn parse(edit: impl FnOnce(&mut Value)) -> Result<ModelConfig, ModelError> {
        let mut value = ModelConfig::from_size(&size(64, 2), 320).unwrap().to_json();
        edit(&mut value);
        ModelConfig::parse(&value.to_string(), Path::new("config.json"))
    }

    #[test]
    fn minimind_sizes_have_minimind_parameters() {
        for (hidden, layers, parameters) in [(512, 1, 6_096_384), (768, 2, 17_305_344)] {
            let config = ModelConfig::from_size(&size(hidden, layers), 6400).unwrap();
            assert_eq!(config.parameters(), parameters);
            let counted: usize =
                config.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(counted as u64, parameters, "tensors() and parameters() count the same");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut config = ModelConfig::from_size(&size(64, 2), 320).unwrap();
        config.eos_token_ids = vec![2, 7];
        config.bos_token_id = Some(1);
        config.tie_word_embeddings = false;
        config.rope.scaling = Some(Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 256.0,
        });
        let text = config.to_json().to_string();
        assert_eq!(ModelConfig::parse(&text, Path::new("config.json")).unwrap(), config);
    }

    #[test]
    fn the_base_of_the_rotary_embedding_is_read_from_both_names() {
        let old = parse(|v| {
            v["rope_theta"] = json!(5e5);
            v.as_object_mut().unwrap().remove("rope_parameters");
        });
        assert_eq!(old.unwrap().rope.theta, 5e5);
        let new = parse(|v| {
            v["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 7e5 });
            v.as_object_mut().unwrap().remove("rope_theta");
        });
        assert_eq!(new.unwrap().rope.theta, 7e5);
    }

    #[test]
    fn what_kdx_does_not_compute_names_file_and_key() {
        let cases: [(&str, Value); 8] = [
            ("architectures", json!(["Qwen2ForCausalLM"])),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
            ("hidden_act", json!("gelu")),
            ("rope_parameters", json!({ "rope_type": "yarn", "factor": 2.0 })),
            ("quantization_config", json!({ "bits": 4 })),
            ("rope_parameters", json!("linear")),
            ("num_attention_heads", json!(7)),
        ];
        for (key, value) in cases {
            let error = parse(|v| {
                v[key] = value.clone();
                v["head_dim"] = Value::Null;
                v["num_key_value_heads"] = Value::Null;
            });
            let message = error.unwrap_err().to_string();
            assert!(message.contains(key) && message.starts_with("config.json"), "{key}: {message}");
        }
    }

    #[test]
    fn declared_sizes_replace_those_of_a_checkpoint() {
        let base = ModelConfig { head_dim: 20, eos_token_ids: vec![2], ..parse(|_| {}).unwrap() };
        let none = base.clone().resized(&SizeConfig::default()).unwrap();
        assert_eq!(none, base);
        let shallow = SizeConfig { layers: Some(1), ..SizeConfig::default() };
        let shallow = base.clone().resized(&shallow).unwrap();
        assert_eq!(shallow, ModelConfig { layers: 1, ..base.clone() }, "nothing else changes");
        let wide = SizeConfig { hidden_size: Some(128), ..SizeConfig::default() };
        let wide = base.clone().resized(&wide).unwrap();
        assert_eq!(
            (wide.hidden_size, wide.head_dim, wide.intermediate_size),
            (128, 16, base.intermediate_size)
        );
        assert_eq!(wide.eos_token_ids, [2]);
        let wrong = SizeConfig { kv_heads: Some(3), ..SizeConfig::default() };
        assert!(matches!(base.resized(&wrong), Err(ModelError::Size(_))));
    }

    #[test]
    fn sizes_that_no_machine_holds_are_refused() {
        let error = parse(|v| v["num_hidden_layers"] = json!(u64::MAX)).unwrap_err();
        assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
        let absurd = SizeConfig { vocab_size: Some(usize::MAX), ..size(64, 1) };
        assert!(matches!(ModelConfig::from_size(&absurd, 1), Err(ModelError::TooLarge { .. })));
    }
}
