//! Held-out figures of student and teacher.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::batch::DeviceBatch;
use super::error::DistillError;
use super::objective::{Measures, Objective};
use super::teachers::{Ensemble, Teach};
use crate::data::{self, Dataset};
use crate::interrupt::Interrupt;
use crate::model::Transformer;
use crate::spec::metric::{ACCURACY, AGREEMENT, HARD_LOSS, PERPLEXITY, SOFT_LOSS};
use crate::store::{Evaluation, Values};

/// What students are measured on, and against whom.
pub(super) struct Evaluator<'a, O> {
    pub(super) teachers: &'a Ensemble,
    pub(super) split: &'a Dataset,
    pub(super) batch_size: usize,
    pub(super) pad_id: u32,
    pub(super) objective: &'a O,
    pub(super) device: &'a Device,
}

impl<O: Objective> Evaluator<'_, O> {
    /// Measures the student on the whole split, and the teachers beside it. Every figure is a mean over
    /// the tokens of the split, so it does not depend on how they are batched. None where `stop` was
    /// set on the way, or where nothing counts.
    ///
    /// # Errors
    /// Where a teacher's signal cannot be had.
    pub(super) fn measure(
        &self,
        student: &Transformer,
        stop: &Interrupt,
    ) -> Result<Option<(Evaluation, Option<Evaluation>)>, DistillError> {
        let student = student.frozen();
        let mut sums = Measures::default();
        for batch in data::epoch(self.split, self.batch_size, false, 0, 0, self.pad_id) {
            if stop.is_asked() {
                return Ok(None);
            }
            let Some(batch) = DeviceBatch::new(&batch, self.device) else { continue };
            let hidden = student.forward_rows(batch.ids.clone(), batch.rows.clone());
            let taught = self.teachers.teach(&batch)?;
            sums += self.objective.measure(student.project(hidden), taught, batch.targets);
        }
        Ok((sums.rows > 0).then(|| figures(&sums)))
    }
}

/// Means over the rows.
fn figures(sums: &Measures) -> (Evaluation, Option<Evaluation>) {
    let mean = |sum: f64| sum / sums.rows as f64;
    let alone = |hard: f64, correct: f64| {
        [
            (HARD_LOSS, Some(mean(hard))),
            // Kept finite: JSON has no infinity.
            (PERPLEXITY, Some(mean(hard).exp().min(f64::MAX))),
            (ACCURACY, Some(mean(correct))),
        ]
    };
    let against_teachers = [
        (SOFT_LOSS, sums.teachers.and_then(|teachers| teachers.soft).map(mean)),
        (AGREEMENT, sums.teachers.map(|teachers| mean(teachers.agreed))),
    ];
    let evaluation = |values: Values| Evaluation { tokens: sums.rows, declared: BTreeMap::new(), values };
    let student = alone(sums.hard, sums.correct as f64).into_iter().chain(against_teachers).collect();
    let teachers = sums.teachers.map(|teachers| alone(teachers.hard, teachers.correct).into_iter().collect());
    (evaluation(student), teachers.map(evaluation))
}
