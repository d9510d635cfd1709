//! The parts of a training step, and the clock that may stand between them.

use serde::Serialize;

use super::error::DistillError;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The teacher's hidden states.
    Teacher,
    /// The student's hidden states.
    StudentForward,
    /// Both heads and the loss, with its gradients in the student's hidden states and head.
    Loss,
    /// The gradients of all other parameters.
    Backward,
    /// The norm of the gradients and the update of the parameters.
    Optimizer,
    /// The batch on its way to the device, the loss on its way back.
    Rest,
}

impl Part {
    /// All parts, in the order in which reports list them.
    pub const ALL: [Self; 6] =
        [Self::Teacher, Self::StudentForward, Self::Loss, Self::Backward, Self::Optimizer, Self::Rest];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::StudentForward => "student forward",
            Self::Loss => "loss",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
            Self::Rest => "rest",
        }
    }
}

/// What is told where one part of a step ends and the next begins.
pub trait Clock {
    /// Why a step that is timed ends early.
    type Error: From<DistillError>;

    /// Gives all time since the last call to `part`.
    ///
    /// # Errors
    /// Where the clock waits for the device, and the device fails.
    fn record(&mut self, part: Part) -> Result<(), Self::Error>;
}

/// No clock: what training uses. The compiler leaves nothing of it.
#[derive(Debug, Clone, Copy)]
pub struct NoClock;

impl Clock for NoClock {
    type Error = DistillError;

    fn record(&mut self, _part: Part) -> Result<(), DistillError> {
        Ok(())
    }
}
