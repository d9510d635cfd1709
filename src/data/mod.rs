//! Tokenizer, chat template, JSONL records, packing and masks, batches.
//!
//! ```text
//! line ─ record ─ template ─ mask ─ tokenizer ─ split ─ pack ─ cache ─ Dataset ─ epoch ─ Batch
//! ```
//!
//! `docs/data.md` says what users can rely on.

mod batch;
mod bpe;
pub(crate) mod cache;
mod dataset;
mod error;
mod jsonl;
mod mask;
mod pack;
mod prepare;
mod problem;
mod pycompat;
mod record;
mod split;
mod template;
mod tokenizer;
mod toydata;
mod train_tokenizer;

pub use batch::{Batch, Batches, epoch};
pub use dataset::{Counts, Dataset, Sequence};
pub use error::DataError;
pub use jsonl::read_record;
pub use prepare::{Prepared, prepare};
pub use problem::RecordProblem;
pub use record::{Form, IGNORED, Message, Record, Role, parse};
pub use template::{ChatTemplate, DEFAULT_TEMPLATE};
pub use tokenizer::{ChatTokenizer, Encoded, TokenizerSource, Vocabulary};
pub use toydata::{KindCount, ToyData, ToyOptions, toy_data};
pub use train_tokenizer::{TokenizerFiles, train_on_texts, train_tokenizer};
