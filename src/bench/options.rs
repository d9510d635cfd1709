//! What is measured.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::BenchError;
use crate::model::{ModelConfig, ModelError};
use crate::schedule::DeviceName;
use crate::spec::{LossConfig, Precision, SizeConfig};

/// A training step to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The model that is trained.
    pub student: Shape,
    /// The model that it imitates; not made where there is no soft loss.
    pub teacher: Shape,
    /// Rows of both embeddings.
    pub vocab_size: usize,
    /// Sequences in a batch.
    pub batch: usize,
    /// Tokens in a sequence. All count but the first, which nothing predicts.
    pub sequence: usize,
    /// Arithmetic of the training.
    pub precision: Precision,
    /// Where the tensors live.
    pub device: DeviceName,
    /// Where the teacher's hidden states come from.
    pub signal: TeacherSignal,
    /// Soft loss, temperature and mixing weight.
    pub loss: LossConfig,
    /// Steps taken before the measurement.
    pub warmup: usize,
    /// How long to measure, in seconds; at least three steps are.
    pub seconds: f64,
    /// Steps between two readings of the figures, where the device is not the processor.
    pub log_every: usize,
    /// Whether to measure how fast the device multiplies matrices and moves memory.
    pub ceilings: bool,
}

impl Options {
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let tokens = self.batch.saturating_mul(self.sequence);
        // Ids and places in a batch are 32-bit integers.
        let most = i32::MAX as usize;
        let LossConfig { temperature, alpha, .. } = self.loss;
        let seconds = self.seconds;
        let checks: [(bool, &str, &dyn fmt::Display, &str); 8] = [
            (self.batch > 0, "--batch", &self.batch, "at least 1"),
            (self.sequence > 1, "--seq", &self.sequence, "at least 2: a token and the next"),
            (tokens <= most, "--batch", &self.batch, "at most 2^31 tokens in a batch"),
            (self.vocab_size <= most, "--vocab", &self.vocab_size, "at most 2^31"),
            (temperature.is_finite() && temperature > 0.0, "--temperature", &temperature, "a number above 0"),
            ((0.0..=1.0).contains(&alpha), "--alpha", &alpha, "a number from 0 to 1"),
            (self.log_every > 0, "--log-every", &self.log_every, "at least 1"),
            (seconds.is_finite() && seconds >= 0.0, "--seconds", &seconds, "a number that is not negative"),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, name, found, expected)) => {
                Err(BenchError::Option { name, found: found.to_string(), expected })
            }
        }
    }
}

/// Width and depth of a model; its other sizes are those of an experiment that leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub layers: usize,
}

impl Shape {
    /// The whole model.
    ///
    /// # Errors
    /// As for [`ModelConfig::from_size`].
    pub fn model(self, vocab_size: usize) -> Result<ModelConfig, ModelError> {
        let size = SizeConfig {
            hidden_size: Some(self.hidden_size),
            layers: Some(self.layers),
            ..SizeConfig::default()
        };
        ModelConfig::from_size(&size, vocab_size)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.hidden_size, self.layers)
    }
}

/// What is not a shape.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
#[error("expected width and layers, as 512x1")]
pub struct ShapeError;

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let (hidden_size, layers) = text.split_once(['x', '×']).ok_or(ShapeError)?;
        let number = |text: &str| text.parse().map_err(|_| ShapeError);
        Ok(Self { hidden_size: number(hidden_size)?, layers: number(layers)? })
    }
}

/// Where the teacher's last hidden states come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherSignal {
    /// The teacher runs on every batch.
    Online,
    /// They are there before the step, as from the cache; only the teacher's head is left to apply.
    Hidden,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_as_it_is_written() {
        for text in ["512x1", "768x16"] {
            assert_eq!(text.parse::<Shape>().unwrap().to_string(), text);
        }
        for text in ["", "512", "x", "512x", "x1", "512x1x2", "-1x2", "51.2x1"] {
            assert_eq!(text.parse::<Shape>(), Err(ShapeError), "{text}");
        }
    }

    #[test]
    fn a_shape_is_the_model_that_an_experiment_declares_by_it() {
        let model = Shape { hidden_size: 512, layers: 1 }.model(6400).unwrap();
        assert_eq!((model.heads, model.kv_heads, model.intermediate_size), (8, 2, 1408));
        assert!(model.tie_word_embeddings);
        assert_eq!(model.parameters(), 6_096_384);
    }
}
