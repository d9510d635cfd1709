//! What a step minimizes: the loss of a batch, and what an evaluation measures of it.
//!
//! ```text
//! distillation  hard and soft loss, mixed: the soft one a weighted sum over the teachers
//! measures      what an evaluation adds up
//! ```

mod distillation;
mod measures;

use burn::tensor::{Int, Tensor};

pub use measures::Measures;

use crate::kernels::{Losses, Projection, Taught};

/// What one teacher says of a batch's rows, and how much its soft loss counts.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// What it says.
    pub taught: Taught,
    /// What its soft loss is multiplied by.
    pub weight: f64,
}

/// What a student is trained for: the loss of a batch, and what an evaluation measures of it. A step is
/// compiled for each objective, so nothing is looked up while it runs.
pub trait Objective {
    /// The loss of `n` rows, with its gradient in the student's hidden states and head. `student` holds
    /// hidden states `[n, h]` and the head `[v, h]`; `targets [n]` are each below `v`.
    ///
    /// # Panics
    /// Where there are no rows, or a soft loss has no teacher.
    fn loss(&self, student: Projection, taught: Vec<Weighted>, targets: Tensor<1, Int>) -> Losses;

    /// Measures the same rows without a gradient; teachers even where there is no soft loss.
    fn measure(&self, student: Projection, taught: Vec<Weighted>, targets: Tensor<1, Int>) -> Measures;

    /// Mixes means of the hard and the soft loss into the loss that training minimizes; the hard loss alone
    /// where nothing else was measured.
    fn mix(&self, hard: f64, soft: Option<f64>) -> f64;
}
