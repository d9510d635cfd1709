//! How a run that was interrupted goes on: from a checkpoint, to the same bytes as if it had not been.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::job::Observer;
use super::log::Log;
use super::optimizer::Optimizer;
use super::state::{LastMeasured, Position, TrainingState};
use crate::kernels::Moments;
use crate::model::{ModelConfig, NamePath};
use crate::store::{Arrays, CheckpointState, HeldRun, MetricsWriter, RunId, RunRecord, StoreError};

/// The parameters.
const WEIGHTS: &str = "weights.safetensors";
/// The optimizer's means of the gradients.
const FIRST_MOMENTS: &str = "first_moments.safetensors";
/// The optimizer's means of their squares.
const SECOND_MOMENTS: &str = "second_moments.safetensors";

/// Writes the checkpoints of a run, and finds the one of an attempt before.
pub(super) struct Checkpoints<'a> {
    dir: &'a HeldRun,
    run_id: RunId,
    /// See [`fingerprint`].
    fingerprint: String,
    started: Instant,
    /// What the attempts took whose work this one goes on with.
    pub(super) earlier: Duration,
    /// Time between two checkpoints; none where they are only written on request.
    every: Option<Duration>,
    last: Instant,
}

/// A checkpoint that fits the run.
pub(super) struct Saved {
    state: CheckpointState,
    weights: Arrays,
    first: Arrays,
    second: Arrays,
}

impl<'a> Checkpoints<'a> {
    /// Of the run in `dir`; `started` is when this attempt began.
    pub(super) fn new(dir: &'a HeldRun, record: &RunRecord, started: Instant) -> Self {
        Self {
            dir,
            run_id: record.run_id.clone(),
            fingerprint: fingerprint(record),
            started,
            earlier: Duration::ZERO,
            every: record.spec.stage().train.checkpoint_every(),
            last: Instant::now(),
        }
    }

    /// The checkpoint of an attempt before, and the metrics cut off where it stands. None where there is
    /// none that can be used; the log and the observer are then told why.
    pub(super) fn find(
        &self,
        config: &ModelConfig,
        observer: &mut dyn Observer,
    ) -> Option<(Saved, MetricsWriter<'a>)> {
        match self.read(config) {
            Ok(found) => found,
            Err(error) => {
                let checkpoint = self.dir.checkpoint();
                let path = checkpoint.path().display();
                let reason = format!("its checkpoint {path} cannot be used: {error}");
                tracing::warn!("the run begins again, {reason}");
                observer.restarted(&reason);
                None
            }
        }
    }

    fn read(&self, config: &ModelConfig) -> Result<Option<(Saved, MetricsWriter<'a>)>, StoreError> {
        let checkpoint = self.dir.checkpoint();
        let Some((state, mut parts)) = checkpoint.read()? else { return Ok(None) };
        let damaged = |reason: &str| StoreError::Damaged {
            path: checkpoint.path().to_owned(),
            reason: reason.to_owned(),
        };
        if state.run_id != self.run_id || state.fingerprint != self.fingerprint {
            return Err(damaged("it is of another run, or of another version of kdx"));
        }
        let mut part = |name: &str| parts.remove(name).ok_or_else(|| damaged(&format!("it has no {name}")));
        let (weights, first, second) = (part(WEIGHTS)?, part(FIRST_MOMENTS)?, part(SECOND_MOMENTS)?);
        let shapes = config.tensors().into_iter();
        let expected: BTreeMap<String, usize> =
            shapes.map(|(name, shape)| (name, shape.iter().product())).collect();
        let fits = |arrays: &Arrays| {
            arrays.iter().all(|(name, values)| expected.get(name).is_some_and(|&n| n == values.len()))
        };
        // A parameter that no loss depended on has no moments.
        let is_whole = fits(&weights)
            && weights.len() == expected.len()
            && fits(&first)
            && fits(&second)
            && first.keys().eq(second.keys());
        if !is_whole {
            return Err(damaged("its arrays are not those of the model"));
        }
        let writer = self.dir.resume_metrics(&state.metrics)?;
        Ok(Some((Saved { state, weights, first, second }, writer)))
    }

