//! What a run will cost, estimated before it runs: parameters, tokens, memory, time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use miette::Diagnostic;
use thiserror::Error;

use super::device::DeviceName;
use crate::data::{self, DataError};
use crate::model::cost::{
    GpuWork, count_head_flop, estimate_gpu_memory, estimate_memory, estimate_token_flop,
};
use crate::model::{ModelConfig, ModelError};
use crate::spec::{LossKind, ModelSource, RunId, RunRecord, SignalKind, SizeConfig, Stage, Start};
use crate::store::RunSummary;

/// Why a run's cost cannot be estimated; training it would fail for the same reason.
#[derive(Debug, Error, Diagnostic)]
pub enum EstimateError {
    /// The data cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] Box<DataError>),
    /// A model cannot be read or built.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] Box<ModelError>),
    /// A run whose model is needed, and of which nothing is known.
    #[error("it needs the model of run {0}, which is not in the store")]
    #[diagnostic(help("sweep the experiment that trains that run again, or name another one"))]
    Unknown(RunId),
}

/// What one run will cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Parameters of the model that is trained.
    pub parameters: u64,
    /// Parameters of the teacher.
    pub teacher_parameters: Option<u64>,
    /// Optimizer steps.
    pub steps: u64,
    /// Training tokens, padding left out.
    pub tokens: u64,
    /// Bytes of memory at the peak on the processors, roughly.
    pub memory: u64,
    /// Bytes of a GPU's memory at the peak, roughly, with what its driver takes for the process.
    pub gpu_memory: u64,
    /// Floating-point operations of training and evaluation.
    pub flops: f64,
}

impl Estimate {
    /// What a run took that is finished; its operations are not known.
    pub fn of_finished(summary: &RunSummary) -> Self {
        Self {
            parameters: summary.parameters,
            teacher_parameters: summary.teacher_parameters,
            steps: summary.steps,
            tokens: summary.tokens,
            memory: summary.peak_memory,
            gpu_memory: 0,
            flops: 0.0,
        }
    }

    /// Bytes of a device's memory at the peak, roughly.
    pub fn memory_on(&self, device: &DeviceName) -> u64 {
        if device.is_cpu() { self.memory } else { self.gpu_memory }
    }
}

/// Counts of one data configuration.
#[derive(Debug, Clone, Copy)]
struct DataSize {
    vocab_size: Option<usize>,
    sequences: u64,
    tokens: u64,
    longest: u64,
    validation_tokens: u64,
}

/// Estimates runs, reading each data set and each model directory once.
#[derive(Debug)]
pub struct Estimator {
    cache_dir: PathBuf,
    data: HashMap<String, DataSize>,
    directories: HashMap<PathBuf, ModelConfig>,
    sizes: HashMap<(String, usize), ModelConfig>,
    /// How the models of runs start that others need, and where they will be.
    runs: HashMap<RunId, (Start, PathBuf)>,
}

