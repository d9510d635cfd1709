//! The name of a run: a hash of what it is, with the content of files in place of their paths and other runs
//! by their names.
//!
//! So a run keeps its name when its files move, and gets another when their content changes. Every struct is
//! taken apart field by field: a new field does not compile until it is decided here whether it counts. A
//! value that equals its default is left out, so a new key with its default changes no name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::canonical::{Canonical, Object, as_json};
use super::config::{
    AlphaWeighs, DataConfig, DataFormat, EvaluateConfig, LossKind, OnBadRecord, OptimizerConfig, PathList,
    Precision, ScheduleConfig, ScheduleKind, SignalKind, SizeConfig, TeacherConfig, TrainConfig,
};
use super::run::{RunKind, RunSpec};
use super::run_id::RunId;
use super::stage::{ModelSource, Stage, StageTeacher, Start};

/// Part of every name; raised when the same specification comes to mean another result.
const IDENTITY_VERSION: u32 = 2;

/// Says what stands behind the paths of a specification.
pub trait Contents {
    /// Why a file cannot be read.
    type Error;

    /// The digest of a file, or the digests by name of the files in a directory that a run reads. `key` is
    /// the key of an experiment file that names the path.
    ///
    /// # Errors
    /// Where a file cannot be read.
    fn content(&mut self, key: &'static str, path: &Path) -> Result<Content, Self::Error>;
}

/// What stands for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file's digest.
    File(String),
    /// The digests of files in a directory, by their names.
    Directory(BTreeMap<String, String>),
}

as_json!(RunId, AlphaWeighs, DataFormat, LossKind, OnBadRecord, Precision, ScheduleKind, SignalKind);

impl Canonical for Content {
    fn write(&self, out: &mut String) {
        match self {
            Self::File(digest) => digest.write(out),
            Self::Directory(files) => files.write(out),
        }
    }
}

impl RunSpec {
    /// The run's name.
    ///
    /// # Errors
    /// Where a file that it reads cannot be read.
    pub fn id<C: Contents>(&self, contents: &mut C) -> Result<RunId, C::Error> {
        let Self { kind } = self;
        let mut object = Object::default();
        object.set("identity_version", &IDENTITY_VERSION);
        match kind {
            RunKind::Train(stage) => object.set_object("train", of_stage(stage, contents)?),
        }
        let digest = blake3::hash(object.finish().as_bytes()).to_hex();
        Ok(RunId(digest[..RunId::DIGITS].to_owned()))
    }
}

fn of_stage<C: Contents>(stage: &Stage, contents: &mut C) -> Result<Object, C::Error> {
    let Stage { start, data, teachers, loss, optimizer, schedule, train, evaluate } = stage;
    let mut object = Object::default();
    object.set_object("start", of_start(start, contents)?);
    object.set_object("data", of_data(data, contents)?);
    let teachers = teachers.iter().map(|teacher| of_teacher(teacher, contents));
    object.set_list("teachers", teachers.collect::<Result<Vec<_>, _>>()?);
    object.set_object("loss", loss.identify());
    object.set_object("optimizer", of_optimizer(optimizer));
    object.set_object("schedule", of_schedule(schedule));
    object.set_object("train", of_train(train));
    object.set_object("evaluate", of_evaluate(evaluate));
    Ok(object)
}

fn of_start<C: Contents>(start: &Start, contents: &mut C) -> Result<Object, C::Error> {
    let mut object = Object::default();
    match start {
        Start::Random(size) => object.set_object("random", of_size(size)),
        Start::Model { model, partial, size } => {
            object.set_object("model", of_model(model, "student.path", contents)?);
            object.set_unless("partial", partial, &false);
            object.set_object("size", of_size(size));
        }
    }
    Ok(object)
}

fn of_model<C: Contents>(
    model: &ModelSource,
    key: &'static str,
    contents: &mut C,
) -> Result<Object, C::Error> {
    let mut object = Object::default();
    match model {
        ModelSource::Directory(path) => object.set("content", &contents.content(key, path)?),
        ModelSource::Run(run) => object.set("run", run),
    }
    Ok(object)
}

fn of_teacher<C: Contents>(teacher: &StageTeacher, contents: &mut C) -> Result<Object, C::Error> {
    // `online` and `hidden` hand the student the same bits; `topk` is an approximation.
    let StageTeacher { model, signal, top_k, cache_budget: _ } = teacher;
    let mut object = of_model(model, "teacher.path", contents)?;
    if *signal == SignalKind::Topk {
        object.set("signal", signal);
        object.set("top_k", &top_k.unwrap_or(TeacherConfig::TOP_K));
    }
    Ok(object)
}

fn of_size(size: &SizeConfig) -> Object {
    let SizeConfig {
        hidden_size,
        layers,
        heads,
        kv_heads,
        intermediate_size,
        vocab_size,
        tie_word_embeddings,
        rope_theta,
        rms_norm_eps,
        initializer_range,
    } = size;
    let mut object = Object::default();
    object.set_unless("hidden_size", hidden_size, &None);
    object.set_unless("layers", layers, &None);
    object.set_unless("heads", heads, &None);
    object.set_unless("kv_heads", kv_heads, &None);
    object.set_unless("intermediate_size", intermediate_size, &None);
    object.set_unless("vocab_size", vocab_size, &None);
    object.set_unless("tie_word_embeddings", tie_word_embeddings, &None);
    object.set_unless("rope_theta", rope_theta, &None);
    object.set_unless("rms_norm_eps", rms_norm_eps, &None);
    object.set_unless("initializer_range", initializer_range, &None);
    object
}

