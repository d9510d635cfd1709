//! The steps, with a clock between their parts.

use std::time::Instant;

use burn::tensor::{DType, Device};
use serde::Serialize;

use super::error::BenchError;
use super::options::{Options, TeacherSignal};
use crate::data::{self, Batch, Dataset, Random, Sequence};
use crate::distill::{DeviceBatch, Gradients, Signal, TrainingState, memory};
use crate::experiment::config::{OptimizerConfig, Precision};
use crate::kernels::cpu::release_memory;
use crate::kernels::{Distillation, KeptHead, Projection, Taught, distillation_loss};
use crate::model::{ModelConfig, Transformer};
use crate::schedule;

/// Steps to measure at least.
const LEAST_STEPS: usize = 3;
const MIB: u64 = 1 << 20;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The teacher's hidden states.
    Teacher,
    /// The student's hidden states.
    StudentForward,
    /// Both heads and the loss, with its gradients in the student's hidden states and head.
    Loss,
    /// The gradients of all other parameters.
    Backward,
    /// The norm of the gradients and the update of the parameters.
    Optimizer,
    /// The batch on its way to the device, the loss on its way back.
    Rest,
}

impl Part {
    /// All parts, in the order in which reports list them.
    pub const ALL: [Self; 6] =
        [Self::Teacher, Self::StudentForward, Self::Loss, Self::Backward, Self::Optimizer, Self::Rest];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::StudentForward => "student forward",
            Self::Loss => "loss",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
            Self::Rest => "rest",
        }
    }
}

/// Seconds of each part of one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times([f64; Part::ALL.len()]);

impl Times {
    pub(super) fn of(&self, part: Part) -> f64 {
        self.0[part as usize]
    }

    /// Seconds of the whole step.
    pub(super) fn whole(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// A clock that gives all time since its last reading to a part.
struct Clock {
    last: Instant,
    times: Times,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), times: Times::default() }
    }

    fn was(&mut self, part: Part) {
        let now = Instant::now();
        self.times.0[part as usize] += (now - self.last).as_secs_f64();
        self.last = now;
    }
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) student: ModelConfig,
    pub(super) teacher: Option<ModelConfig>,
    /// Tokens of a batch that enter the loss.
    pub(super) rows: usize,
    pub(super) steps: Vec<Times>,
    /// Bytes; 0 where the system does not say.
    pub(super) peak_memory: u64,
}

/// What the student learns from, besides the labels.
enum Teacher {
    /// A signal that is computed in each step.
    Signal(Box<Signal>),
    /// What the signal gives for the batch, computed before.
    Given(Box<Taught>),
    None,
}

pub(super) fn measure(options: &Options) -> Result<Measured, BenchError> {
    let mix = Distillation::from(&options.loss);
    let student_config = options
        .student
        .model(options.vocab_size)
        .map_err(|source| BenchError::Student { shape: options.student.to_string(), source })?;
    let teacher_config = mix
        .divergence
        .map(|_| options.teacher.model(options.vocab_size))
        .transpose()
        .map_err(|source| BenchError::Teacher { shape: options.teacher.to_string(), source })?;
    check_memory(&student_config, teacher_config.as_ref())?;

    let device = options.device.to_burn()?;
    let data = random_sequences(options);
    let Some(batch) = data::epoch(&data, options.batch, false, 0, 0, 0).next() else {
        unreachable!("there is a sequence")
    };
    let rows = options.batch * (options.sequence - 1);
    let teacher = teacher(options, teacher_config.as_ref(), &batch, &device)?;
    let student = random_model(&student_config, options.precision, &device.clone().autodiff());
    let mut state = TrainingState::new(student);
    let optimizer = OptimizerConfig::default();

    let mut steps = Vec::new();
    let mut elapsed = 0.0;
    while steps.len() < LEAST_STEPS || elapsed < options.seconds {
        // As in `distill::train`, but for the schedule and the metrics.
        state.step += 1;
        let mut clock = Clock::start();
        let Some(batch) = DeviceBatch::new(&batch, &device) else { unreachable!("every label counts") };
        clock.was(Part::Rest);
        let hidden = state.student.forward_rows(batch.ids.clone(), batch.rows.clone());
        clock.was(Part::StudentForward);
        let taught = match &teacher {
            Teacher::Signal(signal) => Some(signal.teach(&batch).map_err(Box::new)?),
            Teacher::Given(taught) => Some(Taught::clone(taught)),
            Teacher::None => None,
        };
        clock.was(Part::Teacher);
        let loss = distillation_loss(state.student.project(hidden), taught, batch.targets, &mix);
        clock.was(Part::Loss);
        let mut gradients = Gradients::default();
        gradients.add(&state.student, &loss.total);
        clock.was(Part::Backward);
        let norm = gradients.norm();
        state.student = state.optimizer.step(
            state.student,
            gradients,
            &norm,
            &optimizer,
            optimizer.learning_rate,
            state.step,
        );
        clock.was(Part::Optimizer);
        let (loss, norm): (f32, f64) = (loss.total.into_scalar(), norm.read());
        clock.was(Part::Rest);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(BenchError::NotFinite { step: state.step, loss, norm });
        }
        if state.step > options.warmup as u64 {
            elapsed += clock.times.whole();
            steps.push(clock.times);
        }
    }
    Ok(Measured {
        student: student_config,
        teacher: teacher_config,
        rows,
        steps,
        peak_memory: memory::peak(),
    })
}