impl Estimator {
    /// An estimator that keeps what tokenizing makes in `cache_dir`, where the runs find it.
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            cache_dir,
            data: HashMap::new(),
            directories: HashMap::new(),
            sizes: HashMap::new(),
            runs: HashMap::new(),
        }
    }

    /// Makes a run known that others need; its model will be in `model_dir`.
    pub fn learn(&mut self, record: &RunRecord, model_dir: PathBuf) {
        self.runs.insert(record.run_id.clone(), (record.spec.stage().start.clone(), model_dir));
    }

    /// What a run will cost that trains this stage.
    ///
    /// # Errors
    /// Where it cannot be trained: its data or a model cannot be read, or do not go together.
    pub fn estimate(&mut self, stage: &Stage) -> Result<Estimate, EstimateError> {
        let data = self.data_size(stage)?;
        let declared = stage.teachers.first();
        let teacher = match declared {
            Some(teacher) => Some(self.model_of(&teacher.model, data.vocab_size)?),
            None => None,
        };
        let vocab_size = data.vocab_size.or(teacher.as_ref().map(|t| t.vocab_size));
        let student = self.model_at_start(&stage.start, vocab_size)?;

        let train = &stage.train;
        let micro_batches = data.sequences.div_ceil(train.batch_size as u64).max(1);
        let steps_per_epoch = micro_batches.div_ceil(train.accumulation as u64);
        let steps = train.steps.map_or(train.epochs as u64 * steps_per_epoch, |steps| steps as u64);
        let tokens = (data.tokens as f64 * steps as f64 / steps_per_epoch as f64) as u64;

        let evaluations = 1 + steps.checked_div(stage.evaluate.every as u64).unwrap_or(0);
        let forward = estimate_token_flop(&student, data.longest);
        let evaluated = evaluations * data.validation_tokens;
        let taught = teacher.as_ref().map_or(0.0, |t| {
            let signal = declared.map_or(SignalKind::Online, |teacher| teacher.signal);
            let is_taught = stage.loss.kind != LossKind::None;
            let trained = if is_taught { (tokens, data.tokens) } else { (0, 0) };
            let used = [trained, (evaluated, data.validation_tokens)];
            used.into_iter().map(|(used, split)| teacher_flops(t, signal, data.longest, used, split)).sum()
        });
        let flops = tokens as f64 * 3.0 * forward + evaluated as f64 * forward + taught;
        Ok(Estimate {
            parameters: student.parameters(),
            teacher_parameters: teacher.as_ref().map(ModelConfig::parameters),
            steps,
            tokens,
            memory: estimate_memory(&student, teacher.as_ref(), train.batch_size as u64 * data.longest),
            gpu_memory: estimate_gpu_memory(&GpuWork {
                student: &student,
                teacher: teacher.as_ref(),
                precision: train.precision,
                batch: train.batch_size as u64,
                seq: data.longest,
            }),
            flops,
        })
    }

    fn data_size(&mut self, stage: &Stage) -> Result<DataSize, EstimateError> {
        let fallback = stage.tokenizer_fallbacks();
        let key = serde_json::to_string(&(&stage.data, &fallback)).unwrap_or_default();
        if let Some(size) = self.data.get(&key) {
            return Ok(*size);
        }
        let prepared = data::prepare(&stage.data, &fallback, Some(&self.cache_dir)).map_err(Box::new)?;
        let longest = prepared.train.sequences.iter().map(|s| s.input_ids.len()).max().unwrap_or(0);
        let size = DataSize {
            vocab_size: prepared.vocab_size,
            sequences: prepared.train.len() as u64,
            tokens: prepared.train.tokens(),
            longest: longest as u64,
            validation_tokens: prepared.validation.as_ref().map_or(0, |v| v.tokens()),
        };
        self.data.insert(key, size);
        Ok(size)
    }

    /// A model before the first step.
    fn model_at_start(
        &mut self,
        start: &Start,
        vocab_size: Option<usize>,
    ) -> Result<ModelConfig, EstimateError> {
        match start {
            Start::Random(size) => self.model_of_size(size, vocab_size),
            Start::Model { model, size, .. } => {
                let config = self.model_of(model, vocab_size)?;
                // Declared sizes go over those of the checkpoint, as when the run starts.
                Ok(config.resize(size).map_err(Box::new)?)
            }
        }
    }

    /// A trained model; one that a run trains may not be there yet.
    fn model_of(
        &mut self,
        model: &ModelSource,
        vocab_size: Option<usize>,
    ) -> Result<ModelConfig, EstimateError> {
        let id = match model {
            ModelSource::Directory(directory) => return self.model_in(directory),
            ModelSource::Run(id) => id,
        };
        let Some((start, model_dir)) = self.runs.get(id).cloned() else {
            return Err(EstimateError::Unknown(id.clone()));
        };
        if model_dir.join("config.json").exists() {
            return self.model_in(&model_dir);
        }
        self.model_at_start(&start, vocab_size)
    }

    fn model_in(&mut self, directory: &Path) -> Result<ModelConfig, EstimateError> {
        if let Some(config) = self.directories.get(directory) {
            return Ok(config.clone());
        }
        let config = ModelConfig::read(directory).map_err(Box::new)?;
        self.directories.insert(directory.to_owned(), config.clone());
        Ok(config)
    }

    fn model_of_size(
        &mut self,
        size: &SizeConfig,
        vocab_size: Option<usize>,
    ) -> Result<ModelConfig, EstimateError> {
        let vocab_size = vocab_size.unwrap_or(0);
        let key = (serde_json::to_string(size).unwrap_or_default(), vocab_size);
        if let Some(config) = self.sizes.get(&key) {
            return Ok(config.clone());
        }
        let config = ModelConfig::from_size(size, vocab_size).map_err(Box::new)?;
        self.sizes.insert(key, config.clone());
        Ok(config)
    }
}

