//! One stage of training: what a model starts as, what it learns from, and how.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{
    DataConfig, EvaluateConfig, LossConfig, OptimizerConfig, RunConfig, ScheduleConfig, SignalKind,
    SizeConfig, StudentConfig, TeacherConfig, TrainConfig,
};
use super::run_id::{Purpose, RunId};

/// What a run trains, and all that it takes. Other runs are named by their ids, so what it comes to follows
/// from this and from the content of the files that it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The model before the first step.
    pub start: Start,
    /// What it learns from and is measured on.
    pub data: DataConfig,
    /// The models that it learns from or is measured against; none: labels alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teachers: Vec<StageTeacher>,
    /// How hard and soft losses are mixed.
    pub loss: LossConfig,
    /// AdamW and gradient clipping.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Length, batch and seed.
    pub train: TrainConfig,
    /// When and on what the model is measured.
    pub evaluate: EvaluateConfig,
}

/// A model before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Random weights.
    Random(SizeConfig),
    /// The weights of another model, with sizes of its own where some are given.
    Model {
        /// Whose weights.
        model: ModelSource,
        /// Whether weights that fit only in part are accepted.
        partial: bool,
        /// Sizes that differ from that model's.
        size: SizeConfig,
    },
}

/// Where a trained model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// A Hugging Face directory.
    Directory(PathBuf),
    /// The model that another run trains.
    Run(RunId),
}

/// A teacher of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTeacher {
    /// The model.
    pub model: ModelSource,
    /// What the student is handed of it, and where that comes from.
    #[serde(default)]
    pub signal: SignalKind,
    /// For `topk`: logits that are kept of each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// For `auto`: GiB of disk that its hidden states may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_budget: Option<f64>,
}

impl ModelSource {
    /// The run that trains the model, where one does.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::Run(id) => Some(id),
            Self::Directory(_) => None,
        }
    }

    /// The directory that was named, where one was.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Run(_) => None,
        }
    }
}

impl Start {
    /// Where the weights come from; none where they are random.
    pub fn model(&self) -> Option<&ModelSource> {
        match self {
            Self::Random(_) => None,
            Self::Model { model, .. } => Some(model),
        }
    }

    /// The sizes that are declared.
    pub fn size(&self) -> &SizeConfig {
        match self {
            Self::Random(size) | Self::Model { size, .. } => size,
        }
    }
}

impl StageTeacher {
    /// Logits that are kept of each token, for `topk`.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(TeacherConfig::TOP_K)
    }

    /// Bytes that the hidden states may take, for `auto`.
    pub fn cache_budget(&self) -> u64 {
        let gibibytes = self.cache_budget.unwrap_or(TeacherConfig::CACHE_BUDGET);
        (gibibytes * (1_u64 << 30) as f64) as u64
    }
}

impl Stage {
    /// The stage that a resolved configuration declares; `start` and `teacher` are the runs that stand for
    /// the student's start and for the teacher, where runs do.
    pub fn new(config: &RunConfig, start: Option<RunId>, teacher: Option<RunId>) -> Self {
        let RunConfig { data, teacher: declared, student, loss, optimizer, schedule, train, evaluate } =
            config.clone();
        let StudentConfig { path, run: _, partial, size } = student;
        let start = match start.map(ModelSource::Run).or(path.map(ModelSource::Directory)) {
            Some(model) => Start::Model { model, partial, size },
            None => Start::Random(size),
        };
        let teacher = declared.and_then(|declared| {
            let TeacherConfig { path, signal, top_k, cache_budget, .. } = declared;
            let model = teacher.map(ModelSource::Run).or(path.map(ModelSource::Directory))?;
            Some(StageTeacher { model, signal, top_k, cache_budget })
        });
        let teachers = teacher.into_iter().collect();
        Self { start, data, teachers, loss, optimizer, schedule, train, evaluate }
    }

    /// The configuration as a user would declare it. Of a run that the stage needs, `find` gives the stage: a
    /// teacher that kdx trains then stands there by its sizes and training; one that is not found, by its id.
    pub fn declared(&self, find: impl Fn(&RunId) -> Option<Self>) -> RunConfig {
        let Self { start, data, teachers, loss, optimizer, schedule, train, evaluate } = self.clone();
        let student = match start {
            Start::Random(size) => StudentConfig { size, ..StudentConfig::default() },
            Start::Model { model: ModelSource::Directory(path), partial, size } => {
                StudentConfig { path: Some(path), run: None, partial, size }
            }
            Start::Model { model: ModelSource::Run(run), partial, size } => {
                StudentConfig { path: None, run: Some(run.0), partial, size }
            }
        };
        let teacher = teachers.into_iter().next().map(|teacher| {
            let StageTeacher { model, signal, top_k, cache_budget } = teacher;
            let settings = TeacherConfig { signal, top_k, cache_budget, ..TeacherConfig::default() };
            match model {
                ModelSource::Directory(path) => TeacherConfig { path: Some(path), ..settings },
                ModelSource::Run(run) => match find(&run) {
                    Some(Self { start: Start::Random(size), optimizer, schedule, train, .. }) => {
                        TeacherConfig {
                            size,
                            train: Some(train),
                            optimizer: Some(optimizer),
                            schedule: Some(schedule),
                            ..settings
                        }
                    }
                    _ => TeacherConfig { run: Some(run.0), ..settings },
                },
            }
        });
        RunConfig { data, teacher, student, loss, optimizer, schedule, train, evaluate }
    }

    /// The runs that must finish before this one can begin: its start first, each once.
    pub fn needs(&self) -> Vec<&RunId> {
        let mut needs: Vec<&RunId> = Vec::new();
        let models = self.start.model().into_iter().chain(self.teachers.iter().map(|teacher| &teacher.model));
        for run in models.filter_map(ModelSource::run) {
            if !needs.contains(&run) {
                needs.push(run);
            }
        }
        needs
    }

    /// What the stage needs a run for; none where it does not.
    pub fn purpose_of(&self, run: &RunId) -> Option<Purpose> {
        if self.start.model().and_then(ModelSource::run) == Some(run) {
            return Some(Purpose::Start);
        }
        self.teachers.iter().any(|teacher| teacher.model.run() == Some(run)).then_some(Purpose::Teacher)
    }

    /// The part that decides what the run comes to, bit for bit: `online` and `hidden` hand the student the
    /// same bits, and checkpoints change nothing.
    pub fn without_neutral(&self) -> Self {
        let teachers = self.teachers.iter().map(StageTeacher::without_neutral).collect();
        Self {
            teachers,
            train: self.train.without_neutral(),
            evaluate: self.evaluate.without_neutral(),
            ..self.clone()
        }
    }

    /// Directories that may hold a tokenizer where `data.tokenizer` names none, in their order: the
    /// teachers', then the start's.
    pub fn tokenizer_fallbacks(&self) -> Vec<PathBuf> {
        let models = self.teachers.iter().map(|teacher| &teacher.model).chain(self.start.model());
        models.filter_map(ModelSource::directory).map(Path::to_owned).collect()
    }
}

impl StageTeacher {
    fn without_neutral(&self) -> Self {
        let is_exact = self.signal != SignalKind::Topk;
        Self {
            model: self.model.clone(),
            signal: if is_exact { SignalKind::Auto } else { self.signal },
            top_k: self.top_k.filter(|_| !is_exact),
            cache_budget: None,
        }
    }
}
