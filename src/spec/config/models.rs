//! `[teacher]` and `[student]`: the models, and their sizes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training::{OptimizerConfig, ScheduleConfig, TrainConfig};

/// The model that the student imitates: a directory, or declared by size and trained by kdx first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TeacherConfig {
    /// A Hugging Face directory (`config.json`, `model.safetensors`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// A run of the store whose model teaches: its id, or the first digits of it. Where it is not finished,
    /// it is trained first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The sizes of a teacher that kdx trains, once for all runs that need it.
    #[serde(flatten)]
    pub size: SizeConfig,
    /// Training of a declared teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<TrainConfig>,
    /// Optimizer of a declared teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerConfig>,
    /// Learning rate schedule of a declared teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// What the student is handed of the teacher, and where it comes from.
    #[serde(skip_serializing_if = "SignalKind::is_auto")]
    #[schemars(extend("default" = "auto"))]
    pub signal: SignalKind,
    /// For `topk`: logits that are kept of each token; default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub top_k: Option<usize>,
    /// For `auto`: GiB of disk that the hidden states of one teacher on one data set may take, and
    /// never more than half of what is free; default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub cache_budget: Option<f64>,
}

impl TeacherConfig {
    /// `top_k` where it is left out.
    pub const TOP_K: usize = 64;
    /// `cache_budget` where it is left out, in GiB.
    pub const CACHE_BUDGET: f64 = 20.0;

    /// Logits that are kept of each token, for `topk`.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(Self::TOP_K)
    }

    /// Bytes that the hidden states may take, for `auto`.
    pub fn cache_budget(&self) -> u64 {
        let gibibytes = self.cache_budget.unwrap_or(Self::CACHE_BUDGET);
        (gibibytes * (1_u64 << 30) as f64) as u64
    }

    /// The part that decides what the student learns: `online` and `hidden` hand it the same bits.
    pub fn without_neutral(&self) -> Self {
        let is_exact = self.signal != SignalKind::Topk;
        Self {
            signal: if is_exact { SignalKind::Auto } else { self.signal },
            top_k: self.top_k.filter(|_| !is_exact),
            cache_budget: None,
            train: self.train.as_ref().map(TrainConfig::without_neutral),
            ..self.clone()
        }
    }
}

/// What the student is handed of the teacher, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// `hidden` where its files fit into `cache_budget`, else `online`: the result is the same.
    #[default]
    Auto,
    /// The teacher runs on every batch.
    Online,
    /// The teacher's last hidden states, computed once and kept on disk; its output head is applied
    /// to them in training.
    Hidden,
    /// The largest logits of each token and the mean of the others, computed once and kept on disk:
    /// smaller than `hidden`, and an approximation.
    Topk,
}

impl SignalKind {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// The model that is trained: random, or started from a Hugging Face directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StudentConfig {
    /// Start from this Hugging Face directory. With sizes given as well, what fits is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Start from the model of this run of the store: its id, or the first digits of it. Where it is not
    /// finished, it is trained first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Accept a checkpoint that fits only in part; what was loaded, missing and left over is
    /// reported. Without it a checkpoint that does not fit is an error.
    pub partial: bool,
    /// The sizes of a student that starts at random.
    #[serde(flatten)]
    pub size: SizeConfig,
}

/// The sizes of a Llama model. What is left out follows MiniMind's proportions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SizeConfig {
    /// Width of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub hidden_size: Option<usize>,
    /// Number of transformer blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub layers: Option<usize>,
    /// Attention heads; default 8, or the most below that leave heads of even width.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub heads: Option<usize>,
    /// Key-value heads of grouped-query attention; must divide `heads`; default a quarter of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub kv_heads: Option<usize>,
    /// Width of the feed-forward layer; default `8/3 · hidden_size` rounded up to 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub intermediate_size: Option<usize>,
    /// Rows of the embedding; default the tokenizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub vocab_size: Option<usize>,
    /// Whether the output head is the embedding; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie_word_embeddings: Option<bool>,
    /// Base of the rotary embedding; default 1e6.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rope_theta: Option<f64>,
    /// Epsilon of RMSNorm; default 1e-5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rms_norm_eps: Option<f64>,
    /// Standard deviation of the random start; default 0.02.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub initializer_range: Option<f64>,
}

impl SizeConfig {
    /// Whether any size is given.
    pub fn is_declared(&self) -> bool {
        *self != Self::default()
    }
}
