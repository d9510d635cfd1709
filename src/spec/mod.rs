//! What a run is: plain types with serde, which of its keys count, and the random numbers that follow from its
//! seed. Nothing here reads or writes a file.

mod canonical;
pub mod config;
mod identity;
mod paths;
mod random;
pub(crate) mod relevance;
mod run;
mod size;
mod stage;

pub use config::*;
pub use identity::{Content, Contents, RecordedContents, Unrecorded};
pub use paths::PATH_KEYS;
pub(crate) use random::Random;
pub use run::{FORMAT_VERSION, NeededRun, PlannedRun, Purpose, RunId, RunKind, RunRecord, RunSpec};
pub use size::{ResolvedSize, SizeError};
pub use stage::{ModelSource, Stage, StageTeacher, Start};
