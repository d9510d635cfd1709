//! From the points of an experiment to runs: each with what it is, its id, and the runs that it needs.
//!
//! Where runs are placed (`[resources]`), how they were found (`[search]`) and how they are judged
//! (`[compare]`) is no part of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::Experiment;
use crate::spec::relevance;
use crate::spec::{
    Content, Contents, EvaluateConfig, FORMAT_VERSION, PlannedRun, Purpose, RunConfig, RunId, RunRecord,
    RunSpec, Stage, StudentConfig, TeacherConfig,
};

/// The runs of an experiment, each with its identity.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The runs that the points declare, in the plan's order. Points that come to the same run are one.
    pub runs: Vec<(PlannedRun, RunRecord)>,
    /// Those of them that are there for `baseline = true`.
    pub baselines: HashSet<RunId>,
    /// Further runs that must finish before those, in the order of their first use.
    pub needs: Vec<(Purpose, RunRecord)>,
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
    /// A run that the experiment names is not there.
    #[error("`{key}` names no run of the store: {source}")]
    #[diagnostic(help(
        "`kdx ls EXPERIMENT` lists runs; the first digits of an id are enough where they are unique"
    ))]
    Run {
        /// The key that names the run.
        key: &'static str,
        /// Why it was not found.
        source: FindError,
    },
}

/// Why a run was not found.
type FindError = Box<dyn std::error::Error + Send + Sync>;

/// Files and the digests of their contents.
type FileDigests = Vec<(String, String)>;

/// What an experiment is resolved against.
pub struct Surrounding<'a> {
    /// The digest of a file's content, as hexadecimal digits.
    pub digest: &'a mut dyn FnMut(&Path) -> io::Result<String>,
    /// The record of a run, by the first digits of its id.
    pub find: &'a dyn Fn(&str) -> Result<RunRecord, FindError>,
}

/// Identifies the runs of an experiment.
///
/// # Errors
/// Where a file that a run reads cannot be read, or a run that one names is not there.
pub fn resolve(experiment: &Experiment, surrounding: Surrounding<'_>) -> Result<Resolved, ResolveError> {
    let Surrounding { digest, find } = surrounding;
    let contents = FileContents { digest, known: HashMap::new(), files: BTreeMap::new() };
    let mut resolver = Resolver { contents, find, stored: HashMap::new(), teacher: None, needs: Vec::new() };
    let (mut runs, mut baselines, mut seen) = (Vec::new(), HashSet::new(), HashSet::new());
    for point in &experiment.points {
        let record = resolver.resolve(&point.config)?;
        if point.is_baseline {
            baselines.insert(record.run_id.clone());
        }
        if seen.insert(record.run_id.clone()) {
            let planned = PlannedRun { run_id: record.run_id.clone(), point: point.values.clone() };
            runs.push((planned, record));
        }
    }
    // A point may declare what another one needs.
    let needs = resolver.needs.into_iter().filter(|(_, record)| !seen.contains(&record.run_id)).collect();
    Ok(Resolved { runs, baselines, needs })
}

struct Resolver<'a> {
    contents: FileContents<'a>,
    find: &'a dyn Fn(&str) -> Result<RunRecord, FindError>,
    /// Runs that were found in the store, by what names them.
    stored: HashMap<String, RunRecord>,
    /// The last declared teacher and its run: neighbouring points mostly share it.
    teacher: Option<(RunConfig, RunId)>,
    needs: Vec<(Purpose, RunRecord)>,
}

