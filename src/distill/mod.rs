//! Losses, optimizer and schedule, the training loop, evaluation.
//!
//! ```text
//! train       one run, from its record to its model: read this first
//! steps       which micro-batches make up which step
//! log         losses on their way into the metrics
//! setup       data, teacher and student of a run, and that they go together
//! state       all that changes while a run trains
//! checkpoint  how a run that was interrupted goes on
//! batch       a batch on the device: ids, the rows that count, their targets
//! teacher     what the teacher hands the student
//! optimizer   AdamW over the parameters of a model, clipping by global norm
//! schedule    the learning rate over the steps
//! evaluate    held-out figures of student and teacher
//! ```

mod batch;
mod checkpoint;
mod error;
mod evaluate;
mod log;
pub(crate) mod memory;
mod optimizer;
mod schedule;
mod setup;
mod state;
mod steps;
mod teacher;
mod train;

pub use batch::DeviceBatch;
pub use error::DistillError;
pub(crate) use log::{Sums, Taken};
pub use optimizer::{Gradients, Optimizer};
pub use schedule::learning_rate;
pub use state::{LastMeasured, Position, TrainingState};
pub use teacher::Signal;
pub use train::{Job, Observer, Outcome, train};