/// A model with random weights that computes in `precision`.
fn random_model(config: &ModelConfig, precision: Precision, device: &Device) -> Transformer {
    Transformer::random(config, 0, device).with_precision(precision.into())
}

/// What the student learns from. With hidden states that are there before, the teacher that made them
/// is gone, and so is its part in the peak memory.
fn teacher(
    options: &Options,
    config: Option<&ModelConfig>,
    batch: &Batch,
    device: &Device,
) -> Result<Teacher, BenchError> {
    let Some(config) = config else { return Ok(Teacher::None) };
    let signal = Signal::Online(random_model(config, options.precision, device).frozen());
    Ok(match (options.signal, DeviceBatch::new(batch, device)) {
        (TeacherSignal::Hidden, Some(batch)) => {
            let taught = as_from_the_cache(signal.teach(&batch).map_err(Box::new)?, options);
            drop(signal);
            release_memory();
            memory::restart_peak();
            Teacher::Given(Box::new(taught))
        }
        (TeacherSignal::Hidden, None) | (TeacherSignal::Online, _) => Teacher::Signal(Box::new(signal)),
    })
}

/// Hidden states in the type that they are stored in, and a head that is nowhere but packed: what training
/// from the cache has.
fn as_from_the_cache(taught: Taught, options: &Options) -> Taught {
    match taught {
        Taught::Hidden(Projection { hidden, head, .. }) => {
            let hidden = match options.precision {
                Precision::Bf16 if hidden.device().supports_dtype(DType::BF16) => hidden.cast(DType::BF16),
                _ => hidden,
            };
            KeptHead::new(head, options.vocab_size, options.precision.into()).teach(hidden)
        }
        other => other,
    }
}

/// Sequences of random ids with random labels, every one of which counts.
fn random_sequences(options: &Options) -> Dataset {
    let mut random = Random::new("kdx 2025 tokens of a measured training step", &[]);
    let mut id = || random.below(options.vocab_size as u64) as u32;
    let sequences = (0..options.batch).map(|_| Sequence {
        input_ids: (0..options.sequence).map(|_| id()).collect(),
        labels: (0..options.sequence).map(|_| id().cast_signed()).collect(),
    });
    Dataset::from_sequences(sequences.collect())
}

/// Refuses weights that the machine cannot hold, which would end the process.
fn check_memory(student: &ModelConfig, teacher: Option<&ModelConfig>) -> Result<(), BenchError> {
    let Some((available, _)) = schedule::memory() else { return Ok(()) };
    // Weights, gradients and both moments, four bytes each.
    let floats = student.parameters().saturating_mul(4);
    let floats = floats.saturating_add(teacher.map_or(0, ModelConfig::parameters));
    let needed = floats.saturating_mul(4);
    if needed > available {
        return Err(BenchError::Memory { needed: needed / MIB, available: available / MIB });
    }
    Ok(())
}