fn of_data<C: Contents>(data: &DataConfig, contents: &mut C) -> Result<Object, C::Error> {
    let default = DataConfig::default();
    let DataConfig {
        train,
        validation,
        format,
        prompt,
        response,
        system,
        tokenizer,
        chat_template,
        max_length,
        packing,
        shuffle,
        on_bad_record,
        train_limit,
        validation_limit,
    } = data;
    let mut object = Object::default();
    object.set_unless("train", &of_paths("data.train", train, contents)?, &Vec::new());
    object.set_unless("validation", &of_paths("data.validation", validation, contents)?, &Vec::new());
    object.set_unless("format", format, &default.format);
    object.set_unless("prompt", prompt, &default.prompt);
    object.set_unless("response", response, &default.response);
    object.set_unless("system", system, &default.system);
    object.set_unless("tokenizer", &of_path("data.tokenizer", tokenizer, contents)?, &None);
    object.set_unless("chat_template", &of_path("data.chat_template", chat_template, contents)?, &None);
    object.set_unless("max_length", max_length, &default.max_length);
    object.set_unless("packing", packing, &default.packing);
    object.set_unless("shuffle", shuffle, &default.shuffle);
    object.set_unless("on_bad_record", on_bad_record, &default.on_bad_record);
    object.set_unless("train_limit", train_limit, &default.train_limit);
    object.set_unless("validation_limit", validation_limit, &default.validation_limit);
    Ok(object)
}

fn of_paths<C: Contents>(
    key: &'static str,
    paths: &PathList,
    contents: &mut C,
) -> Result<Vec<Content>, C::Error> {
    paths.as_slice().iter().map(|path| contents.content(key, path)).collect()
}

fn of_path<C: Contents>(
    key: &'static str,
    path: &Option<PathBuf>,
    contents: &mut C,
) -> Result<Option<Content>, C::Error> {
    path.as_ref().map(|path| contents.content(key, path)).transpose()
}

fn of_optimizer(optimizer: &OptimizerConfig) -> Object {
    let default = OptimizerConfig::default();
    let OptimizerConfig { learning_rate, beta1, beta2, epsilon, weight_decay, clip_norm } = optimizer;
    let mut object = Object::default();
    object.set_unless("learning_rate", learning_rate, &default.learning_rate);
    object.set_unless("beta1", beta1, &default.beta1);
    object.set_unless("beta2", beta2, &default.beta2);
    object.set_unless("epsilon", epsilon, &default.epsilon);
    object.set_unless("weight_decay", weight_decay, &default.weight_decay);
    object.set_unless("clip_norm", clip_norm, &default.clip_norm);
    object
}

fn of_schedule(schedule: &ScheduleConfig) -> Object {
    let default = ScheduleConfig::default();
    let ScheduleConfig { kind, warmup_steps, min_ratio, decay_ratio } = schedule;
    let mut object = Object::default();
    object.set_unless("kind", kind, &default.kind);
    object.set_unless("warmup_steps", warmup_steps, &default.warmup_steps);
    object.set_unless("min_ratio", min_ratio, &default.min_ratio);
    object.set_unless("decay_ratio", decay_ratio, &default.decay_ratio);
    object
}

fn of_train(train: &TrainConfig) -> Object {
    let default = TrainConfig::default();
    // Checkpoints change nothing of what is learnt.
    let TrainConfig {
        epochs,
        steps,
        batch_size,
        accumulation,
        seed,
        precision,
        log_every,
        checkpoint_every: _,
    } = train;
    let mut object = Object::default();
    object.set_unless("epochs", epochs, &default.epochs);
    object.set_unless("steps", steps, &default.steps);
    object.set_unless("batch_size", batch_size, &default.batch_size);
    object.set_unless("accumulation", accumulation, &default.accumulation);
    object.set_unless("seed", seed, &default.seed);
    object.set_unless("precision", precision, &default.precision);
    object.set_unless("log_every", log_every, &default.log_every);
    object
}

fn of_evaluate(evaluate: &EvaluateConfig) -> Object {
    let default = EvaluateConfig::default();
    // A model that is kept on the way changes nothing of what is measured.
    let EvaluateConfig { every, batch_size, keep_best: _ } = evaluate;
    let mut object = Object::default();
    object.set_unless("every", every, &default.every);
    object.set_unless("batch_size", batch_size, &default.batch_size);
    object
}

/// What stands behind the paths of a run that was recorded: the digests that its record holds.
pub struct RecordedContents<'a>(pub &'a BTreeMap<String, String>);

/// A path of which a record holds no digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded(pub PathBuf);

impl Contents for RecordedContents<'_> {
    type Error = Unrecorded;

    fn content(&mut self, _key: &'static str, path: &Path) -> Result<Content, Unrecorded> {
        if let Some(digest) = self.0.get(&*path.to_string_lossy()) {
            return Ok(Content::File(digest.clone()));
        }
        let in_directory = self.0.iter().filter_map(|(file, digest)| {
            let file = Path::new(file);
            let name = file.file_name().filter(|_| file.parent() == Some(path))?;
            Some((name.to_string_lossy().into_owned(), digest.clone()))
        });
        let files: BTreeMap<String, String> = in_directory.collect();
        if files.is_empty() { Err(Unrecorded(path.to_owned())) } else { Ok(Content::Directory(files)) }
    }
}
