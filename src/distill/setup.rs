//! What a run starts with: data, teachers and student, and the checks that they go together.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::error::DistillError;
use super::job::{Job, Observer};
use super::teachers::{Request, Teacher, Teachers};
use crate::data::{self, Prepared};
use crate::interrupt::Interrupt;
use crate::kernels::{Distillation, Precision};
use crate::model::{self, LoadReport, ModelConfig, ModelError, Transformer};
use crate::spec::{self, Stage, Start};

impl From<spec::Precision> for Precision {
    fn from(precision: spec::Precision) -> Self {
        match precision {
            spec::Precision::Fp32 => Self::F32,
            spec::Precision::Bf16 => Self::Bf16,
        }
    }
}

/// What a run starts with.
pub(super) struct Setup {
    pub(super) data: Prepared,
    pub(super) teachers: Teachers,
    pub(super) student: Transformer,
    pub(super) student_config: ModelConfig,
    pub(super) objective: Distillation,
}

impl Setup {
    /// Reads the data, makes the student, and makes the teacher's signal ready, which may take as long as
    /// the teacher takes for one pass over the data. What was loaded of a student's checkpoint goes into
    /// the log and into `load_report.json`. None where `stop` was set on the way.
    pub(super) fn new(
        job: &Job,
        observer: &mut dyn Observer,
        stop: &Interrupt,
    ) -> Result<Option<Self>, DistillError> {
        let config = job.record.spec.stage();
        let inner = job.device.clone().without_autodiff();
        let objective = Distillation::from(&config.loss);
        if objective.divergence.is_some() && job.teacher_dirs.is_empty() {
            return Err(DistillError::NoTeacher { kind: config.loss.kind.name() });
        }
        let fallback: Vec<PathBuf> = job.teacher_dirs.iter().chain(&job.start_dir).cloned().collect();
        let data = data::prepare(&config.data, &fallback, Some(job.cache_dir))?;

        let (student, student_config, report) =
            student(config, job.start_dir.as_deref(), &data, &inner.clone().autodiff())?;
        let student = student.with_precision(config.train.precision.into());
        if let Some(report) = report {
            tracing::info!("the student's start: {}", report.in_words());
            for (what, names) in [("missing", &report.missing), ("left over", &report.left_over)] {
                tracing::debug!("{what}: {names:?}");
            }
            job.dir.write_load_report(&report)?;
        }
        if let Some(tokenizer) = data.vocab_size.filter(|&tokens| tokens > student_config.vocab_size) {
            return Err(DistillError::VocabularyTooNarrow { tokenizer, student: student_config.vocab_size });
        }
        for split in std::iter::once(&data.train).chain(&data.validation) {
            split.check_vocabulary(student_config.vocab_size)?;
        }
        let mut teachers = Teachers::default();
        for (directory, settings) in job.teacher_dirs.iter().zip(&config.teachers) {
            let request = Request {
                directory,
                config,
                settings,
                data: &data,
                is_taught: objective.divergence.is_some(),
                student_vocab: student_config.vocab_size,
                device: &inner,
                cache_dir: job.cache_dir,
            };
            let Some(teacher) = Teacher::new(&request, observer, stop)? else { return Ok(None) };
            teachers.add(teacher, 1.0);
        }
        Ok(Some(Self { data, teachers, student, student_config, objective }))
    }
}

/// The student at its start: random, or from a directory, whole or in part.
fn student(
    config: &Stage,
    start_dir: Option<&Path>,
    data: &Prepared,
    device: &Device,
) -> Result<(Transformer, ModelConfig, Option<LoadReport>), DistillError> {
    let size = config.start.size();
    let Some(directory) = start_dir else {
        let vocab_size = size.vocab_size.or(data.vocab_size);
        let vocab_size =
            vocab_size.ok_or_else(|| DistillError::NoVocabulary { highest: data.train.max_id() })?;
        let mut sizes = ModelConfig::from_size(size, vocab_size).map_err(DistillError::student)?;
        if data.vocab_size.is_some() {
            sizes.bos_token_id = data.bos_id;
            sizes.eos_token_ids = data.eos_id.into_iter().collect();
            sizes.pad_token_id = Some(data.pad_id);
        }
        return Ok((Transformer::random(&sizes, config.train.seed, device), sizes, None));
    };
    let sizes =
        ModelConfig::read(directory).and_then(|sizes| sizes.resize(size)).map_err(DistillError::student)?;
    let loaded = model::load_partial(&sizes, directory, config.train.seed, device);
    let (student, report) = loaded.map_err(DistillError::student)?;
    let accepts_part = matches!(config.start, Start::Model { partial: true, .. });
    if !accepts_part && !report.is_complete() {
        let error = ModelError::DoesNotFit { directory: directory.to_owned(), report: Box::new(report) };
        return Err(DistillError::student(error));
    }
    Ok((student, sizes, Some(report)))
}
