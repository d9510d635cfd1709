//! What the grid, samples and included points are made of: keys, their values, and directions.

use serde_json::Value;

use crate::experiment::read::source::At;

/// An experiment with more points is a mistake, and would not fit into memory or a lifetime.
pub(crate) const MOST_POINTS: usize = 100_000;

/// A key and the value that it takes at a point.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// Dotted key of a single value, never of a section.
    pub key: String,
    /// The value as the configuration holds it: paths are absolute.
    pub value: Value,
    /// The value as the user wrote it.
    pub declared: Value,
    /// Where.
    pub at: At,
}

/// A direction of the grid: each option moves one key, or several together.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// The key as declared, which may be a whole section; for a zip, its first.
    pub name: String,
    pub at: At,
    pub options: Vec<Vec<Assignment>>,
}

impl Axis {
    /// The dotted keys that it moves, in the order of their first mention.
    pub fn keys(&self) -> Vec<&str> {
        list_keys(&self.options)
    }
}

/// A table of `[[include]]` or `[[exclude]]`.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub at: At,
    pub assignments: Vec<Assignment>,
}

/// The dotted keys that options move, in the order of their first mention.
pub(crate) fn list_keys(options: &[Vec<Assignment>]) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    for assignment in options.iter().flatten() {
        if !keys.contains(&assignment.key.as_str()) {
            keys.push(&assignment.key);
        }
    }
    keys
}
