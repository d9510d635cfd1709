//! The steps that are measured.

use std::time::Instant;

use burn::tensor::{DType, Device};

use super::clock::{Stopwatch, Times};
use super::error::BenchError;
use super::options::{Options, TeacherSignal};
use crate::data::{self, Batch, Dataset, Sequence};
use crate::distill::{
    Clock, DeviceBatch, DistillError, MicroBatches, Part, Position, Signal, Step, Taken, Teach,
    TrainingState, Weighted, memory,
};
use crate::interrupt::Interrupt;
use crate::kernels::cpu::release_memory;
use crate::kernels::{Distillation, KeptHead, Projection, Taught};
use crate::model::cost::count_training_bytes;
use crate::model::{ModelConfig, Transformer};
use crate::schedule;
use crate::spec::{OptimizerConfig, Precision, Random};

/// Steps, or readings of the figures of several, to measure at least.
const LEAST_STEPS: usize = 3;
/// The share of the time of the measurement that the parts are given, where they need steps of their own.
const TIME_OF_PARTS: f64 = 0.25;
const MIB: u64 = 1 << 20;

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) student: ModelConfig,
    pub(super) teacher: Option<ModelConfig>,
    /// Tokens of a batch that enter the loss.
    pub(super) rows: usize,
    /// Of all steps before the measurement, in which kernels may be compiled and chosen among.
    pub(super) warmup_seconds: f64,
    /// Steps between two readings of the figures.
    pub(super) steps_per_reading: usize,
    /// Seconds of a step, the mean over those from one reading to the next.
    pub(super) steps: Vec<f64>,
    /// Steps by part.
    pub(super) parts: Vec<Times>,
    /// Whether the parts are of steps of their own, which waited for the device at the end of each.
    pub(super) synchronized: bool,
    /// Of the process, bytes; 0 where the system does not say.
    pub(super) peak_memory: u64,
    /// None on the processor, and where the device does not say.
    pub(super) device_memory: Option<DeviceBytes>,
}

/// Memory of a device, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceBytes {
    /// Most that tensors took at the end of a part.
    pub(super) in_use: u64,
    /// Most that was held, tensors and room for more, since what the warm-up left was given back.
    pub(super) reserved: u64,
    /// Held after the warm-up, in which kernels are tried out.
    pub(super) reserved_in_warmup: u64,
}

/// What the student learns from, besides the labels.
enum Teacher {
    /// A signal that is computed in each step.
    Signal(Box<Signal>),
    /// What the signal gives for the batch, computed before.
    Given(Box<Taught>),
    None,
}

impl Teach for Teacher {
    fn teach(&self, batch: &DeviceBatch) -> Result<Vec<Weighted>, DistillError> {
        let taught = match self {
            Self::Signal(signal) => signal.teach(batch)?,
            Self::Given(taught) => Taught::clone(taught),
            Self::None => return Ok(Vec::new()),
        };
        Ok(vec![Weighted { taught, weight: 1.0 }])
    }
}

pub(super) fn measure(options: &Options, device: &Device) -> Result<Measured, BenchError> {
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

    let data = random_sequences(options);
    let Some(batch) = data::epoch(&data, options.batch, false, 0, 0, 0).next() else {
        unreachable!("there is a sequence")
    };
    let teacher = teacher(options, teacher_config.as_ref(), &batch, device)?;
    let student = random_model(&student_config, options.precision, &device.clone().autodiff());
    let optimizer = OptimizerConfig::default();
    let step = Step { objective: &mix, teachers: &teacher, optimizer: &optimizer, device };
    let batch = MicroBatches { batches: vec![batch], after: Position::default() };
    let training = Training { step, batch, stop: Interrupt::new() };
    let mut state = TrainingState::new(student, 0);
    let mut measured = Measured {
        student: student_config,
        teacher: teacher_config,
        rows: options.batch * (options.sequence - 1),
        warmup_seconds: 0.0,
        steps_per_reading: 1,
        steps: Vec::new(),
        parts: Vec::new(),
        synchronized: false,
        peak_memory: 0,
        device_memory: None,
    };
    let start = Instant::now();
    for _ in 0..options.warmup {
        (state, _) = training.step_and_read(state, None)?;
    }
    measured.warmup_seconds = start.elapsed().as_secs_f64();
    if options.device.is_cpu() {
        training.measure_on_processor(options, state, &mut measured)?;
    } else {
        training.measure_on_device(options, state, &mut measured)?;
    }
    measured.peak_memory = memory::peak();
    Ok(measured)
}

