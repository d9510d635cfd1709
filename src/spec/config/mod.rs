//! What one run is: the resolved configuration, after layering and grid expansion.
//!
//! These types are the contract of the house. The doc comments become the descriptions of the
//! JSON Schema (`kdx schema`), and the schema drives the checks of an experiment file, so a key is
//! declared here and nowhere else.

mod compare;
mod data;
mod loss;
mod models;
mod resources;
mod search;
mod slurm;
mod time;
mod training;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use compare::{CompareConfig, Tolerance};
pub use data::{DataConfig, DataFormat, OnBadRecord, PathList};
pub use loss::{AlphaWeighs, LossConfig, LossKind};
pub(crate) use loss::{LOSS_NUMBERS, LossNumber, LossRow};
pub use models::{SignalKind, SizeConfig, StudentConfig, TeacherConfig};
pub use resources::{Auto, PerDevice, ResourcesConfig};
pub use search::{Pruner, SearchConfig, SearchMetric};
pub use slurm::{GpuRequest, SlurmConfig};
pub use training::{EvaluateConfig, OptimizerConfig, Precision, ScheduleConfig, ScheduleKind, TrainConfig};

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
