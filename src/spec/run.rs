//! What a run is, and the record of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::RunConfig;
use super::identity::{RecordedContents, Unrecorded};
use super::stage::Stage;

/// Version of every file that kdx writes into its store; raised when one of them changes shape. Those of earlier
/// versions are read.
pub const FORMAT_VERSION: u32 = 2;

/// Content hash that names a run: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl RunId {
    /// Hexadecimal digits of an id.
    pub const DIGITS: usize = 16;
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

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

/// A run as one experiment sees it: two experiments may share a run and place it on other axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The run's identity.
    pub run_id: RunId,
    /// The values of the experiment's axes at this point, by dotted key.
    pub point: BTreeMap<String, Value>,
}

/// What an experiment has a run for that none of its points declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It trains a teacher.
    Teacher,
    /// It trains the model that a student starts from.
    Start,
}

impl Purpose {
    /// The word that tables, files and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Start => "start",
        }
    }
}

/// A run that runs of an experiment need, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededRun {
    /// The run's identity.
    pub run_id: RunId,
    /// What it is for.
    pub purpose: Purpose,
}

/// `run.json`: what the run is. Written before the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredRecord")]
pub struct RunRecord {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The run's identity.
    pub run_id: RunId,
    /// What it does; paths are absolute.
    pub spec: RunSpec,
    /// Content digests of the files that the run reads, by path.
    pub inputs: BTreeMap<String, String>,
}

impl RunRecord {
    /// The id that follows from what the record says; none of a record from before version 2, whose ids were
    /// made in another way.
    ///
    /// # Errors
    /// Where it names a path of which it holds no digest.
    pub fn recompute_id(&self) -> Result<Option<RunId>, Unrecorded> {
        if self.format_version < 2 {
            return Ok(None);
        }
        self.spec.id(&mut RecordedContents(&self.inputs)).map(Some)
    }
}

/// A record as any version wrote it: the first one had the configuration in place of what follows from it.
#[derive(Deserialize)]
struct StoredRecord {
    format_version: u32,
    run_id: RunId,
    spec: Option<RunSpec>,
    config: Option<Box<RunConfig>>,
    teacher_run: Option<RunId>,
    inputs: BTreeMap<String, String>,
}

impl TryFrom<StoredRecord> for RunRecord {
    type Error = &'static str;

    fn try_from(stored: StoredRecord) -> Result<Self, Self::Error> {
        let StoredRecord { format_version, run_id, spec, config, teacher_run, inputs } = stored;
        let spec = match (spec, config) {
            (Some(spec), _) => spec,
            (None, Some(config)) => RunSpec::train(Stage::new(&config, None, teacher_run)),
            (None, None) => return Err("missing field `spec`"),
        };
        Ok(Self { format_version, run_id, spec, inputs })
    }
}
