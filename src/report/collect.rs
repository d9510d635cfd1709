//! Reads what a store knows about the runs of one experiment. A damaged run directory is kept as
//! such; it never hides the others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::columns::{KIND, NO_SOFT_LOSS, SEED};
use super::error::ReportError;
use super::flatten::flatten;
use crate::spec::LossKind;
use crate::spec::{PlannedRun, Purpose, RunId, RunRecord, Stage};
use crate::store::{ExperimentRecord, MetricRow, RunDir, RunState, RunStatus, RunSummary, Store, StoreError};

/// An experiment with all that was found of its runs.
#[derive(Debug)]
pub struct Collected {
    /// The newest plan of the experiment.
    pub experiment: ExperimentRecord,
    /// Its runs, in the plan's order.
    pub runs: Vec<CollectedRun>,
    /// Further runs that those need, and what for.
    pub needs: Vec<(Purpose, CollectedRun)>,
}

/// What was found of one run.
#[derive(Debug)]
pub struct CollectedRun {
    /// Its identity.
    pub run_id: RunId,
    /// The values of the experiment's axes.
    pub point: BTreeMap<String, Value>,
    /// What it is; none before its first attempt.
    pub record: Option<RunRecord>,
    /// Its configuration by dotted key; of a run that was never tried, only the axes are known.
    pub config: Vec<(String, Value)>,
    /// Where it stands.
    pub standing: Standing,
    /// Its attempt, device and times; none before its first attempt.
    pub status: Option<RunStatus>,
    /// What it came to; none before its end.
    pub summary: Option<RunSummary>,
    dir: RunDir,
}

/// Where a run stands, as far as its directory can say.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// As the store says.
    State(RunState),
    /// A file of the run directory cannot be read.
    Damaged(String),
}

impl Standing {
    /// The word that tables use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::Damaged(_) => "damaged",
        }
    }
}

/// Every word that a `status` column holds, in the order in which pages count them.
pub const STATUSES: [&str; 10] = [
    "finished",
    "running",
    "planned",
    "paused",
    "interrupted",
    "killed",
    "stopped",
    "diverged",
    "failed",
    "damaged",
];

impl Collected {
    /// Reads an experiment and its runs, measurements left out.
    pub fn read(store: &Store, name: &str) -> Result<Self, ReportError> {
        // A name that leads elsewhere is none that the store gave.
        let is_name = !name.is_empty() && !name.contains(['/', '\\']);
        let experiment =
            if is_name { store.experiment(name)? } else { return Err(unknown(store, name)?.into()) };
        if experiment.runs.is_empty() {
            return Err(ReportError::NoRuns { name: experiment.name });
        }
        let mut needs = Vec::new();
        let mut stages = HashMap::new();
        for need in &experiment.needs {
            let dir = store.run_dir(&need.run_id);
            let run = CollectedRun::read(dir, &need.run_id, BTreeMap::new(), &stages);
            let stage = run.record.as_ref().map(|record| record.spec.stage().without_neutral());
            stages.extend(stage.map(|stage| (need.run_id.clone(), stage)));
            needs.push((need.purpose, run));
        }
        let point = |run: &PlannedRun| {
            CollectedRun::read(store.run_dir(&run.run_id), &run.run_id, run.point.clone(), &stages)
        };
        let mut runs: Vec<_> = experiment.runs.par_iter().map(point).collect();
        complete_untried(&mut runs);
        Ok(Self { experiment, runs, needs })
    }

    /// The measurements of all runs, in the plan's order, to `each`. A run whose measurements
    /// cannot be read becomes damaged.
    pub fn read_metrics(&mut self, mut each: impl FnMut(&RunId, &[MetricRow])) {
        // A block at a time: reading is parallel, and memory holds one block.
        const BLOCK: usize = 128;
        for block in self.runs.chunks_mut(BLOCK) {
            let read: Vec<_> = block.par_iter().map(|run| run.dir.metrics()).collect();
            for (run, rows) in block.iter_mut().zip(read) {
                match rows {
                    Ok(rows) => each(&run.run_id, &rows),
                    Err(error) => run.damage(error.to_string()),
                }
            }
        }
    }

    /// Which runs learn from labels alone: those without a soft loss, or, where the experiment has
    /// none, those whose soft loss weighs nothing.
    pub fn baselines(&self) -> Vec<bool> {
        let declared: Vec<bool> = self.runs.iter().map(CollectedRun::has_no_soft_loss).collect();
        if declared.contains(&true) {
            return declared;
        }
        self.runs.iter().map(CollectedRun::weighs_labels_alone).collect()
    }

    /// Runs that cannot be read, with what is wrong.
    pub fn damaged(&self) -> impl Iterator<Item = (&RunId, &str)> {
        self.all().filter_map(|run| match &run.standing {
            Standing::Damaged(reason) => Some((&run.run_id, reason.as_str())),
            Standing::State(_) => None,
        })
    }

    fn all(&self) -> impl Iterator<Item = &CollectedRun> {
        self.runs.iter().chain(self.needs.iter().map(|(_, run)| run))
    }

    /// The last change of any run, RFC 3339 in UTC; none if no run was tried.
    pub fn updated(&self) -> Option<&str> {
        let updated = self.all().filter_map(|run| run.status.as_ref());
        updated
            .map(|status| status.updated.as_str())
            .max_by_key(|text| (humantime::parse_rfc3339(text).ok(), *text))
    }
}

impl CollectedRun {
    /// Reads a run; `stages` are those of the runs that it needs.
    fn read(
        dir: RunDir,
        run_id: &RunId,
        point: BTreeMap<String, Value>,
        stages: &HashMap<RunId, Stage>,
    ) -> Self {
        let mut run = Self {
            run_id: run_id.clone(),
            config: point.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            point,
            record: None,
            standing: Standing::State(RunState::Planned),
            status: None,
            summary: None,
            dir,
        };
        if let Err(error) = run.fill(stages) {
            run.damage(error.to_string());
        }
        run
    }

