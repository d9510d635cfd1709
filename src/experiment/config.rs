//! What one run is: the resolved configuration, after layering and grid expansion.
//!
//! These types are the contract of the house. The doc comments become the descriptions of the
//! JSON Schema (`kdx schema`), and the schema drives the checks of an experiment file, so a key is
//! declared here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The resolved configuration of one run: one point of the grid and one seed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// What the student learns from and is measured on.
    pub data: DataConfig,
    /// The model that the student imitates; left out, the student learns from labels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherConfig>,
    /// The model that is trained.
    pub student: StudentConfig,
    /// How hard and soft losses are mixed.
    pub loss: LossConfig,
    /// AdamW and gradient clipping.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Length, batch and seed of the training.
    pub train: TrainConfig,
    /// When and on what the student is measured.
    pub evaluate: EvaluateConfig,
}

impl RunConfig {
    /// The part that decides what the run comes to, bit for bit.
    pub fn without_neutral(&self) -> Self {
        Self {
            teacher: self.teacher.as_ref().map(TeacherConfig::without_neutral),
            train: self.train.without_neutral(),
            evaluate: self.evaluate.without_neutral(),
            ..self.clone()
        }
    }

    /// Directories that may hold a tokenizer where `data.tokenizer` names none, in their order.
    pub fn tokenizer_fallbacks(&self) -> Vec<PathBuf> {
        let teacher = self.teacher.as_ref().and_then(|t| t.path.clone());
        teacher.into_iter().chain(self.student.path.clone()).collect()
    }
}

/// What the student learns from and is measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL file or files to train on, relative to the experiment file.
    pub train: PathList,
    /// JSONL file or files to measure on, never trained on.
    pub validation: PathList,
    /// The form of the records; `auto` reads it off the first record.
    pub format: DataFormat,
    /// The field that holds the user's text, for `prompt_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The field that holds the assistant's text, for `prompt_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// A system message put before each conversation that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Directory with `tokenizer.json` (and `tokenizer_config.json`), or the `tokenizer.json`
    /// itself. Left out: the teacher's, else the student's directory. `tokenized` data needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// A Jinja file used in place of the tokenizer's own chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Tokens in a sequence; longer records are truncated.
    #[schemars(range(min = 2))]
    pub max_length: usize,
    /// Put several short records into one sequence in place of padding. Records in one sequence
    /// see each other, as in pre-training.
    pub packing: bool,
    /// Draw a new order of the sequences in every epoch; `false` keeps the file's order.
    pub shuffle: bool,
    /// What to do with a line that is not a valid record.
    pub on_bad_record: OnBadRecord,
    /// Use only this many training records, from the start of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_limit: Option<usize>,
    /// Use only this many validation records, from the start of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub validation_limit: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: PathList::default(),
            validation: PathList::default(),
            format: DataFormat::Auto,
            prompt: None,
            response: None,
            system: None,
            tokenizer: None,
            chat_template: None,
            max_length: 512,
            packing: false,
            shuffle: true,
            on_bad_record: OnBadRecord::Error,
            train_limit: None,
            validation_limit: None,
        }
    }
}

/// One path or a list of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PathList {
    /// A single file.
    One(PathBuf),
    /// Several files, read in this order.
    Many(Vec<PathBuf>),
    /// No file.
    #[default]
    None,
}

impl PathList {
    /// The paths in order.
    pub fn as_slice(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Many(paths) => paths,
            Self::None => &[],
        }
    }
}

/// The form of a JSONL record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Read off the first record.
    Auto,
    /// `{"conversations": [{"role"|"from", "content"|"value"}, …]}` (MiniMind, ShareGPT).
    Conversations,
    /// `{"messages": [{"role", "content"}, …]}` (OpenAI, Hugging Face).
    Messages,
    /// A prompt and a response under the fields that `data.prompt` and `data.response` name.
    PromptResponse,
    /// `{"text": "…"}`: every token counts.
    Text,
    /// `{"input_ids": […], "labels": […]}`, −100 where a token does not count.
    Tokenized,
}

/// What to do with a line that is not a valid record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// Stop, and name the file and line.
    Error,
    /// Leave the line out, and count it.
    Skip,
}

/// The model that the student imitates: a directory, or declared by size and trained by kdx first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TeacherConfig {
    /// A Hugging Face directory (`config.json`, `model.safetensors`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
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

