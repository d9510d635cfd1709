//! From an experiment to the runs that are still to do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use miette::Diagnostic;
use rayon::prelude::*;
use serde_json::Value;
use thiserror::Error;

use super::estimate::{Estimate, EstimateError, Estimator, Speed};
use crate::experiment::{self, Experiment, ResolveError};
use crate::store::{
    ExperimentRecord, FORMAT_VERSION, Inspection, PlannedRun, RunDir, RunId, RunRecord, RunRole, RunState,
    RunSummary, Store, StoreError,
};

/// Why an experiment cannot be planned.
#[derive(Debug, Error, Diagnostic)]
pub enum PlanError {
    /// Its files cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Resolve(#[from] ResolveError),
    /// The store cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// A run that cannot be trained.
    #[error("run {run} ({label}) cannot be trained")]
    Estimate {
        /// The run.
        run: RunId,
        /// Its point, in words.
        label: String,
        /// Why.
        #[source]
        #[diagnostic_source]
        source: EstimateError,
    },
}

/// One run of a plan.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the run is.
    pub record: RunRecord,
    /// The values of the axes; empty for a teacher.
    pub point: BTreeMap<String, Value>,
    /// Whether others are held against it: nothing stops it early.
    pub is_baseline: bool,
    /// Where it stood when the plan was made.
    pub state: RunState,
    /// Attempts so far.
    pub attempts: u32,
    /// What it costs.
    pub estimate: Estimate,
    /// What it came to, where it is done.
    pub summary: Option<RunSummary>,
}

impl Job {
    /// The run's identity.
    pub fn id(&self) -> &RunId {
        &self.record.run_id
    }

    /// The run in a few words: its point, or what teacher it is.
    pub fn label(&self) -> String {
        match self.record.role {
            RunRole::Teacher => format!("teacher {}", model_label(&self.record)),
            RunRole::Student if self.point.is_empty() => "the only run".to_owned(),
            RunRole::Student => point_label(&self.point),
        }
    }

    /// Its directory.
    pub fn dir(&self, store: &Store) -> RunDir {
        store.run_dir(self.record.role, self.id())
    }
}

/// A point in words, as `temperature=2 alpha=0.5`: each key by its last part where that is unique.
pub fn point_label(point: &BTreeMap<String, Value>) -> String {
    let short = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let mut names: HashMap<String, usize> = HashMap::new();
    for key in point.keys() {
        *names.entry(short(key)).or_default() += 1;
    }
    let parts: Vec<String> = point
        .iter()
        .map(|(key, value)| {
            let name = if names[&short(key)] == 1 { short(key) } else { key.clone() };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={value}")
        })
        .collect();
    parts.join(" ")
}

fn model_label(record: &RunRecord) -> String {
    let size = &record.config.student.size;
    match (size.hidden_size, size.layers) {
        (Some(hidden), Some(layers)) => format!("{hidden}×{layers}"),
        _ => record.run_id.to_string(),
    }
}

/// A run with its cost, and where it stands in the store.
fn job(
    record: RunRecord,
    point: BTreeMap<String, Value>,
    inspection: Inspection,
    estimator: &mut Estimator,
) -> Result<Job, PlanError> {
    let estimate = estimator.estimate(&record.config).map_err(|source| PlanError::Estimate {
        run: record.run_id.clone(),
        label: point_label(&point),
        source,
    })?;
    Ok(Job {
        state: inspection.state,
        attempts: inspection.attempts,
        summary: inspection.summary,
        record,
        point,
        is_baseline: false,
        estimate,
    })
}

fn speed(students: &[Job], teachers: &[Job]) -> Speed {
    // What a search stopped has not cost what it was estimated to.
    let done = students.iter().chain(teachers).filter(|job| job.state.is_done());
    Speed::of(done.filter_map(|job| Some((&job.estimate, job.summary.as_ref()?))))
}

/// The runs of an experiment, the teachers they need, and where each stands.
#[derive(Debug)]
pub struct Plan {
    /// The experiment's record, as the store will hold it.
    pub experiment: ExperimentRecord,
    /// The runs, in the experiment's order.
    pub students: Vec<Job>,
    /// Teachers that kdx trains, in the order of first need.
    pub teachers: Vec<Job>,
    /// How fast this machine trains.
    pub speed: Speed,
    /// Runs and teachers whose directories are damaged: they have to begin again.
    pub damaged: Vec<Damaged>,
}

/// A run whose directory is damaged.
#[derive(Debug)]
pub struct Damaged {
    /// Its directory.
    pub dir: RunDir,
    /// The run.
    pub run: RunId,
    /// Which file is damaged, and how.
    pub damage: StoreError,
}