impl Resolver<'_> {
    /// The run of a configuration.
    fn resolve(&mut self, config: &RunConfig) -> Result<RunRecord, ResolveError> {
        let start = match &config.student.run {
            Some(name) => Some(self.find_stored("student.run", name, Purpose::Start)?),
            None => None,
        };
        let named = config.teacher.as_ref().and_then(|teacher| teacher.run.as_ref());
        let teacher = match named {
            Some(name) => Some(self.find_stored("teacher.run", name, Purpose::Teacher)?),
            None => None,
        };
        let declared = match declared_teacher(config) {
            Some(declared) => Some(self.train_teacher(declared)?),
            None => None,
        };
        let id = |record: &Option<RunRecord>| record.as_ref().map(|record| record.run_id.clone());
        let mut stage = Stage::new(config, id(&start), id(&teacher).or(declared));
        if stage.data.tokenizer.is_none()
            && !stage.tokenizer_fallbacks().iter().any(|path| has_tokenizer(path))
        {
            let found = teacher.iter().chain(&start).find_map(|record| tokenizer_of(record.spec.stage()));
            stage.data.tokenizer = found;
        }
        self.record(stage)
    }

    /// A run of the store that a configuration names.
    fn find_stored(
        &mut self,
        key: &'static str,
        name: &str,
        purpose: Purpose,
    ) -> Result<RunRecord, ResolveError> {
        if let Some(record) = self.stored.get(name) {
            return Ok(record.clone());
        }
        let record = (self.find)(name).map_err(|source| ResolveError::Run { key, source })?;
        self.stored.insert(name.to_owned(), record.clone());
        self.need(purpose, record.clone());
        Ok(record)
    }

    /// The run that trains a declared teacher.
    fn train_teacher(&mut self, config: RunConfig) -> Result<RunId, ResolveError> {
        if let Some((known, run)) = &self.teacher
            && *known == config
        {
            return Ok(run.clone());
        }
        let record = self.record(Stage::new(&config, None, None))?;
        let run = record.run_id.clone();
        self.need(Purpose::Teacher, record);
        self.teacher = Some((config, run.clone()));
        Ok(run)
    }

    fn need(&mut self, purpose: Purpose, record: RunRecord) {
        if !self.needs.iter().any(|(_, known)| known.run_id == record.run_id) {
            self.needs.push((purpose, record));
        }
    }

    fn record(&mut self, stage: Stage) -> Result<RunRecord, ResolveError> {
        let spec = RunSpec::train(stage);
        self.contents.files.clear();
        let run_id = spec.id(&mut self.contents)?;
        let inputs = std::mem::take(&mut self.contents.files);
        Ok(RunRecord { format_version: FORMAT_VERSION, run_id, spec, inputs })
    }
}

/// What trains a declared teacher: the student's data, with the teacher's own training, whatever the
/// student's is; so that axes of the student need no further teachers.
fn declared_teacher(config: &RunConfig) -> Option<RunConfig> {
    let declared =
        config.teacher.as_ref().filter(|teacher| teacher.path.is_none() && teacher.run.is_none())?;
    let TeacherConfig { size, train, optimizer, schedule, .. } = declared.clone();
    let mut data = config.data.clone();
    if data.tokenizer.is_none() {
        // The student finds its tokenizer beside its checkpoint; the teacher must use the same.
        data.tokenizer = config.student.path.clone().filter(|path| has_tokenizer(path));
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

/// The tokenizer that a stage uses: the one that it names, or the first that lies beside a model of its.
fn tokenizer_of(stage: &Stage) -> Option<PathBuf> {
    let beside = || stage.tokenizer_fallbacks().into_iter().find(|path| has_tokenizer(path));
    stage.data.tokenizer.clone().or_else(beside)
}

fn has_tokenizer(directory: &Path) -> bool {
    directory.join("tokenizer.json").exists()
}

/// What stands for paths in identities, with the files that were read since it was last emptied.
struct FileContents<'a> {
    digest: &'a mut dyn FnMut(&Path) -> io::Result<String>,
    known: HashMap<(&'static str, PathBuf), (Content, FileDigests)>,
    files: BTreeMap<String, String>,
}

impl Contents for FileContents<'_> {
    type Error = ResolveError;

    fn content(&mut self, key: &'static str, path: &Path) -> Result<Content, ResolveError> {
        if !self.known.contains_key(&(key, path.to_owned())) {
            let read = self.read(key, path)?;
            self.known.insert((key, path.to_owned()), read);
        }
        let (content, files) = &self.known[&(key, path.to_owned())];
        self.files.extend(files.iter().cloned());
        Ok(content.clone())
    }
}

impl FileContents<'_> {
    fn read(&mut self, key: &'static str, path: &Path) -> Result<(Content, FileDigests), ResolveError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ResolveError::Read { key, path, source }
        };
        if !path.is_dir() {
            let digest = (self.digest)(path).map_err(failed(path))?;
            let files = vec![(path.to_string_lossy().into_owned(), digest.clone())];
            return Ok((Content::File(digest), files));
        }
        let (mut content, mut files) = (BTreeMap::new(), Vec::new());
        for name in files_read(key, path).map_err(failed(path))? {
            let file = path.join(&name);
            let digest = (self.digest)(&file).map_err(failed(&file))?;
            files.push((file.to_string_lossy().into_owned(), digest.clone()));
            content.insert(name, digest);
        }
        Ok((Content::Directory(content), files))
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
