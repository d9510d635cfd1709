//! What a user declares: the TOML types, layering, grid expansion, run identity, diagnostics.

pub mod config;
mod size;

pub use size::{ResolvedSize, SizeError};
