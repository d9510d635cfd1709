//! `[slurm]`: what a cluster is asked for.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// GPUs of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GpuRequest {
    /// This many, of any type.
    Count(#[schemars(range(min = 1))] u32),
    /// A type, or a type and a number, as Slurm writes them.
    Typed(String),
}
