//! What a user declares: the TOML types, layering, grid expansion, run identity, diagnostics.

pub mod config;
