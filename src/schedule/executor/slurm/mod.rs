//! Attempts as tasks of Slurm's job arrays, over a shared file system.
//!
//! ```text
//! executor       what is started together becomes one array
//!                submit    script   the batch script, by a template
//!                submit    record   what is submitted, written before it is
//! follow_tasks → client    sbatch, squeue, scancel; parse reads what they print
//!              → task      where each task of an array stands
//!              → verdict   what a task that has ended means for its run
//! ```
//!
//! Workers on nodes meet the sweep only in the run directories, which a
//! [`Follower`](crate::schedule::Follower) reads. So a sweep can end and its jobs go on; the next one finds
//! them in its record.

mod client;
pub mod error;
pub mod executor;
mod follow_tasks;
pub mod options;
mod parse;
mod reason;
mod record;
mod script;
pub mod submit;
mod task;
mod verdict;
