//! What a run is: plain types with serde, which of its keys count, and the random numbers that follow from its
//! seed. Nothing here reads or writes a file.

pub mod config;
mod paths;
mod random;
pub(crate) mod relevance;
mod run;
mod size;

pub use config::*;
pub use paths::PATH_KEYS;
pub(crate) use random::Random;
pub use run::{FORMAT_VERSION, RunId, RunRecord, RunRole};
pub use size::{ResolvedSize, SizeError};
