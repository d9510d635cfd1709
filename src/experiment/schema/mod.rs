//! What an experiment file may hold, as the configuration types say it: for editors, and for the checker.

pub(super) mod json;
mod sections;
pub(super) mod shape;
