//! `[resources]`: on what the runs are placed.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::positive_seconds;

/// On what the runs are placed. Not part of a run's identity: it changes no result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourcesConfig {
    /// Runs at once on one device: a number, or `auto` for as many as there are processors and memory for,
    /// and one on a GPU whose free memory is not known.
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
