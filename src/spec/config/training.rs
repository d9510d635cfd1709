//! `[optimizer]`, `[schedule]`, `[train]` and `[evaluate]`: how a model is trained and measured.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::positive_seconds;

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
