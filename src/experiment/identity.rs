//! Run identities: what a run is, hashed, with the content of files in place of their paths.
//!
//! So a run keeps its identity when its files move, and gets another when their content changes.
//! Where it runs (`[resources]`), how it was found (`[search]`), how it is judged (`[compare]`), whether an exact teacher signal is
//! computed or read (`teacher.signal`), and when checkpoints are written (`train.checkpoint_every`) are no
//! part of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Experiment;
use crate::spec::PATH_KEYS;
use crate::spec::relevance;
use crate::spec::{
    DataConfig, EvaluateConfig, LossConfig, OptimizerConfig, RunConfig, ScheduleConfig, SignalKind,
    StudentConfig, TeacherConfig, TrainConfig,
};
use crate::spec::{FORMAT_VERSION, RunId, RunRecord, RunRole};
use crate::store::PlannedRun;
use crate::store::digest::Digests;

/// Part of every identity; raised when the same configuration comes to mean another training.
const IDENTITY_VERSION: u32 = 1;

/// The runs of an experiment, each with its identity.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The students, in the plan's order. Points that come to the same run are one.
    pub students: Vec<(PlannedRun, RunRecord)>,
    /// Those of them that are there for `baseline = true`.
    pub baselines: HashSet<RunId>,
    /// The teachers that must be trained for them, in the order of their first use.
    pub teachers: Vec<RunRecord>,
}