/// `alpha * hard + (1 - alpha) * soft`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// The soft loss: a divergence between teacher and student.
    pub kind: LossKind,
    /// Softens both distributions; soft losses are multiplied by its square (Hinton et al., 2015).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// The mixing weight; see `alpha_weighs`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Which loss alpha multiplies; some papers weigh the soft one.
    pub alpha_weighs: AlphaWeighs,
    /// For `js`: the teacher's weight in the mixture, `m = beta·p + (1-beta)·q` (GKD, 2306.13649).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta: f64,
    /// For the skewed divergences: the weight of the first distribution in the mixture
    /// (DistiLLM, 2402.03898).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub skew: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::ForwardKl,
            temperature: 1.5,
            alpha: 0.5,
            alpha_weighs: AlphaWeighs::Hard,
            beta: 0.5,
            skew: 0.1,
        }
    }
}

impl LossConfig {
    /// The weight of the hard loss, whatever alpha weighs; 1 for `none`.
    pub fn hard_weight(&self) -> f64 {
        match (self.kind, self.alpha_weighs) {
            (LossKind::None, _) => 1.0,
            (_, AlphaWeighs::Hard) => self.alpha,
            (_, AlphaWeighs::Soft) => 1.0 - self.alpha,
        }
    }
}

/// The soft loss. `p` is the teacher, `q` the student, both at the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// KL(p ‖ q), mass-covering.
    ForwardKl,
    /// KL(q ‖ p), mode-seeking (MiniLLM, 2306.08543).
    ReverseKl,
    /// Generalized Jensen–Shannon: `beta·KL(p‖m) + (1-beta)·KL(q‖m)`.
    Js,
    /// KL(p ‖ skew·p + (1-skew)·q).
    SkewForwardKl,
    /// KL(q ‖ skew·q + (1-skew)·p).
    SkewReverseKl,
    /// Total variation distance, `½·Σ|p-q|`.
    Tvd,
    /// Mean squared error of the raw logits; no temperature.
    LogitMse,
    /// No soft loss: the baseline that learns from labels alone.
    None,
}

/// Which loss alpha multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlphaWeighs {
    /// `alpha * hard + (1 - alpha) * soft`.
    Hard,
    /// `(1 - alpha) * hard + alpha * soft`.
    Soft,
}

/// AdamW (Loshchilov and Hutter, 1711.05101) with clipping by global norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The peak learning rate; `[schedule]` scales it.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// Decay of the first moment.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub beta1: f64,
    /// Decay of the second moment.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub beta2: f64,
    /// Added to the root of the second moment.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub epsilon: f64,
    /// Decoupled weight decay, on every parameter.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 turns clipping off.
    #[schemars(range(min = 0.0))]
    pub clip_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip_norm: 1.0,
        }
    }
}

/// The learning rate over the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The curve.
    pub kind: ScheduleKind,
    /// Steps over which the rate rises from zero; not for `minimind`.
    pub warmup_steps: usize,
    /// `cosine`, `linear` and `wsd` end at this fraction of the peak.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_ratio: f64,
    /// For `wsd`: the fraction of all steps over which the rate falls at the end.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay_ratio: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { kind: ScheduleKind::Cosine, warmup_steps: 0, min_ratio: 0.1, decay_ratio: 0.2 }
    }
}

/// The curve of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// `lr/10 + lr/2·(1 + cos(π·step/total))`: starts at 1.1 lr, ends at lr/10 (MiniMind).
    Minimind,
    /// Warm-up, then a half cosine to `min_ratio`.
    Cosine,
    /// Warm-up, then a straight line to `min_ratio`.
    Linear,
    /// Warm-up, then constant.
    Constant,
    /// Warm-up, stable, decay (MiniCPM, 2404.06395): the last `decay_ratio` falls in a line to
    /// `min_ratio`.
    Wsd,
}

/// Length, batch and seed of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training data.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Stop after this many optimizer steps, however many epochs that is; replaces `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub steps: Option<usize>,
    /// Sequences in a micro-batch.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Micro-batches in an optimizer step; their gradients are averaged, in the shorter last step
    /// of an epoch too.
    #[schemars(range(min = 1))]
    pub accumulation: usize,
    /// Seed of the student's start and of the data order.
    pub seed: u64,
    /// Arithmetic of the training. In `bf16` the operands of matrix products are rounded to bfloat16; sums,
    /// parameters and optimizer stay in fp32.
    pub precision: Precision,
    /// Steps between two rows of the training metrics.
    #[schemars(range(min = 1))]
    pub log_every: usize,
    /// Seconds between two checkpoints, from which an interrupted run goes on; 0 writes one only where
    /// the run is asked to stop; default 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub checkpoint_every: Option<f64>,
}

