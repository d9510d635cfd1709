//! The one place that knows file names and formats on disk.
//!
//! ```text
//! runs/                     the store: `--store DIR` or KDX_STORE
//!   experiments/NAME.json   the newest plan of each experiment
//!   experiments/NAME.search.jsonl   what its search decided, see [`SearchLog`]
//!   runs/RUN_ID/            run directories, see [`RunDir`]; of version 1 in students/ and teachers/
//!   slurm/NAME/             what was submitted to Slurm for an experiment
//!   cache/                  what can be made again: tokens, teacher signals, digests
//! ```

mod checkpoint;
pub(crate) mod digest;
mod error;
pub mod file;
mod garbage;
mod held_checkpoint;
mod held_run;
mod inspect;
mod layout;
mod lease;
mod leftovers;
mod measured;
mod metrics_writer;
mod outcome;
mod records;
mod run_dir;
mod search_log;
mod tail;
mod tensor_file;

pub use checkpoint::{Arrays, Checkpoint, CheckpointState, MetricsMark, StepLosses};
pub use error::StoreError;
pub use garbage::{Garbage, GarbageKind};
pub use held_run::HeldRun;
pub use inspect::Inspection;
pub use layout::Store;
pub use lease::{Lease, LeasePlace, LeaseTimes, Owner};
pub use leftovers::{Leftover, leftovers};
pub use measured::{Evaluation, MetricRow, Split, Values};
pub use metrics_writer::MetricsWriter;
pub use outcome::FileMark;
pub use records::*;
pub use run_dir::RunDir;
pub use search_log::{OpenSearchLog, SearchFact, SearchLine, SearchLog};
pub use tail::MetricsTail;
pub use tensor_file::{NamedArray, write_arrays};
