//! One run, from its record to its model.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::batch::DeviceBatch;
use super::checkpoint::Checkpoints;
use super::error::DistillError;
use super::evaluate::Evaluator;
use super::log::{Log, Sums, Taken, rate};
use super::memory;
use super::optimizer::Gradients;
use super::schedule::learning_rate;
use super::setup::Setup;
use super::state::{LastMeasured, TrainingState};
use super::steps::Steps;
use super::teacher::Teacher;
use crate::interrupt::Interrupt;
use crate::kernels::cpu::release_memory;
use crate::kernels::distillation_loss;
use crate::model::{self, Transformer};
use crate::store::{Best, Evaluation, FORMAT_VERSION, MetricRow, RunDir, RunRecord, RunSummary, Split};

/// One run to be trained.
#[derive(Debug)]
pub struct Job<'a> {
    /// What the run is.
    pub record: &'a RunRecord,
    /// Where it writes.
    pub dir: &'a RunDir,
    /// The model that it starts from, where it starts from one.
    pub start_dir: Option<PathBuf>,
    /// The models of its teachers, in the record's order.
    pub teacher_dirs: Vec<PathBuf>,
    /// Where tokens are cached.
    pub cache_dir: &'a Path,
    /// Where the tensors live.
    pub device: Device,
    /// The step at which it pauses, with a checkpoint; none to train it to its end.
    pub until: Option<u64>,
}

/// Who follows a run while it trains. Called on the thread that trains.
pub trait Observer: Send {
    /// Something is made before the first step that may take long, as the teacher's signal: `done` parts
    /// of `total`.
    fn preparing(&mut self, _what: &str, _done: u64, _total: u64) {}
    /// The run cannot go on until another process has made something. Called again and again.
    fn waiting(&mut self, _what: &str) {}
    /// Data and models are ready; the first step is about to be taken.
    fn started(&mut self, total_steps: u64, parameters: u64);
    /// The run goes on after this step, where an earlier attempt left a checkpoint.
    fn resumed(&mut self, _step: u64) {}
    /// The run begins again, as the checkpoint of an earlier attempt cannot be used.
    fn restarted(&mut self, _reason: &str) {}
    /// A checkpoint was written after this step.
    fn checkpoint(&mut self, _step: u64) {}
    /// A row was written. `tokens_per_second` is over the training so far, evaluation left out.
    fn metric(&mut self, row: &MetricRow, tokens_per_second: f64);
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Trained to its last step and measured; the model is written.
    Finished(RunSummary),
    /// The loss or the gradient was no longer finite; no model is written.
    Diverged(RunSummary),
    /// Trained to the step that was asked for, with a checkpoint.
    Paused,
    /// Stopped on request, with a checkpoint if it had begun to train.
    Interrupted,
}

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
    let Setup { data, teacher, student, student_config, mix } = setup;
    // A teacher that ran over all of the data left memory behind that training has no use for.
    release_memory();
    let device = job.device.clone().without_autodiff();
    let taught = teacher.as_ref().and_then(|teacher| teacher.training.as_ref());

    let mut steps = Steps::new(config, &data.train, data.pad_id);
    let mut checkpoints = Checkpoints::new(job, started);
    let saved = checkpoints.find(&student_config, observer);
    observer.started(steps.total, student_config.parameters());
    let log_every = config.train.log_every as u64;
    let (mut state, mut log) = match saved {
        Some((saved, writer)) => {
            let mut log = Log::new(writer, observer, log_every);
            let state = checkpoints.resume(saved, student, &mut log, &device);
            tracing::info!("resumed at step {} of {}", state.step, steps.total);
            log.observer.resumed(state.step);
            (state, log)
        }
        None => {
            // Before the metrics begin anew: a checkpoint counts on those that it was written with.
            job.dir.checkpoint().remove()?;
            (TrainingState::new(student), Log::new(job.dir.metrics_writer()?, observer, log_every))
        }
    };

    let run = Run {
        started,
        earlier: checkpoints.earlier,
        parameters: student_config.parameters(),
        teacher: teacher.as_ref(),
        skipped: data.skipped,
    };
    let evaluator = data.validation.as_ref().map(|split| Evaluator {
        teacher: teacher.as_ref().and_then(|teacher| teacher.validation.as_ref()),
        split,
        batch_size: config.evaluate.batch_size,
        pad_id: data.pad_id,
        mix: &mix,
        device: &device,
    });
    let every = config.evaluate.every as u64;
    let save = |student: &Transformer, directory: &Path| {
        let tokenizer = data.tokenizer_dir.as_deref();
        model::save(student, &student_config, tokenizer, directory).map_err(DistillError::student)
    };

    loop {
        let is_last = state.step == steps.total;
        let is_due = is_last || (every > 0 && state.step.is_multiple_of(every));
        if is_due && state.measured.step < state.step {
            let figures = match &evaluator {
                Some(evaluator) => evaluator.measure(&state.student, stop)?,
                None => None,
            };
            if figures.is_none() && stop.is_asked() {
                checkpoints.write(&state, &mut log);
                return Ok(Outcome::Interrupted);
            }
            if let Some((student, _)) = &figures {
                let row = validation_row(student, &state, &steps, mix.hard_weight);
                if !row.loss.is_finite() {
                    return Ok(run.diverged(state.step, &state, &steps, log.training));
                }
                log.write(&row)?;
                let best = Best { step: state.step, hard_loss: student.hard_loss };
                if config.evaluate.keeps_best()
                    && state.best.is_none_or(|before| best.hard_loss < before.hard_loss)
                {
                    job.dir.check_lease()?;
                    save(&state.student, &job.dir.best_dir())?;
                    state.best = Some(best);
                }
            }
            state.measured = LastMeasured { step: state.step, figures };
        }
        if is_last {
            break;
        }
        if job.until.is_some_and(|until| state.step >= until) {
            checkpoints.write(&state, &mut log);
            return Ok(Outcome::Paused);
        }
        if stop.is_asked() {
            checkpoints.write(&state, &mut log);
            return Ok(Outcome::Interrupted);
        }
        if checkpoints.is_due() {
            checkpoints.write(&state, &mut log);
        }

        let clock = Instant::now();
        let before = (state.step, state.position, state.tokens);
        let micro_batches = steps.next(&mut state);
        if let Some(signal) = taught.filter(|signal| signal.reads_ahead()) {
            signal.read_ahead(steps.ahead(&state));
        }
        let share = 1.0 / micro_batches.len() as f64;
        let mut gradients = Gradients::default();
        let mut losses: Option<Sums> = None;
        for batch in &micro_batches {
            if stop.is_asked() {
                // Nothing is learnt of the step yet: it will be taken again from its start.
                (state.step, state.position, state.tokens) = before;
                checkpoints.write(&state, &mut log);
                return Ok(Outcome::Interrupted);
            }
            let Some(batch) = DeviceBatch::new(batch, &device) else { continue };
            let hidden = state.student.forward_rows(batch.ids.clone(), batch.rows.clone());
            let projection = taught.map(|signal| signal.teach(&batch)).transpose()?;
            let loss = distillation_loss(state.student.project(hidden), projection, batch.targets, &mix);
            gradients.add(&state.student, &(loss.total.clone() * share));
            losses = Some(Sums::add(losses, loss, share));
        }
        let learning_rate =
            learning_rate(&config.schedule, config.optimizer.learning_rate, state.step, steps.total);
        let norm = gradients.norm();
        log.take(Taken { step: state.step, tokens: state.tokens, losses, norm: norm.clone() });
        if let Some(step) = log.diverged {
            return Ok(run.diverged(step, &state, &steps, log.training));
        }
        state.student = state.optimizer.step(
            state.student,
            gradients,
            &norm,
            &config.optimizer,
            learning_rate,
            state.step,
        );
        let is_due = log.is_due(state.step, state.step == steps.total);
        if is_due {
            log.settle();
        }
        log.training += clock.elapsed();
        if let Some(step) = log.diverged {
            return Ok(run.diverged(step, &state, &steps, log.training));
        }
        if is_due {
            log.row(|means, norm| MetricRow {
                step: state.step,
                epoch: steps.epochs(&state),
                split: Split::Train,
                learning_rate: Some(learning_rate),
                loss: means.total,
                hard_loss: means.hard,
                soft_loss: means.soft,
                grad_norm: Some(norm),
                tokens: state.tokens,
                agreement: None,
            })?;
        }
    }

    // The last step may have been the one too many, and nothing measured it.
    if !state.student.is_finite() {
        return Ok(run.diverged(state.step, &state, &steps, log.training));
    }
    job.dir.check_lease()?;
    save(&state.student, &job.dir.model_dir())?;
    let figures = state.measured.figures.clone();
    Ok(Outcome::Finished(run.summary(&state, &steps, log.training, figures)))
}

