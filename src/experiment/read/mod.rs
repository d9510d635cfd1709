//! From files, variables and flags to documents that know the place of everything in them, and what is wrong
//! with them.

pub(super) mod check;
pub(super) mod document;
pub(super) mod files;
pub(super) mod paths;
pub(super) mod problem;
pub(super) mod source;
