//! The record of a run, and of the runs that an experiment has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::RunConfig;
use super::identity::{RecordedContents, Unrecorded};
use super::run::RunSpec;
use super::run_id::{Purpose, RunId};
use super::stage::Stage;

/// Version of every file that kdx writes into its store; raised when one of them changes shape. Those of
/// earlier versions are read.
pub const FORMAT_VERSION: u32 = 2;

/// A run as one experiment sees it: two experiments may share a run and place it on other axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The run's identity.
    pub run_id: RunId,
    /// The values of the experiment's axes at this point, by dotted key.
    pub point: BTreeMap<String, Value>,
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