    /// The state that a checkpoint holds. `start` is the state before the first step; arrays go to `device`.
    pub(super) fn resume(
        &mut self,
        saved: Saved,
        start: TrainingState,
        log: &mut Log,
        device: &Device,
    ) -> TrainingState {
        let Saved { state, weights, first, mut second } = saved;
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.earlier = seconds(state.wall_seconds);
        log.resume(seconds(state.training_seconds), state.tokens, state.since);
        let vector = |values: Vec<f32>| -> Tensor<1> {
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), device)
        };
        let moments = first.into_iter().filter_map(|(name, first)| {
            let second = second.remove(&name)?;
            Some((name, Moments { first: vector(first), second: vector(second) }))
        });
        let moments = moments.collect();
        let TrainingState { student, mut random, .. } = start;
        random.skip_to(state.random_position);
        TrainingState {
            student: student.map(&mut Replace { path: NamePath::default(), weights, device }),
            optimizer: Optimizer { moments },
            step: state.step,
            position: Position { epoch: state.epoch, batch: state.batch },
            tokens: state.tokens,
            random,
            measured: LastMeasured {
                step: state.measured_at,
                figures: state.validation.map(|student| (student, state.teacher_validation)),
            },
            best: state.best,
        }
    }

    /// Whether it is time for another one.
    pub(super) fn is_due(&self) -> bool {
        self.every.is_some_and(|every| self.last.elapsed() >= every)
    }

    /// Writes a checkpoint. Where that fails, as on a full disk, the log says so and the run goes on: the
    /// one before is still whole.
    pub(super) fn write(&mut self, state: &TrainingState, log: &mut Log) {
        log.settle();
        if log.diverged.is_some() {
            // Nothing comes of it: the training is about to end.
            return;
        }
        match self.try_write(state, log) {
            Ok(()) => log.observer.checkpoint(state.step),
            Err(error) => tracing::warn!("no checkpoint at step {}: {error}", state.step),
        }
        self.last = Instant::now();
    }

    fn try_write(&self, state: &TrainingState, log: &Log) -> Result<(), StoreError> {
        let (validation, teacher_validation) = state.measured.figures.clone().unzip();
        let checkpoint = CheckpointState {
            run_id: self.run_id.clone(),
            fingerprint: self.fingerprint.clone(),
            step: state.step,
            epoch: state.position.epoch,
            batch: state.position.batch,
            tokens: state.tokens,
            random_position: state.random.count_drawn(),
            training_seconds: log.training.as_secs_f64(),
            wall_seconds: (self.earlier + self.started.elapsed()).as_secs_f64(),
            since: log.since.clone(),
            measured_at: state.measured.step,
            validation,
            teacher_validation: teacher_validation.flatten(),
            best: state.best,
            metrics: log.mark()?,
        };
        let moments = |which: fn(&Moments) -> &Tensor<1>| -> Arrays {
            let moments = state.optimizer.moments.iter();
            moments.map(|(name, moments)| (name.clone(), numbers(which(moments)))).collect()
        };
        self.dir.write_checkpoint(
            checkpoint,
            &[
                (WEIGHTS, &|| state.student.weights()),
                (FIRST_MOMENTS, &|| moments(|moments| &moments.first)),
                (SECOND_MOMENTS, &|| moments(|moments| &moments.second)),
            ],
        )
    }
}

fn numbers(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// Digest of all that decides what a run comes to: a checkpoint of another version of kdx, which may
/// compute otherwise, is not used.
fn fingerprint(record: &RunRecord) -> String {
    let RunRecord { format_version: _, run_id, spec, inputs } = record;
    let what = (run_id, spec.stage().without_neutral(), inputs);
    let text = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), what)).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// Puts other numbers into the parameters of a model.
struct Replace<'a> {
    path: NamePath,
    weights: Arrays,
    device: &'a Device,
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = self.weights.remove(&self.path.name()) else { return param };
        param.map(|tensor| {
            let data = TensorData::new(values, tensor.shape());
            Tensor::from_inner(Tensor::<D>::from_data(data, self.device)).require_grad()
        })
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transformer;
    use crate::spec::SizeConfig;
    use crate::store::{MetricRow, RunDir};

    struct Nobody;

    impl Observer for Nobody {
        fn started(&mut self, _total_steps: u64, _parameters: u64) {}
        fn metric(&mut self, _row: &MetricRow, _tokens_per_second: f64) {}
    }

    fn checkpoints(dir: &HeldRun) -> Checkpoints<'_> {
        Checkpoints {
            dir,
            run_id: RunId("0123".to_owned()),
            fingerprint: "f".to_owned(),
            started: Instant::now(),
            earlier: Duration::ZERO,
            every: None,
            last: Instant::now(),
        }
    }

    #[test]
    fn a_run_that_is_resumed_draws_what_it_would_have_drawn() {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path()).try_acquire().unwrap().unwrap();
        let size =
            SizeConfig { hidden_size: Some(8), layers: Some(1), heads: Some(1), ..SizeConfig::default() };
        let config = ModelConfig::from_size(&size, 16).unwrap();
        let start = || TrainingState::new(Transformer::random(&config, 0, &Device::flex().autodiff()), 7);
        let mut nobody = Nobody;
        let mut log = Log::new(dir.begin_metrics().unwrap(), &mut nobody, 1);
        // A run that draws nothing, and one that does.
        for drawn in [0, 11] {
            let mut state = start();
            for _ in 0..drawn {
                state.random.unit();
            }
            let mut checkpoints = checkpoints(&dir);
            checkpoints.write(&state, &mut log);
            let (saved, _) = checkpoints.find(&config, &mut Nobody).unwrap();
            let mut resumed = checkpoints.resume(saved, start(), &mut log, &Device::flex());
            let next = state.random.unit();
            assert_eq!(resumed.random.unit(), next);
            assert_eq!(start().random.unit() == next, drawn == 0);
        }
    }
}