    fn fill(&mut self, stages: &HashMap<RunId, Stage>) -> Result<(), StoreError> {
        let status = self.dir.status()?;
        let record = match self.dir.record() {
            Ok(record) => record,
            // Planned, and no worker has come to it.
            Err(error) if is_not_found(&error) && status.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        let declared = record.spec.stage().without_neutral().declared(|id| stages.get(id).cloned());
        if let Ok(Value::Object(config)) = serde_json::to_value(declared) {
            self.config = flatten(&config);
        }
        self.record = Some(record);
        let Some(status) = status else { return Ok(()) };
        let state = match status.state {
            // Asks whether a worker still owns it. A store that may only be read cannot answer.
            RunState::Running => self.dir.state().unwrap_or(RunState::Running),
            state => state,
        };
        self.status = Some(status);
        self.standing = Standing::State(state);
        if state.is_settled() {
            self.summary = self.dir.summary()?;
            if self.summary.is_none() && state == RunState::Finished {
                let reason = "the run is finished, but its summary is missing".to_owned();
                return Err(StoreError::Damaged { path: self.dir.path().to_owned(), reason });
            }
        }
        Ok(())
    }

    fn damage(&mut self, reason: String) {
        self.standing = Standing::Damaged(reason);
        self.summary = None;
    }

    /// Whether it was trained to its end and measured.
    pub fn is_finished(&self) -> bool {
        self.standing == Standing::State(RunState::Finished)
    }

    /// Whether there is no soft loss at all: the declared baseline.
    fn has_no_soft_loss(&self) -> bool {
        match &self.record {
            Some(record) => {
                let stage = record.spec.stage();
                stage.teachers.is_empty() || stage.loss.kind == LossKind::None
            }
            None => self.config.iter().any(|(k, v)| k == KIND && v.as_str() == Some(NO_SOFT_LOSS)),
        }
    }

    /// Whether the soft loss weighs nothing.
    fn weighs_labels_alone(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.spec.stage().loss.hard_weight() >= 1.0)
    }

    /// The seed of its training, where it is known.
    pub fn seed(&self) -> Option<u64> {
        match &self.record {
            Some(record) => Some(record.spec.stage().train.seed),
            None => self.point.get(SEED).and_then(Value::as_u64),
        }
    }

    /// The run that it needs for a purpose.
    pub fn needed_run(&self, purpose: Purpose) -> Option<&RunId> {
        let spec = &self.record.as_ref()?.spec;
        spec.needs().into_iter().find(|run| spec.stage().purpose_of(run) == Some(purpose))
    }

    /// Why it has no figures, where something went wrong.
    pub fn reason(&self) -> Option<&str> {
        match &self.standing {
            Standing::Damaged(reason) => Some(reason),
            Standing::State(_) => self.status.as_ref().and_then(|status| status.reason.as_deref()),
        }
    }

    /// The point as JSON.
    pub fn point_json(&self) -> String {
        let object: Map<String, Value> = self.point.clone().into_iter().collect();
        Value::Object(object).to_string()
    }
}

/// Gives runs that nobody has tried the configuration of a tried one at the same point, its seed
/// left out: only a run directory holds a whole configuration.
fn complete_untried(runs: &mut [CollectedRun]) {
    let key = |run: &CollectedRun| {
        let mut point = run.point.clone();
        point.remove(SEED);
        Value::Object(point.into_iter().collect()).to_string()
    };
    let mut whole: HashMap<String, Option<Vec<(String, Value)>>> = HashMap::new();
    for run in runs.iter().filter(|run| run.record.is_some()) {
        let config: Vec<_> = run.config.iter().filter(|(k, _)| k != SEED).cloned().collect();
        let known = whole.entry(key(run)).or_insert_with(|| Some(config.clone()));
        if known.as_ref() != Some(&config) {
            *known = None;
        }
    }
    for run in runs.iter_mut().filter(|run| run.record.is_none()) {
        let Some(Some(config)) = whole.get(&key(run)) else { continue };
        let seed = run.config.iter().filter(|(k, _)| k == SEED).cloned();
        run.config = config.iter().cloned().chain(seed).collect();
    }
}

/// The experiment that `argument` names: a name that the store knows, or the path of a TOML file
/// that was swept into it.
pub fn experiment_name(store: &Store, argument: &str) -> Result<String, StoreError> {
    let names = store.experiments()?;
    if names.iter().any(|name| name == argument) {
        return Ok(argument.to_owned());
    }
    let path = Path::new(argument);
    if let Ok(wanted) = path.canonicalize() {
        // The file may give the experiment a name of its own: the plan says which file it is from.
        for name in &names {
            let source = store.experiment(name).ok().and_then(|e| Path::new(&e.source).canonicalize().ok());
            if source.as_ref() == Some(&wanted) {
                return Ok(name.clone());
            }
        }
    }
    match path.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if path.extension().is_some_and(|e| e == "toml") => Ok(stem.to_owned()),
        _ => Ok(argument.to_owned()),
    }
}

fn unknown(store: &Store, name: &str) -> Result<StoreError, StoreError> {
    let known = store.experiments()?;
    Ok(StoreError::NoExperiment {
        name: name.to_owned(),
        root: store.root().to_owned(),
        known: if known.is_empty() {
            "nothing was swept into it yet: `kdx sweep FILE` does that".to_owned()
        } else {
            format!("it has: {}", known.join(", "))
        },
    })
}

fn is_not_found(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}