impl TrainConfig {
    /// `checkpoint_every` where it is left out, in seconds.
    pub const CHECKPOINT_EVERY: f64 = 120.0;

    /// Time between two checkpoints; none where they are written only on a stop request.
    pub fn checkpoint_every(&self) -> Option<Duration> {
        positive_seconds(self.checkpoint_every.unwrap_or(Self::CHECKPOINT_EVERY))
    }

    /// The part that decides what is learnt: checkpoints change nothing.
    pub fn without_neutral(&self) -> Self {
        Self { checkpoint_every: None, ..self.clone() }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 1,
            steps: None,
            batch_size: 8,
            accumulation: 1,
            seed: 0,
            precision: Precision::Fp32,
            log_every: 1,
            checkpoint_every: None,
        }
    }
}

/// Arithmetic of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Everything in 32-bit floats.
    Fp32,
    /// Parameters, optimizer and sums in 32-bit floats; operands of matrix products rounded to bfloat16.
    Bf16,
}

/// When and on what the student is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateConfig {
    /// Steps between two evaluations; 0 evaluates only at the end of the run.
    pub every: usize,
    /// Sequences in a batch of the evaluation.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Whether the model with the lowest held-out hard loss of the evaluations on the way is kept beside the
    /// last one, in `best/`; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<bool>,
}

impl EvaluateConfig {
    /// Whether the best model is kept: where the student is measured on the way, unless told not to.
    pub fn keeps_best(&self) -> bool {
        self.every > 0 && self.keep_best.unwrap_or(true)
    }

    /// The part that decides what is measured: a model that is kept changes nothing.
    pub fn without_neutral(&self) -> Self {
        Self { keep_best: None, ..self.clone() }
    }
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { every: 0, batch_size: 16, keep_best: None }
    }
}

/// On what the runs are placed. Not part of a run's identity: it changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourcesConfig {
    /// Runs at once on one device: a number, or `auto` for as many as there are processors and memory for, and one
    /// on a GPU whose free memory is not known.
    pub per_device: PerDevice,
    /// Whether the runs of a GPU share a process, each on a thread of its own; on the processors and through
    /// Slurm every run has its own.
    pub share_process: bool,
    /// CPU threads of each worker; 0 splits the machine's between the workers.
    pub threads: usize,
    /// Times a run is tried before it is given up.
    #[schemars(range(min = 1))]
    pub attempts: u32,
    /// Seconds without a sign of life after which a worker is ended and its run tried again; 0 for never.
    #[schemars(range(min = 0.0))]
    pub stall_timeout: f64,
    /// Seconds that a run may take in one sweep, all attempts together; 0 for no limit.
    #[schemars(range(min = 0.0))]
    pub time_limit: f64,
}

impl ResourcesConfig {
    /// [`Self::stall_timeout`], none for never.
    pub fn stall_timeout(&self) -> Option<Duration> {
        positive_seconds(self.stall_timeout)
    }

    /// [`Self::time_limit`], none for no limit.
    pub fn time_limit(&self) -> Option<Duration> {
        positive_seconds(self.time_limit)
    }
}

/// A length of time in seconds, none where it is 0.
fn positive_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

impl Default for ResourcesConfig {
    fn default() -> Self {
        Self {
            per_device: PerDevice::Auto(Auto::Auto),
            share_process: false,
            threads: 0,
            attempts: 2,
            stall_timeout: 600.0,
            time_limit: 0.0,
        }
    }
}

/// Runs at once on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PerDevice {
    /// As many as fit.
    Auto(Auto),
    /// This many.
    Count(#[schemars(range(min = 1))] usize),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Chosen by kdx.
    Auto,
}

/// Random sampling, and early stopping of bad runs. Not part of a run's identity: it decides which runs
/// there are and how far they are trained, never what a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Points that are drawn from `[search.space]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub samples: Option<usize>,
    /// Seed of the draws.
    pub seed: u64,
    /// What stops bad runs early: nothing, asynchronous successive halving, or the median rule.
    pub pruner: Pruner,
    /// The held-out figure that runs are judged by; losses are better lower, `agreement` higher.
    pub metric: SearchMetric,
    /// Evaluations that every run gets before it can be stopped: the first rung of `asha`.
    #[schemars(range(min = 1))]
    pub min_evaluations: u64,
    /// For `asha`: the reduction factor. One run in `eta` goes on from a rung, `eta` times as far.
    #[schemars(range(min = 2))]
    pub eta: u64,
    /// For `median`: runs that must have finished before any is stopped.
    #[schemars(range(min = 1))]
    pub min_runs: usize,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            samples: None,
            seed: 0,
            pruner: Pruner::None,
            metric: SearchMetric::HardLoss,
            min_evaluations: 1,
            eta: 3,
            min_runs: 5,
        }
    }
}

