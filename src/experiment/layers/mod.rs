//! What each document declares, and what all of them declare together.

pub(super) mod layer;
pub(super) mod merge;
