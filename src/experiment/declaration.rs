//! What an experiment file comes to: its points, and what goes for all of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::read::problem::Warning;
use crate::spec::{CompareConfig, ResourcesConfig, RunConfig, SearchConfig, SlurmConfig};

/// One experiment file, layered and expanded.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The file; absolute.
    pub source: PathBuf,
    /// Dotted keys of what varies between the points: axes in the file's order, keys that are sampled, then
    /// keys that only included points set, then `loss.kind` where baselines are added.
    pub axes: Vec<String>,
    /// The points, in the plan's order; no two have the same configuration.
    pub points: Vec<Point>,
    /// On what the runs are placed.
    pub resources: ResourcesConfig,
    /// What is sampled, and what stops bad runs early.
    pub search: SearchConfig,
    /// What Slurm is asked for, where it runs them.
    pub slurm: SlurmConfig,
    /// When a configuration counts as worse.
    pub compare: CompareConfig,
    /// What is allowed, and questionable.
    pub warnings: Vec<Warning>,
}

/// One run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The values of the axes, by dotted key; paths as they were declared. An axis that does not
    /// count at this point, as the temperature of a `logit_mse`, is left out.
    pub values: BTreeMap<String, Value>,
    /// The resolved configuration: paths are absolute, derived defaults are filled in, and keys that
    /// do not count have fixed values.
    pub config: RunConfig,
    /// Whether it is there for `baseline = true`: what others are held against, so nothing stops it early.
    pub is_baseline: bool,
}