fn validation_row(figures: &Evaluation, state: &TrainingState, steps: &Steps, hard_weight: f64) -> MetricRow {
    let loss = match figures.soft_loss {
        Some(soft) => hard_weight * figures.hard_loss + (1.0 - hard_weight) * soft,
        None => figures.hard_loss,
    };
    MetricRow {
        step: state.step,
        epoch: steps.epochs(state),
        split: Split::Validation,
        learning_rate: None,
        loss,
        hard_loss: figures.hard_loss,
        soft_loss: figures.soft_loss,
        grad_norm: None,
        tokens: figures.tokens,
        agreement: figures.agreement,
    }
}

/// What the summary says that does not change while a run trains.
struct Run<'a> {
    started: Instant,
    /// What the attempts took whose work this one goes on with.
    earlier: Duration,
    parameters: u64,
    teacher: Option<&'a Teacher>,
    skipped: u64,
}

impl Run<'_> {
    fn diverged(&self, step: u64, state: &TrainingState, steps: &Steps, training: Duration) -> Outcome {
        let summary = self.summary(state, steps, training, None);
        Outcome::Diverged(RunSummary { diverged_at: Some(step), ..summary })
    }

    fn summary(
        &self,
        state: &TrainingState,
        steps: &Steps,
        training: Duration,
        measured: Option<(Evaluation, Option<Evaluation>)>,
    ) -> RunSummary {
        let (validation, teacher_validation) = measured.unzip();
        RunSummary {
            format_version: FORMAT_VERSION,
            steps: state.step,
            epochs: steps.epochs(state),
            tokens: state.tokens,
            tokens_per_second: rate(state.tokens, training),
            wall_seconds: (self.earlier + self.started.elapsed()).as_secs_f64(),
            parameters: self.parameters,
            teacher_parameters: self.teacher.map(|teacher| teacher.parameters),
            validation,
            teacher_validation: teacher_validation.flatten(),
            best: state.best,
            skipped_records: self.skipped,
            diverged_at: None,
            peak_memory: memory::peak(),
        }
    }
}
