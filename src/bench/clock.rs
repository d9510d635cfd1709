//! Where the time of a step goes.

use std::time::Instant;

use burn::tensor::Device;
use serde::Serialize;

use super::error::BenchError;

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

/// Seconds of each part of one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times([f64; Part::ALL.len()]);

impl Times {
    pub(super) fn of(&self, part: Part) -> f64 {
        self.0[part as usize]
    }

    /// Seconds of the whole step.
    pub(super) fn whole(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// A clock that gives all time since its last reading to a part.
pub(super) struct Clock<'a> {
    last: Instant,
    times: Times,
    /// The device that it waits for before each reading; without one, work that a device has yet to do falls
    /// to whichever part waits for it.
    device: Option<&'a Device>,
    in_use: u64,
}

impl<'a> Clock<'a> {
    pub(super) fn start(device: Option<&'a Device>) -> Self {
        Self { last: Instant::now(), times: Times::default(), device, in_use: 0 }
    }

    pub(super) fn was(&mut self, part: Part) -> Result<(), BenchError> {
        if let Some(device) = self.device {
            wait(device)?;
        }
        let now = Instant::now();
        self.times.0[part as usize] += (now - self.last).as_secs_f64();
        self.last = now;
        if let Some(device) = self.device {
            self.in_use = self.in_use.max(device.memory_pool_usage().map_or(0, |usage| usage.bytes_in_use));
            // Asking took its time.
            self.last = Instant::now();
        }
        Ok(())
    }

    /// The times so far.
    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// Most bytes that tensors on the device took at a reading; 0 where it is not known.
    pub(super) fn in_use(&self) -> u64 {
        self.in_use
    }
}

/// Waits until a device has done all that it was given.
pub(super) fn wait(device: &Device) -> Result<(), BenchError> {
    device.sync().map_err(|error| BenchError::Execution(error.to_string()))
}
