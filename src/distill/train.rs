//! One run, from its record to its model.

use std::path::Path;
use std::time::Instant;

use super::batches::epochs::Epochs;
use super::batches::{Batches, MicroBatches};
use super::checkpoint::Checkpoints;
use super::clock::NoClock;
use super::error::DistillError;
use super::evaluate::Evaluator;
use super::job::{Job, Observer, Outcome};
use super::log::Log;
use super::objective::Objective;
use super::schedule::learning_rate;
use super::setup::Setup;
use super::state::{LastMeasured, TrainingState};
use super::step::Step;
use super::summary::Facts;
use super::taken::Taken;
use super::teachers::Ensemble;
use crate::data::Prepared;
use crate::interrupt::Interrupt;
use crate::kernels::cpu::release_memory;
use crate::model::{self, ModelConfig};
use crate::spec::Stage;
use crate::spec::metric::{HARD_LOSS, SOFT_LOSS};
use crate::store::{Best, Evaluation, MetricRow, Split, Values};

/// Trains one run: reads the data, makes the models, takes the steps, measures, and writes
/// `metrics.jsonl` and the model. The caller writes status and summary, and then removes the checkpoint.
///
/// Where the directory holds a checkpoint of the same record the run goes on from there, to the same bytes
/// as if it had never been interrupted; one that is damaged is named in a warning, and not used.
///
/// A run that trains a teacher is trained the same way, on labels alone.
///
/// The training runs on a thread of the current rayon pool, which is also where Burn's CPU backend
/// splits its work: from any other thread each small operation would wait for the pool to wake up.
///
/// # Errors
/// Where data or models cannot be used or do not go together, or a file cannot be written.
pub fn train(job: &Job, observer: &mut dyn Observer, stop: &Interrupt) -> Result<Outcome, DistillError> {
    rayon::scope(|_| train_in_pool(job, observer, stop))
}

fn train_in_pool(job: &Job, observer: &mut dyn Observer, stop: &Interrupt) -> Result<Outcome, DistillError> {
    let started = Instant::now();
    let config = job.record.spec.stage();
    let Some(setup) = Setup::new(job, observer, stop)? else { return Ok(Outcome::Interrupted) };
    let Setup { data, teachers, student, student_config, objective } = setup;
    // A teacher that ran over all of the data left memory behind that training has no use for.
    release_memory();
    let device = job.device.clone().without_autodiff();

    let batches = Epochs::new(&config.train, config.data.shuffle, &data.train, data.pad_id);
    let mut checkpoints = Checkpoints::new(job.dir, job.record, started);
    let saved = checkpoints.find(&student_config, observer);
    observer.started(batches.total_steps(), student_config.parameters());
    let start = TrainingState::new(student, config.train.seed);
    let log_every = config.train.log_every as u64;
    let (state, log) = match saved {
        Some((saved, writer)) => {
            let mut log = Log::new(writer, observer, log_every);
            let state = checkpoints.resume(saved, start, &mut log, &device);
            tracing::info!("resumed at step {} of {}", state.step, batches.total_steps());
            log.observer.resumed(state.step);
            (state, log)
        }
        None => {
            // Before the metrics begin anew: a checkpoint counts on those that it was written with.
            job.dir.remove_checkpoint()?;
            (start, Log::new(job.dir.begin_metrics()?, observer, log_every))
        }
    };

    let facts = Facts {
        started,
        earlier: checkpoints.earlier,
        parameters: student_config.parameters(),
        teacher_parameters: teachers.parameters,
        skipped: data.skipped,
    };
    let evaluator = data.validation.as_ref().map(|split| Evaluator {
        teachers: &teachers.validation,
        split,
        batch_size: config.evaluate.batch_size,
        pad_id: data.pad_id,
        objective: &objective,
        device: &device,
    });
    let step = Step {
        objective: &objective,
        teachers: &teachers.training,
        optimizer: &config.optimizer,
        device: &device,
    };
    let (data, model) = (&data, &student_config);
    Training { job, config, data, model, stop, step, batches, evaluator, checkpoints, log, facts }.run(state)
}

/// A run that is ready to take its steps.
struct Training<'a, B, O> {
    job: &'a Job<'a>,
    config: &'a Stage,
    data: &'a Prepared,
    /// The student's sizes.
    model: &'a ModelConfig,
    stop: &'a Interrupt,
    step: Step<'a, O, Ensemble>,
    batches: B,
    evaluator: Option<Evaluator<'a, O>>,
    checkpoints: Checkpoints<'a>,
    log: Log<'a>,
    facts: Facts,
}

