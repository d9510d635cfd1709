//! What a run is, and the name that follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::RunConfig;

/// Version of every file that kdx writes into its store; raised when one of them changes shape.
pub const FORMAT_VERSION: u32 = 1;

/// Content hash that names a run: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a run distils a student or trains a teacher that students need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunRole {
    /// One point of a grid.
    Student,
    /// A declared teacher: trained on labels alone, once, for all runs that need it.
    Teacher,
}

impl RunRole {
    /// The word that tables, files and command lines use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        }
    }
}

/// `run.json`: what the run is. Written before the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The run's identity.
    pub run_id: RunId,
    /// Student or teacher.
    pub role: RunRole,
    /// The resolved configuration; paths are absolute.
    pub config: RunConfig,
    /// The teacher run that must finish first, where the teacher is declared by size.
    pub teacher_run: Option<RunId>,
    /// Content digests of the files that the run reads, by path.
    pub inputs: BTreeMap<String, String>,
}
