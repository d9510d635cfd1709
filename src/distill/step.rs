//! One training step: forward, objective, backward, clip, update. Training takes it, and `kdx bench` times
//! it.

use burn::tensor::Device;

use super::batch::DeviceBatch;
use super::batches::MicroBatches;
use super::clock::{Clock, Part};
use super::objective::Objective;
use super::optimizer::Gradients;
use super::state::TrainingState;
use super::taken::{Sums, Taken};
use super::teachers::Teach;
use crate::data::Batch;
use crate::interrupt::Interrupt;
use crate::kernels::Norm;
use crate::spec::OptimizerConfig;

/// What all steps of a training have in common.
#[derive(Debug)]
pub struct Step<'a, O, T> {
    /// What is minimized.
    pub objective: &'a O,
    /// Who teaches.
    pub teachers: &'a T,
    /// How parameters are updated.
    pub optimizer: &'a OptimizerConfig,
    /// Where the tensors live, outside any graph.
    pub device: &'a Device,
}

impl<O: Objective, T: Teach> Step<'_, O, T> {
    /// Takes a step over the mean of its micro-batches. Gives the state after it, with what it came to; the
    /// state as it was, with nothing, where `stop` was asked on the way: such a step will be taken again from
    /// its start.
    ///
    /// `clock` is told where each part ends.
    ///
    /// # Errors
    /// Where a teacher cannot be asked, or the clock says so.
    pub fn take<C: Clock>(
        &self,
        state: TrainingState,
        next: &MicroBatches,
        learning_rate: f64,
        stop: &Interrupt,
        clock: &mut C,
    ) -> Result<(TrainingState, Option<Taken>), C::Error> {
        let Some((gradients, losses)) = self.accumulate(&state, &next.batches, stop, clock)? else {
            return Ok((state, None));
        };
        let norm = gradients.norm();
        let state = self.update(state, next, gradients, &norm, learning_rate);
        clock.record(Part::Optimizer)?;
        let taken = Taken { step: state.step, tokens: state.tokens, losses, norm };
        Ok((state, Some(taken)))
    }

    /// Forward and backward over each micro-batch: the mean gradient and the mean losses, none of these where
    /// nothing counted. Nothing at all where `stop` was asked on the way.
    fn accumulate<C: Clock>(
        &self,
        state: &TrainingState,
        batches: &[Batch],
        stop: &Interrupt,
        clock: &mut C,
    ) -> Result<Option<(Gradients, Option<Sums>)>, C::Error> {
        let share = 1.0 / batches.len() as f64;
        let mut gradients = Gradients::default();
        let mut losses = None;
        for batch in batches {
            if stop.is_asked() {
                return Ok(None);
            }
            let Some(batch) = DeviceBatch::new(batch, self.device) else { continue };
            clock.record(Part::Rest)?;
            let hidden = state.student.forward_rows(batch.ids.clone(), batch.rows.clone());
            clock.record(Part::StudentForward)?;
            let taught = self.teachers.teach(&batch)?;
            clock.record(Part::Teacher)?;
            let loss = self.objective.loss(state.student.project(hidden), taught, batch.targets);
            clock.record(Part::Loss)?;
            gradients.add(&state.student, &(loss.total.clone() * share));
            losses = Some(Sums::add(losses, loss, share));
            clock.record(Part::Backward)?;
        }
        Ok(Some((gradients, losses)))
    }

    /// Clips the gradients and updates the parameters; with that the state moves on.
    fn update(
        &self,
        state: TrainingState,
        next: &MicroBatches,
        gradients: Gradients,
        norm: &Norm,
        learning_rate: f64,
    ) -> TrainingState {
        let TrainingState { student, mut optimizer, step, tokens, .. } = state;
        let step = step + 1;
        let student = optimizer.step(student, gradients, norm, self.optimizer, learning_rate, step);
        TrainingState {
            student,
            optimizer,
            step,
            position: next.after,
            tokens: tokens + next.tokens(),
            ..state
        }
    }
}