/// Floating-point operations of a teacher of whom `used` tokens are wanted, from a split of so many. What
/// is kept on the disk is computed once; each run is taken to be the one that does so.
fn teacher_flops(teacher: &ModelConfig, signal: SignalKind, seq: u64, used: u64, split: u64) -> f64 {
    let forward = estimate_token_flop(teacher, seq);
    let head = count_head_flop(teacher, 1.0);
    let again = used.saturating_sub(split) as f64;
    match signal {
        SignalKind::Online => used as f64 * forward,
        SignalKind::Hidden | SignalKind::Auto => used.min(split) as f64 * forward + again * head,
        SignalKind::Topk => used.min(split) as f64 * forward,
    }
}

/// How fast this machine trains, for turning operations into seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Floating-point operations a second of one worker.
    pub flops_per_second: f64,
    /// What the figure comes from.
    pub source: SpeedSource,
}

/// What a speed was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeedSource {
    /// This many finished runs of the store.
    Runs(usize),
    /// A matrix product, measured just now.
    MatrixProduct,
}

/// The share of a bare matrix product's speed that a training step reaches. Only used until the
/// store has its first finished run; from then on the runs themselves say.
const STEP_EFFICIENCY: f64 = 0.4;

impl Speed {
    /// The median over finished runs, or a short measurement where there are none.
    pub fn of<'a>(finished: impl Iterator<Item = (&'a Estimate, &'a RunSummary)>) -> Self {
        let mut speeds: Vec<f64> = finished
            .filter(|(estimate, summary)| estimate.flops > 0.0 && summary.wall_seconds > 0.0)
            .map(|(estimate, summary)| estimate.flops / summary.wall_seconds)
            .collect();
        speeds.sort_by(f64::total_cmp);
        match speeds.get(speeds.len() / 2) {
            Some(&median) => Self { flops_per_second: median, source: SpeedSource::Runs(speeds.len()) },
            None => Self {
                flops_per_second: matrix_product_speed() * STEP_EFFICIENCY,
                source: SpeedSource::MatrixProduct,
            },
        }
    }
}

/// Floating-point operations a second of a matrix product of a small model's size.
fn matrix_product_speed() -> f64 {
    const N: usize = 256;
    let device = burn::tensor::Device::flex();
    let matrix = || Tensor::<2>::random([N, N], Distribution::Uniform(-1.0, 1.0), &device);
    let (a, b) = (matrix(), matrix());
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        let product = a.clone().matmul(b.clone());
        std::hint::black_box(product.into_data());
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * (N * N * N) as f64 / best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_signal_costs_the_teacher_one_pass() {
        let size = SizeConfig { hidden_size: Some(64), layers: Some(4), ..SizeConfig::default() };
        let teacher = ModelConfig::from_size(&size, 1000).unwrap();
        let flops = |signal, used| teacher_flops(&teacher, signal, 32, used, 100);
        let pass = 100.0 * estimate_token_flop(&teacher, 32);
        for signal in [SignalKind::Online, SignalKind::Hidden, SignalKind::Auto, SignalKind::Topk] {
            assert_eq!(flops(signal, 100), pass, "{signal:?}");
            assert_eq!(flops(signal, 50), pass / 2.0, "{signal:?}");
        }
        assert_eq!(flops(SignalKind::Online, 300), 3.0 * pass);
        assert_eq!(flops(SignalKind::Hidden, 300), pass + 200.0 * 2.0 * 64_000.0);
        assert_eq!(flops(SignalKind::Topk, 300), pass);
    }
}
