//! What the teachers hand the student: their signals.
//!
//! ```text
//! ensemble  all teachers of a run, each with its weight
//! choose    which signal a teacher gives: what was asked for, and what fits on the disk
//! signal    where what a teacher says comes from:
//! online    … the teacher itself
//! hidden    … hidden states read back
//! top       … the largest logits: cut down, and read back
//! plan      the file that a split's signal is in: its key, its size
//! build     computes a signal, once for all runs, epochs and processes
//! ahead     reading hidden states before they are needed
//! stored    a signal in a file, and what takes its place
//! ```

mod ahead;
mod build;
mod choose;
mod ensemble;
mod hidden;
mod online;
mod plan;
mod signal;
mod stored;
mod top;

pub(super) use choose::{Request, Teacher};
pub use ensemble::Teach;
pub(super) use ensemble::{Ensemble, Teachers};
pub use signal::Signal;
