//! How a run is named, and what it is for.

use serde::{Deserialize, Serialize};

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