impl<B: Batches, O: Objective> Training<'_, B, O> {
    /// Trains from `state` to the end.
    fn run(mut self, mut state: TrainingState) -> Result<Outcome, DistillError> {
        loop {
            if let Some(outcome) = self.measure(&mut state)? {
                return Ok(outcome);
            }
            if self.is_last(&state) {
                return self.finish(&state);
            }
            if let Some(outcome) = self.pause_or_stop(&state) {
                return Ok(outcome);
            }
            let began = Instant::now();
            let taken;
            (state, taken) = self.take_step(state)?;
            let Some(taken) = taken else { return Ok(self.interrupt(&state)) };
            if let Some(outcome) = self.log_step(taken, &state, began)? {
                return Ok(outcome);
            }
        }
    }

    fn is_last(&self, state: &TrainingState) -> bool {
        state.step == self.batches.total_steps()
    }

    /// Measures the student where it is time to, and keeps it where it is the best so far. The outcome, where
    /// the run ends here.
    fn measure(&mut self, state: &mut TrainingState) -> Result<Option<Outcome>, DistillError> {
        let every = self.config.evaluate.every as u64;
        let is_due = self.is_last(state) || (every > 0 && state.step.is_multiple_of(every));
        if !is_due || state.measured.step == state.step {
            return Ok(None);
        }
        let figures = match &self.evaluator {
            Some(evaluator) => evaluator.measure(&state.student, self.stop)?,
            None => None,
        };
        if figures.is_none() && self.stop.is_asked() {
            return Ok(Some(self.interrupt(state)));
        }
        if let Some((student, _)) = &figures {
            let row = self.validation_row(student, state);
            if !row.loss.is_finite() {
                return Ok(Some(self.diverge(state.step, state)));
            }
            self.log.write(&row)?;
            self.keep_best(student, state)?;
        }
        state.measured = LastMeasured { step: state.step, figures };
        Ok(None)
    }

    /// Writes the model with the lowest held-out loss so far, where it is to be kept.
    fn keep_best(&self, student: &Evaluation, state: &mut TrainingState) -> Result<(), DistillError> {
        let Some(hard_loss) = student.value(HARD_LOSS) else { return Ok(()) };
        let is_best = state.best.is_none_or(|best| hard_loss < best.hard_loss);
        if self.config.evaluate.keeps_best() && is_best {
            self.job.dir.save_best(|directory| self.write_model(state, directory))?;
            state.best = Some(Best { step: state.step, hard_loss });
        }
        Ok(())
    }

    /// Pauses where the run was to be trained so far, stops where that was asked for, and else writes a
    /// checkpoint where it is time for one.
    fn pause_or_stop(&mut self, state: &TrainingState) -> Option<Outcome> {
        if self.job.until.is_some_and(|until| state.step >= until) {
            self.checkpoints.write(state, &mut self.log);
            return Some(Outcome::Paused);
        }
        if self.stop.is_asked() {
            return Some(self.interrupt(state));
        }
        if self.checkpoints.is_due() {
            self.checkpoints.write(state, &mut self.log);
        }
        None
    }

    fn interrupt(&mut self, state: &TrainingState) -> Outcome {
        self.checkpoints.write(state, &mut self.log);
        Outcome::Interrupted
    }

    /// Takes the next step. The state is as it was, and nothing came of the step, where the run was asked to
    /// stop on the way.
    fn take_step(&mut self, state: TrainingState) -> Result<(TrainingState, Option<Taken>), DistillError> {
        let next = self.batches.next(&state);
        self.read_ahead(&state, &next);
        let rate = self.learning_rate(state.step + 1);
        self.step.take(state, &next, rate, self.stop, &mut NoClock)
    }

    /// Has the teachers read what the step after the next one takes.
    fn read_ahead(&mut self, state: &TrainingState, next: &MicroBatches) {
        if self.step.teachers.reads_ahead() {
            self.step.teachers.read_ahead(self.batches.peek(state, next));
        }
    }

    fn learning_rate(&self, step: u64) -> f64 {
        let peak = self.config.optimizer.learning_rate;
        learning_rate(&self.config.schedule, peak, step, self.batches.total_steps())
    }

    /// Takes in what a step came to that began at `began`, and writes a row where one is due. The outcome,
    /// where the loss or the gradient is no longer finite.
    fn log_step(
        &mut self,
        taken: Taken,
        state: &TrainingState,
        began: Instant,
    ) -> Result<Option<Outcome>, DistillError> {
        let is_due = self.log.is_due(state.step, self.is_last(state));
        self.log.take(taken);
        if is_due {
            self.log.settle();
        }
        self.log.training += began.elapsed();
        if let Some(step) = self.log.diverged {
            return Ok(Some(self.diverge(step, state)));
        }
        if is_due {
            let rate = self.learning_rate(state.step);
            let epoch = self.batches.count_epochs(state.position);
            self.log.row(|means, norm| MetricRow {
                step: state.step,
                epoch,
                split: Split::Train,
                learning_rate: Some(rate),
                loss: means.total,
                grad_norm: Some(norm),
                tokens: state.tokens,
                values: Values::from_iter([(HARD_LOSS, Some(means.hard)), (SOFT_LOSS, means.soft)]),
            })?;
        }
        Ok(None)
    }

    fn validation_row(&self, figures: &Evaluation, state: &TrainingState) -> MetricRow {
        // Every evaluation holds a hard loss; one without would be no loss at all.
        let hard = figures.value(HARD_LOSS).unwrap_or(f64::NAN);
        MetricRow {
            step: state.step,
            epoch: self.batches.count_epochs(state.position),
            split: Split::Validation,
            learning_rate: None,
            loss: self.step.objective.mix(hard, figures.value(SOFT_LOSS)),
            grad_norm: None,
            tokens: figures.tokens,
            values: figures.values.clone(),
        }
    }

    /// Writes the model of a run that took its last step.
    fn finish(&self, state: &TrainingState) -> Result<Outcome, DistillError> {
        // The last step may have been the one too many, and nothing measured it.
        if !state.student.is_finite() {
            return Ok(self.diverge(state.step, state));
        }
        self.job.dir.save_model(|directory| self.write_model(state, directory))?;
        let (epochs, measured) = (self.batches.count_epochs(state.position), state.measured.figures.clone());
        Ok(Outcome::Finished(self.facts.summarize(state, epochs, self.log.training, measured)))
    }

    fn diverge(&self, step: u64, state: &TrainingState) -> Outcome {
        let epochs = self.batches.count_epochs(state.position);
        self.facts.diverge(step, state, epochs, self.log.training)
    }

    /// Writes the student into `directory`, with the tokenizer beside it.
    fn write_model(&self, state: &TrainingState, directory: &Path) -> Result<(), DistillError> {
        let tokenizer = self.data.tokenizer_dir.as_deref();
        model::write(&state.student, self.model, tokenizer, directory).map_err(DistillError::student)
    }
}
