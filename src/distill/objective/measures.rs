//! What an evaluation adds up over the rows of its batches.

use std::ops::AddAssign;

use crate::kernels::Measured;

/// Sums over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measures {
    /// Rows.
    pub rows: u64,
    /// Sum of the student's cross-entropies, nats.
    pub hard: f64,
    /// Rows whose most likely token, to the student, is the target.
    pub correct: u64,
    /// What the teachers add; none without one.
    pub teachers: Option<TeacherMeasures>,
}

/// The part of [`Measures`] that needs a teacher. Of several, the soft loss is the sum by their weights; the
/// other figures are means by their weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TeacherMeasures {
    /// Sum over rows of the soft loss; none where there is no divergence.
    pub soft: Option<f64>,
    /// Rows where student and teacher have the same most likely token.
    pub agreed: f64,
    /// Sum of the teacher's cross-entropies, over the student's vocabulary.
    pub hard: f64,
    /// Rows whose most likely token, to the teacher, is the target.
    pub correct: f64,
}

impl Measures {
    /// Of a student alone, or beside one teacher with this weight, whose share of all weights is `share`.
    pub(super) fn new(measured: &Measured, weight: f64, share: f64) -> Self {
        let teachers = measured.teacher.map(|teacher| TeacherMeasures {
            soft: teacher.soft.map(|soft| weight * soft),
            agreed: share * teacher.agreed as f64,
            hard: share * teacher.hard,
            correct: share * teacher.correct as f64,
        });
        Self { rows: measured.rows, hard: measured.hard, correct: measured.correct, teachers }
    }

    /// Adds what another teacher says of the same rows.
    pub(super) fn add_teacher(&mut self, other: Option<TeacherMeasures>) {
        let Some(other) = other else { return };
        let sum = self.teachers.get_or_insert_default();
        sum.agreed += other.agreed;
        sum.hard += other.hard;
        sum.correct += other.correct;
        if let Some(soft) = other.soft {
            *sum.soft.get_or_insert(0.0) += soft;
        }
    }
}

/// Adds other rows.
impl AddAssign for Measures {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.hard += other.hard;
        self.correct += other.correct;
        self.add_teacher(other.teachers);
    }
}