/// A run could not be identified.
#[derive(Debug, Error, Diagnostic)]
pub enum ResolveError {
    /// A file that the run reads could not be read.
    #[error("`{key}`: cannot read {}: {source}", path.display())]
    #[diagnostic(help("a run is identified by the content of the files it reads, so they must be there"))]
    Read {
        /// The key that names the file, or the directory it is in.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Identifies the runs of an experiment. Digests of files are remembered in `cache_dir`.
///
/// # Errors
/// Where a file that a run reads cannot be read.
pub fn resolve(experiment: &Experiment, cache_dir: &Path) -> Result<Resolved, ResolveError> {
    let mut contents = Contents { digests: Digests::open(cache_dir), known: HashMap::new() };
    let (mut student_texts, mut teacher_texts) = (Texts::default(), Texts::default());
    let mut resolved = Resolved { students: Vec::new(), baselines: HashSet::new(), teachers: Vec::new() };
    let (mut students, mut teachers) = (HashSet::new(), HashSet::new());
    // Neighbouring points mostly share their teacher.
    let mut last: Option<(RunConfig, RunId)> = None;
    for point in &experiment.points {
        let teacher_run = match teacher_of(&point.config) {
            None => None,
            Some(config) => match &last {
                Some((known, run_id)) if *known == config => Some(run_id.clone()),
                _ => {
                    let teacher = record(RunRole::Teacher, &config, None, &mut teacher_texts, &mut contents)?;
                    let run_id = teacher.run_id.clone();
                    if teachers.insert(run_id.clone()) {
                        resolved.teachers.push(teacher);
                    }
                    last = Some((config, run_id.clone()));
                    Some(run_id)
                }
            },
        };
        let student =
            record(RunRole::Student, &point.config, teacher_run, &mut student_texts, &mut contents)?;
        if point.is_baseline {
            resolved.baselines.insert(student.run_id.clone());
        }
        if students.insert(student.run_id.clone()) {
            let planned = PlannedRun { run_id: student.run_id.clone(), point: point.values.clone() };
            resolved.students.push((planned, student));
        }
    }
    contents.digests.save();
    Ok(resolved)
}

/// The run that trains a declared teacher: on the student's data, with the teacher's own training,
/// whatever the student's is; so that axes of the student need no further teachers.
fn teacher_of(config: &RunConfig) -> Option<RunConfig> {
    let declared = config.teacher.as_ref().filter(|teacher| teacher.path.is_none())?;
    let TeacherConfig { size, train, optimizer, schedule, .. } = declared.clone();
    let mut data = config.data.clone();
    if data.tokenizer.is_none() {
        // The student finds its tokenizer beside its checkpoint; the teacher must use the same.
        data.tokenizer = config.student.path.clone().filter(|path| path.join("tokenizer.json").exists());
    }
    let run = RunConfig {
        data,
        teacher: None,
        student: StudentConfig { size, ..StudentConfig::default() },
        optimizer: optimizer.unwrap_or_default(),
        schedule: schedule.unwrap_or_default(),
        train: train.unwrap_or_default(),
        evaluate: EvaluateConfig::default(),
        ..RunConfig::default()
    };
    Some(relevance::baseline_of(&run))
}

/// The record of a run. Its identity is the hash of a canonical JSON document: the configuration, with
/// contents in place of paths and the teacher's run in place of a declared teacher.
fn record(
    role: RunRole,
    config: &RunConfig,
    teacher_run: Option<RunId>,
    texts: &mut Texts,
    contents: &mut Contents,
) -> Result<RunRecord, ResolveError> {
    let teacher = config.teacher.as_ref().map(TeacherConfig::without_neutral);
    let run_as_teacher = teacher_run.as_ref().map(|run| run_as_teacher(run, teacher.as_ref()));
    let mut sections = vec![
        ("data", texts.data.of(&config.data, "data", contents)?),
        ("evaluate", texts.evaluate.of(&config.evaluate.without_neutral(), "evaluate", contents)?),
        ("loss", texts.loss.of(&config.loss, "loss", contents)?),
        ("optimizer", texts.optimizer.of(&config.optimizer, "optimizer", contents)?),
        ("schedule", texts.schedule.of(&config.schedule, "schedule", contents)?),
        ("student", texts.student.of(&config.student, "student", contents)?),
    ];
    match (&run_as_teacher, &teacher) {
        (Some(run), _) => sections.push(("teacher", texts.teacher_run.of(run, "teacher", contents)?)),
        (None, Some(teacher)) => sections.push(("teacher", texts.teacher.of(teacher, "teacher", contents)?)),
        (None, None) => {}
    }
    sections.push(("train", texts.train.of(&config.train.without_neutral(), "train", contents)?));
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{{\"identity_version\":{IDENTITY_VERSION},\"role\":{}", json!(role)).as_bytes());
    let mut inputs = BTreeMap::new();
    for (name, text) in sections {
        hasher.update(format!(",\"{name}\":").as_bytes()).update(&text.canonical);
        inputs.extend(text.inputs.iter().cloned());
    }
    hasher.update(b"}");
    Ok(RunRecord {
        format_version: FORMAT_VERSION,
        run_id: RunId(hasher.finalize().to_hex()[..16].to_owned()),
        role,
        config: config.clone(),
        teacher_run,
        inputs,
    })
}

/// A declared teacher by its run, with what else of it the student learns from.
fn run_as_teacher(run: &RunId, teacher: Option<&TeacherConfig>) -> Value {
    let mut value = json!({ "run": run });
    if let Some(teacher) = teacher.filter(|teacher| teacher.signal == SignalKind::Topk) {
        value["signal"] = json!(teacher.signal);
        value["top_k"] = json!(teacher.top_k());
    }
    value
}

/// The sections of the run before, as canonical JSON: most runs differ in one or two sections.
#[derive(Default)]
struct Texts {
    data: Text<DataConfig>,
    evaluate: Text<EvaluateConfig>,
    loss: Text<LossConfig>,
    optimizer: Text<OptimizerConfig>,
    schedule: Text<ScheduleConfig>,
    student: Text<StudentConfig>,
    teacher: Text<TeacherConfig>,
    teacher_run: Text<Value>,
    train: Text<TrainConfig>,
}

/// A section, and how it is written.
struct Text<T>(Option<(T, Written)>);

/// A section as canonical JSON, with contents in place of paths.
#[derive(Default)]
struct Written {
    canonical: Vec<u8>,
    /// The files behind its paths, with their digests.
    inputs: Vec<(String, String)>,
}

impl<T> Default for Text<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone + PartialEq + Serialize> Text<T> {
    /// The section as it is written; only a new one is written anew.
    fn of(&mut self, section: &T, name: &str, contents: &mut Contents) -> Result<&Written, ResolveError> {
        let known = self.0.take().filter(|(known, _)| known == section);
        let (section, written) = match known {
            Some(known) => known,
            None => (section.clone(), Written::of(section, name, contents)?),
        };
        Ok(&self.0.insert((section, written)).1)
    }
}

impl Written {
    fn of(section: &impl Serialize, name: &str, contents: &mut Contents) -> Result<Self, ResolveError> {
        let mut written = Self::default();
        let mut value = serde_json::to_value(section).unwrap_or_default();
        for key in PATH_KEYS {
            let place = key.strip_prefix(name).and_then(|rest| value.get_mut(rest.strip_prefix('.')?));
            match place {
                Some(Value::Array(paths)) => {
                    for path in paths {
                        contents.replace(key, path, &mut written.inputs)?;
                    }
                }
                Some(path) => contents.replace(key, path, &mut written.inputs)?,
                None => {}
            }
        }
        write_canonical(&value, &mut written.canonical);
        Ok(written)
    }
}

/// What stands for paths in identities.
struct Contents {
    digests: Digests,
    known: HashMap<(&'static str, PathBuf), Content>,
}

#[derive(Clone)]
struct Content {
    identity: Value,
    files: Vec<(String, String)>,
}

impl Contents {
    /// Puts the content in place of a path.
    fn replace(
        &mut self,
        key: &'static str,
        value: &mut Value,
        inputs: &mut Vec<(String, String)>,
    ) -> Result<(), ResolveError> {
        let Some(path) = value.as_str().map(PathBuf::from) else { return Ok(()) };
        let content = match self.known.get(&(key, path.clone())) {
            Some(content) => content,
            None => {
                let content = self.read(key, &path)?;
                self.known.entry((key, path)).or_insert(content)
            }
        };
        *value = content.identity.clone();
        inputs.extend(content.files.iter().cloned());
        Ok(())
    }

    fn read(&mut self, key: &'static str, path: &Path) -> Result<Content, ResolveError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ResolveError::Read { key, path, source }
        };
        if !path.is_dir() {
            let digest = self.digests.of_file(path).map_err(failed(path))?;
            let files = vec![(path.to_string_lossy().into_owned(), digest.clone())];
            return Ok(Content { identity: digest.into(), files });
        }
        let mut content = Content { identity: Value::Object(Map::new()), files: Vec::new() };
        for name in files_read(key, path).map_err(failed(path))? {
            let file = path.join(&name);
            let digest = self.digests.of_file(&file).map_err(failed(&file))?;
            content.files.push((file.to_string_lossy().into_owned(), digest.clone()));
            content.identity[name] = digest.into();
        }
        Ok(content)
    }
}

/// The names of the files in a model's or a tokenizer's directory that a run reads, sorted.
fn files_read(key: &str, directory: &Path) -> io::Result<Vec<String>> {
    const TOKENIZER: [&str; 4] =
        ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];
    const MODEL: [&str; 2] = ["config.json", "generation_config.json"];
    let is_model = key != "data.tokenizer";
    let is_read = |name: &str| {
        let is_weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        TOKENIZER.contains(&name) || (is_model && (MODEL.contains(&name) || is_weights))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().to_str().filter(|name| is_read(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// JSON without blanks, with sorted keys and one way to write a number: equal values have equal bytes.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            write_list(b'{', entries, b'}', out, |(key, value), out| {
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_canonical(value, out);
            });
        }
        Value::Array(items) => write_list(b'[', items, b']', out, write_canonical),
        // Shortest digits and an exponent, whatever the JSON writer likes; -0.0 is 0.0.
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            out.extend_from_slice(format!("{:e}", if number == 0.0 { 0.0 } else { number }).as_bytes());
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

fn write_list<T>(
    open: u8,
    items: impl IntoIterator<Item = T>,
    close: u8,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(close);
}
