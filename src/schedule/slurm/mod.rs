//! Sweeps through Slurm: job arrays over a shared file system.
//!
//! ```text
//! ready runs → submit    script      the batch script, by a template
//!              submit    record      what is submitted, written before it is
//!            → client    sbatch, squeue, scancel; parse reads what they print
//!            → task      where each task of an array stands
//!            → verdict   what becomes of a run whose task has ended, which settle does
//! ```
//!
//! Workers on nodes meet the sweep only in the run directories, which a [`Follower`](super::Follower)
//! reads. So a sweep can end and its jobs go on; the next one finds them in its record.

mod client;
mod dispatch;
mod error;
mod parse;
mod reason;
mod record;
mod script;
mod settle;
mod submit;
mod task;
mod verdict;

pub use dispatch::{Options, Outcome, dispatch};
pub use error::SlurmError;
pub use submit::preview;