/// A training that goes on and on with one batch.
struct Training<'a> {
    step: Step<'a, Distillation, Teacher>,
    batch: MicroBatches,
    /// Never asked.
    stop: Interrupt,
}

impl Training<'_> {
    /// The processor has done the work of a part when its last call returns.
    fn measure_on_processor(
        &self,
        options: &Options,
        mut state: TrainingState,
        measured: &mut Measured,
    ) -> Result<(), BenchError> {
        let mut elapsed = 0.0;
        while measured.parts.len() < LEAST_STEPS || elapsed < options.seconds {
            let clock;
            (state, clock) = self.step_and_read(state, None)?;
            let times = clock.times();
            elapsed += times.whole();
            measured.parts.push(times);
            measured.steps.push(times.whole());
        }
        Ok(())
    }

    /// Other devices work behind the calls: first steps as training takes them, then steps by part.
    fn measure_on_device(
        &self,
        options: &Options,
        mut state: TrainingState,
        measured: &mut Measured,
    ) -> Result<(), BenchError> {
        let reserved = || self.step.device.memory_pool_usage().map(|usage| usage.bytes_reserved);
        let reserved_in_warmup = reserved();
        self.step.device.memory_cleanup();
        // Takes again what the steps need.
        (state, _) = self.step_and_read(state, None)?;

        let every = options.log_every;
        measured.steps_per_reading = every;
        let mut most_reserved = 0;
        let mut elapsed = 0.0;
        while measured.steps.len() < LEAST_STEPS || elapsed < options.seconds {
            let start = Instant::now();
            let mut taken = Vec::with_capacity(every);
            for _ in 0..every {
                let step;
                (state, step) = self.take_step(state, &mut Stopwatch::start(None))?;
                taken.push(step);
            }
            taken.into_iter().try_for_each(read)?;
            let seconds = start.elapsed().as_secs_f64();
            elapsed += seconds;
            measured.steps.push(seconds / every as f64);
            most_reserved = most_reserved.max(reserved().unwrap_or(0));
        }

        measured.synchronized = true;
        let mut most_in_use = 0;
        let mut elapsed = 0.0;
        while measured.parts.len() < LEAST_STEPS || elapsed < options.seconds * TIME_OF_PARTS {
            let clock;
            (state, clock) = self.step_and_read(state, Some(self.step.device))?;
            elapsed += clock.times().whole();
            measured.parts.push(clock.times());
            most_in_use = most_in_use.max(clock.in_use());
        }
        measured.device_memory = reserved_in_warmup.map(|reserved_in_warmup| DeviceBytes {
            in_use: most_in_use,
            reserved: most_reserved,
            reserved_in_warmup,
        });
        Ok(())
    }

    /// A step whose figures are read at once, with a clock that waits for a device between its parts if one
    /// is given.
    fn step_and_read<'a>(
        &self,
        state: TrainingState,
        device: Option<&'a Device>,
    ) -> Result<(TrainingState, Stopwatch<'a>), BenchError> {
        let mut clock = Stopwatch::start(device);
        let (state, taken) = self.take_step(state, &mut clock)?;
        read(taken)?;
        clock.record(Part::Rest)?;
        Ok((state, clock))
    }

    /// A step with the peak learning rate.
    fn take_step(
        &self,
        state: TrainingState,
        clock: &mut Stopwatch,
    ) -> Result<(TrainingState, Taken), BenchError> {
        let learning_rate = self.step.optimizer.learning_rate;
        let (state, taken) = self.step.take(state, &self.batch, learning_rate, &self.stop, clock)?;
        let Some(taken) = taken else { unreachable!("nobody asks it to stop") };
        Ok((state, taken))
    }
}

/// Reads what a step came to; waits for the device.
fn read(taken: Taken) -> Result<(), BenchError> {
    let step = taken.step;
    let (losses, norm) = taken.read();
    if losses.total.is_finite() && norm.is_finite() {
        return Ok(());
    }
    Err(BenchError::NotFinite { step, loss: losses.total, norm })
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
    let signal = Signal::Online(Box::new(random_model(config, options.precision, device).frozen()));
    Ok(match (options.signal, DeviceBatch::new(batch, device)) {
        (TeacherSignal::Hidden, Some(batch)) => {
            let taught = as_from_the_cache(signal.teach(&batch)?, options);
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
    let Some(available) = schedule::Memory::of_processors().map(|memory| memory.total) else { return Ok(()) };
    let needed = count_training_bytes(student, teacher);
    if needed > available {
        return Err(BenchError::Memory { needed: needed / MIB, available: available / MIB });
    }
    Ok(())
}