/// What `kdx sweep --executor slurm` asks Slurm for. Not part of a run's identity: it changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlurmConfig {
    /// Partition or partitions, as `sbatch --partition` takes them; left out, the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Account that is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Quality of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// Wall limit of a job, as `"04:00:00"` or `"1-12"`; a run that needs longer goes on in the next job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Cores of a job, and threads of its worker.
    #[schemars(range(min = 1))]
    pub cpus: usize,
    /// Memory of a job, as `"16G"`; left out, the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// GPUs of a job: a number, or a type and a number, as `"a100:1"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuRequest>,
    /// Features that the node must have, as `"amx&ib"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Jobs that may run at once; left out, as many as Slurm allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tasks: Option<usize>,
    /// Further options of `sbatch`, each as in `["--exclude=n7", "--mail-type=FAIL"]`.
    pub extra: Vec<String>,
    /// Lines of shell that run on the node before the worker, as `["module load gcc"]`.
    pub setup: Vec<String>,
    /// The kdx on the nodes, where it is not at the path of the one that submits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// A Jinja file that makes the batch script, in place of the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathBuf>,
    /// Seconds before the wall limit at which a worker is told to write its checkpoint and end.
    #[schemars(range(min = 1))]
    pub grace: u32,
    /// Seconds between two looks at the queue.
    #[schemars(range(min = 1))]
    pub poll: u32,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            time: None,
            cpus: 1,
            memory: None,
            gpus: None,
            constraint: None,
            max_tasks: None,
            extra: Vec::new(),
            setup: Vec::new(),
            program: None,
            template: None,
            grace: 60,
            poll: 10,
        }
    }
}

/// What stops bad runs early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pruner {
    /// Every run is trained to its end.
    None,
    /// Asynchronous successive halving (Li et al., 1810.05934).
    Asha,
    /// The median stopping rule (Golovin et al., Vizier, 2017).
    Median,
}

impl Pruner {
    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Asha => "asha",
            Self::Median => "median",
        }
    }
}

/// A held-out figure that runs are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMetric {
    /// `alpha * hard + (1 - alpha) * soft`.
    Loss,
    /// Cross-entropy on the labels.
    HardLoss,
    /// The divergence from the teacher.
    SoftLoss,
    /// How often student and teacher have the same most likely token.
    Agreement,
}

impl SearchMetric {
    /// Which direction is better.
    pub fn better(self) -> Better {
        match self {
            Self::Loss | Self::HardLoss | Self::SoftLoss => Better::Lower,
            Self::Agreement => Better::Higher,
        }
    }

    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::HardLoss => "hard_loss",
            Self::SoftLoss => "soft_loss",
            Self::Agreement => "agreement",
        }
    }
}

/// GPUs of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GpuRequest {
    /// This many, of any type.
    Count(#[schemars(range(min = 1))] u32),
    /// A type, or a type and a number, as Slurm writes them.
    Typed(String),
}

/// When `kdx compare` calls a configuration worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompareConfig {
    /// Tolerances by column of the runs table, as `"validation/hard_loss" = { relative = 0.01 }`.
    pub metrics: std::collections::BTreeMap<String, Tolerance>,
    /// Confidence that a difference must reach to count, where several seeds allow a test.
    #[schemars(extend("exclusiveMinimum" = 0), extend("exclusiveMaximum" = 1))]
    pub confidence: f64,
}

impl Default for CompareConfig {
    fn default() -> Self {
        let metrics = [
            ("validation/hard_loss", Tolerance { relative: 0.01, absolute: 0.0, better: Better::Lower }),
            ("validation/agreement", Tolerance { relative: 0.0, absolute: 0.01, better: Better::Higher }),
        ];
        Self { metrics: metrics.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(), confidence: 0.95 }
    }
}

/// How much worse a metric may get.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// Allowed worsening as a fraction of the base's value.
    #[schemars(range(min = 0.0))]
    pub relative: f64,
    /// Allowed worsening in the metric's own unit; the larger of the two allowances counts.
    #[schemars(range(min = 0.0))]
    pub absolute: f64,
    /// Which direction is better.
    pub better: Better,
}

/// Which direction of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Losses, times, memory.
    #[default]
    Lower,
    /// Agreement, accuracy, throughput.
    Higher,
}
