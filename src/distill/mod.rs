//! Objectives, optimizer and schedule, the training loop, evaluation.
//!
//! ```text
//! train       one run, from its record to its model: read this first
//! job         a run to be trained, who follows it, how it ends
//! setup       data, teachers and student of a run, and that they go together
//! step        one training step, the same for training and for measuring its speed
//! clock       the parts of a step
//! batches     which micro-batches make up which step
//! batch       a batch on the device: ids, the rows that count, their targets
//! teachers    what the teachers hand the student
//! objective   the loss of a batch, and its measures
//! optimizer   AdamW over the parameters of a model, clipping by global norm
//! schedule    the learning rate over the steps
//! state       all that changes while a run trains
//! checkpoint  how a run that was interrupted goes on
//! taken       what a step came to
//! log         that on its way into the metrics
//! evaluate    held-out figures of student and teacher
//! summary     what a run came to
//! ```

mod batch;
mod batches;
mod checkpoint;
mod clock;
mod error;
mod evaluate;
mod job;
mod log;
pub(crate) mod memory;
mod objective;
mod optimizer;
mod schedule;
mod setup;
mod state;
mod step;
mod summary;
mod taken;
mod teachers;
mod train;

pub use batch::DeviceBatch;
pub(crate) use batches::MicroBatches;
pub(crate) use clock::Clock;
pub use clock::Part;
pub use error::DistillError;
pub use job::{Job, Observer, Outcome};
pub(crate) use objective::Weighted;
pub use optimizer::{Gradients, Optimizer};
pub use schedule::learning_rate;
pub use state::{LastMeasured, Position, TrainingState};
pub(crate) use step::Step;
pub(crate) use taken::Taken;
pub use teachers::Signal;
pub(crate) use teachers::Teach;
pub use train::train;
