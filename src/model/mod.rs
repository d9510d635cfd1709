//! Decoder-only transformers, and their Hugging Face checkpoints.
//!
//! ```text
//! config       what a model is: family, sizes, parts of its blocks
//! family       reads and writes `config.json`, one file for each family
//! sizes        models by the sizes of an experiment file
//! cost         parameters, FLOP and bytes, counted from the sizes
//! init         the random start: each parameter from its own stream of (seed, name)
//! weights      safetensors, single or sharded, into named f32 arrays
//! block        attention and feed-forward layer
//! rotary       the table that turns queries and keys by their position
//! transformer  the Burn module
//! visit        going over its parameters by name
//! checkpoint   directories: load whole, load what fits, save
//! ```

mod block;
mod checkpoint;
mod config;
pub mod cost;
mod error;
mod family;
mod init;
mod report;
mod rotary;
mod sizes;
mod transformer;
mod visit;
mod weights;

pub use checkpoint::{load, load_head, load_partial, save, write};
pub use config::{BlockParts, Family, Llama3Scaling, ModelConfig, RopeConfig};
pub use error::ModelError;
pub use report::{LoadReport, Mismatch};
pub use transformer::Transformer;
pub use visit::NamePath;
pub use weights::Weights;