impl Plan {
    /// Plans an experiment against what the store has. Writes nothing but caches.
    pub fn new(experiment: &Experiment, store: &Store) -> Result<Self, PlanError> {
        let resolved = experiment::resolve(experiment, &store.cache_dir())?;
        let records = resolved.students.iter().map(|(_, record)| record).chain(&resolved.teachers);
        let dirs: Vec<_> =
            records.map(|record| (&record.run_id, store.run_dir(record.role, &record.run_id))).collect();
        let inspected = dirs.par_iter().map(|(id, dir)| Ok(((*id).clone(), dir.inspect()?)));
        let mut inspections = inspected.collect::<Result<HashMap<RunId, Inspection>, StoreError>>()?;
        let mut damaged = Vec::new();
        let mut estimator = Estimator::new(store.cache_dir());
        let mut job = |record: RunRecord, point| {
            let dir = store.run_dir(record.role, &record.run_id);
            let mut inspection = inspections.remove(&record.run_id).map_or_else(|| dir.inspect(), Ok)?;
            if let Some(damage) = inspection.damage.take() {
                damaged.push(Damaged { dir, run: record.run_id.clone(), damage });
            }
            job(record, point, inspection, &mut estimator)
        };
        let runs: Vec<PlannedRun> = resolved.students.iter().map(|(run, _)| run.clone()).collect();
        let students = resolved
            .students
            .into_iter()
            .map(|(run, record)| {
                let is_baseline = resolved.baselines.contains(&run.run_id);
                Ok(Job { is_baseline, ..job(record, run.point)? })
            })
            .collect::<Result<Vec<_>, PlanError>>()?;
        let teachers = resolved
            .teachers
            .into_iter()
            .map(|record| job(record, BTreeMap::new()))
            .collect::<Result<Vec<_>, _>>()?;
        let speed = speed(&students, &teachers);
        let experiment = ExperimentRecord {
            format_version: FORMAT_VERSION,
            name: experiment.name.clone(),
            source: experiment.source.display().to_string(),
            axes: experiment.axes.clone(),
            runs,
            teachers: teachers.iter().map(|t| t.id().clone()).collect(),
            compare: experiment.compare.clone(),
        };
        Ok(Self { experiment, students, teachers, speed, damaged })
    }

    /// The plan of an experiment as the last sweep left it in the store; its files are not read.
    pub fn of_store(name: &str, store: &Store) -> Result<Self, PlanError> {
        let experiment = store.experiment(name)?;
        let mut damaged = Vec::new();
        let mut estimator = Estimator::new(store.cache_dir());
        let mut job = |role, id: &RunId, point| -> Result<Job, PlanError> {
            let dir = store.run_dir(role, id);
            let mut inspection = dir.inspect()?;
            let record = dir.record()?;
            if let Some(damage) = inspection.damage.take() {
                damaged.push(Damaged { dir, run: id.clone(), damage });
            }
            job(record, point, inspection, &mut estimator)
        };
        let runs = experiment.runs.iter();
        let students = runs.map(|run| job(RunRole::Student, &run.run_id, run.point.clone()));
        let students = students.collect::<Result<Vec<_>, _>>()?;
        let teachers = experiment.teachers.iter().map(|id| job(RunRole::Teacher, id, BTreeMap::new()));
        let teachers = teachers.collect::<Result<Vec<_>, _>>()?;
        let speed = speed(&students, &teachers);
        Ok(Self { experiment, students, teachers, speed, damaged })
    }

    /// What a sweep has to do: the teachers that an unfinished student needs, then the students,
    /// the longest first, so that no long run is left alone at the end.
    pub fn pending(&self) -> Vec<Job> {
        let mut students: Vec<Job> = self.students.iter().filter(|j| !j.state.is_done()).cloned().collect();
        students.sort_by(|a, b| b.estimate.flops.total_cmp(&a.estimate.flops));
        let needed: HashSet<&RunId> = students.iter().filter_map(|j| j.record.teacher_run.as_ref()).collect();
        let mut teachers: Vec<Job> = self
            .teachers
            .iter()
            .filter(|j| j.state != RunState::Finished && needed.contains(j.id()))
            .cloned()
            .collect();
        teachers.sort_by(|a, b| b.estimate.flops.total_cmp(&a.estimate.flops));
        teachers.append(&mut students);
        teachers
    }

    /// Writes the experiment's record and a directory for every run that has none; first sets damaged runs
    /// aside, which then begin again, and says where to. Those that another process holds are left to it.
    pub fn write(&self, store: &Store) -> Result<Vec<PathBuf>, StoreError> {
        let mut aside = Vec::new();
        for Damaged { dir, .. } in &self.damaged {
            aside.extend(dir.set_aside(|dir| Ok(dir.inspect()?.damage))?);
        }
        // Before the directories: one that no experiment names may be removed.
        store.write_experiment(&self.experiment)?;
        for job in self.teachers.iter().chain(&self.students) {
            let dir = job.dir(store);
            dir.create(&job.record)?;
            if job.state.is_done() {
                // Its worker may have been killed just before it did this itself.
                let held = if dir.checkpoint().path().exists() { dir.try_acquire()? } else { None };
                held.map_or(Ok(()), |held| held.checkpoint().remove())?;
            }
        }
        store.flush()?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_label_keeps_the_section_only_where_names_collide() {
        let point = |pairs: &[(&str, Value)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<BTreeMap<_, _>>()
        };
        let plain = point(&[("loss.temperature", json!(2.0)), ("loss.kind", json!("js"))]);
        assert_eq!(point_label(&plain), "kind=js temperature=2.0");
        let colliding = point(&[("student.layers", json!(1)), ("teacher.layers", json!(4))]);
        assert_eq!(point_label(&colliding), "student.layers=1 teacher.layers=4");
    }
}
