//! Why a training step could not be measured.

use miette::Diagnostic;
use thiserror::Error;

use crate::distill::DistillError;
use crate::kernels::cpu::IsaError;
use crate::model::ModelError;
use crate::schedule::DeviceError;

/// A training step could not be measured.
#[derive(Debug, Error, Diagnostic)]
pub enum BenchError {
    /// An option that no step can have.
    #[error("`{name}` is {found}, expected {expected}")]
    #[diagnostic(help("`kdx bench --help` has every option with its default"))]
    Option {
        /// The option, as the command line writes it.
        name: &'static str,
        /// What it holds.
        found: String,
        /// What it can hold.
        expected: &'static str,
    },
    /// The device.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Device(#[from] DeviceError),
    /// A student of impossible sizes.
    #[error("there is no student of `--student {shape}`")]
    Student {
        /// What was asked for.
        shape: String,
        /// What is wrong with it.
        #[source]
        #[diagnostic_source]
        source: ModelError,
    },
    /// A teacher of impossible sizes.
    #[error("there is no teacher of `--teacher {shape}`")]
    Teacher {
        /// What was asked for.
        shape: String,
        /// What is wrong with it.
        #[source]
        #[diagnostic_source]
        source: ModelError,
    },
    /// Models that the machine cannot hold.
    #[error(
        "the weights of both models, with the student's gradients and moments, take {needed} MiB; this \
         machine has {available} MiB of memory"
    )]
    #[diagnostic(help("choose smaller sizes or a smaller vocabulary"))]
    Memory {
        /// What the models take, MiB.
        needed: u64,
        /// All memory of the machine, MiB.
        available: u64,
    },
    /// The teacher has nothing to say.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Signal(Box<DistillError>),
    /// `KDX_CPU` asks for what cannot be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Isa(#[from] IsaError),
    /// The device gave up.
    #[error("the device failed: {0}")]
    #[diagnostic(help("`kdx devices` lists what this machine has; a smaller `--batch` takes less memory"))]
    Execution(String),
    /// Arithmetic on numbers that are not finite would be measured.
    #[error("the loss is {loss} and the norm of the gradient {norm} at step {step}")]
    #[diagnostic(help("choose a `--temperature` nearer to 1"))]
    NotFinite {
        /// From 1, warm-up included.
        step: u64,
        /// The loss.
        loss: f64,
        /// The norm of the gradient.
        norm: f64,
    },
}

impl From<DistillError> for BenchError {
    fn from(error: DistillError) -> Self {
        Self::Signal(Box::new(error))
    }
}
