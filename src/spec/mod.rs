//! What a run is: plain types with serde, which of its keys count, and the random numbers that follow from
//! its seed. Nothing here reads or writes a file.

mod canonical;
pub mod config;
mod identity;
pub mod metric;
mod paths;
mod random;
mod record;
pub(crate) mod relevance;
mod run;
mod run_id;
mod size;
mod stage;

pub use config::*;
pub use identity::{Content, Contents, RecordedContents, Unrecorded};
pub use metric::Better;
pub use paths::PATH_KEYS;
pub(crate) use random::Random;
pub use record::{FORMAT_VERSION, NeededRun, PlannedRun, RunRecord};
pub use run::{RunKind, RunSpec};
pub use run_id::{Purpose, RunId};
pub use size::{ResolvedSize, SizeError};
pub use stage::{ModelSource, Stage, StageTeacher, Start};
