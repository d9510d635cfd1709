//! What a run is.

use serde::{Deserialize, Serialize};

use super::run_id::RunId;
use super::stage::Stage;

/// What a run is: whatever costs compute and can be shared. Which runs it needs follows from what it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunSpec {
    /// What it does.
    pub kind: RunKind,
}

/// What a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Trains a model.
    Train(Stage),
}

impl RunSpec {
    /// A run that trains a model.
    pub fn train(stage: Stage) -> Self {
        Self { kind: RunKind::Train(stage) }
    }

    /// The stage that it trains.
    pub fn stage(&self) -> &Stage {
        match &self.kind {
            RunKind::Train(stage) => stage,
        }
    }

    /// The runs that must finish before it can begin, each once.
    pub fn needs(&self) -> Vec<&RunId> {
        match &self.kind {
            RunKind::Train(stage) => stage.needs(),
        }
    }
}
