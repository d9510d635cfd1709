//! Decoder-only transformer in the Llama layout, and its Hugging Face checkpoints.
//!
//! ```text
//! config       sizes: from an experiment file or a `config.json`
//! init         the random start: each parameter from its own stream of (seed, name)
//! weights      safetensors, single or sharded, into named f32 arrays
//! transformer  the Burn module
//! checkpoint   directories: load whole, load what fits, save
//! ```

mod checkpoint;
mod config;
mod error;
mod init;
mod report;
mod transformer;
mod weights;

pub use checkpoint::{load, load_head, load_partial, save};
pub use config::{Llama3Scaling, ModelConfig, RopeConfig};
pub use error::ModelError;
pub use report::{LoadReport, Mismatch};
pub use transformer::{NamePath, Transformer};
pub use weights::Weights;
