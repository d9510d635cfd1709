//! From an experiment to the runs that are still to do.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use miette::Diagnostic;
use rayon::prelude::*;
use thiserror::Error;

use super::estimate::{Estimate, EstimateError, Estimator, Speed};
use super::job::{Job, Part, point_label};
use crate::experiment::{self, Experiment, ResolveError, Resolved};
use crate::spec::{FORMAT_VERSION, NeededRun, PlannedRun, Purpose, RunId, RunRecord};
use crate::store::digest::Digests;
use crate::store::{ExperimentRecord, Inspection, RunDir, RunState, Store, StoreError};

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

fn speed(jobs: &[Job]) -> Speed {
    // What a search stopped has not cost what it was estimated to.
    let done = jobs.iter().filter(|job| job.state.is_done());
    Speed::of(done.filter_map(|job| Some((&job.estimate, job.summary.as_ref()?))))
}

/// The runs of an experiment, the runs that those need, and where each stands.
#[derive(Debug)]
pub struct Plan {
    /// The experiment's record, as the store will hold it.
    pub experiment: ExperimentRecord,
    /// All runs, each behind those that it needs: what is needed first, then the points in the experiment's
    /// order.
    pub jobs: Vec<Job>,
    /// How fast this machine trains.
    pub speed: Speed,
    /// Runs whose directories are damaged: they have to begin again.
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
    ///
    /// # Errors
    /// Where a file that a run reads is not there, or a run cannot be trained.
    pub fn new(experiment: &Experiment, store: &Store) -> Result<Self, PlanError> {
        let mut digests = Digests::open(&store.cache_dir());
        let resolved = experiment::resolve(
            experiment,
            experiment::Surrounding {
                digest: &mut |path| digests.of_file(path),
                find: &|name| Ok(store.find_run(name)?.record()?),
            },
        )?;
        digests.save();
        let Resolved { runs, baselines, needs } = resolved;
        let planned: Vec<PlannedRun> = runs.iter().map(|(run, _)| run.clone()).collect();
        let needs = needs.into_iter().map(|(purpose, record)| (record, Part::Need(purpose)));
        let points = runs.into_iter().map(|(PlannedRun { run_id, point }, record)| {
            (record, Part::Point { values: point, is_baseline: baselines.contains(&run_id) })
        });
        let parts: Vec<(RunRecord, Part)> = needs.chain(points).collect();
        let (jobs, damaged) = plan_jobs(parts, store)?;
        let speed = speed(&jobs);
        let experiment = ExperimentRecord {
            format_version: FORMAT_VERSION,
            name: experiment.name.clone(),
            source: experiment.source.display().to_string(),
            axes: experiment.axes.clone(),
            runs: planned,
            needs: needed(&jobs),
            compare: experiment.compare.clone(),
        };
        Ok(Self { experiment, jobs, speed, damaged })
    }

    /// The plan of an experiment as the last sweep left it in the store; its files are not read.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn of_store(name: &str, store: &Store) -> Result<Self, PlanError> {
        let experiment = store.experiment(name)?;
        let record = |id: &RunId| store.run_dir(id).record();
        let mut parts = Vec::new();
        for NeededRun { run_id, purpose } in &experiment.needs {
            parts.push((record(run_id)?, Part::Need(*purpose)));
        }
        for PlannedRun { run_id, point } in &experiment.runs {
            parts.push((record(run_id)?, Part::Point { values: point.clone(), is_baseline: false }));
        }
        let (jobs, damaged) = plan_jobs(parts, store)?;
        let speed = speed(&jobs);
        Ok(Self { experiment, jobs, speed, damaged })
    }

    /// The points of the grid, in the experiment's order.
    pub fn points(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| matches!(job.part, Part::Point { .. }))
    }

    /// The runs that others need, each before what needs it.
    pub fn needs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| matches!(job.part, Part::Need(_)))
    }

    /// What a sweep has to do: the points that are not done, and whatever unfinished runs they need, directly
    /// or through others. Those that most work waits for come first, so that no long chain is left alone at
    /// the end.
    pub fn pending(&self) -> Vec<Job> {
        let undone = self.points().filter(|job| !job.state.is_done());
        self.chosen(&undone.map(|job| job.id().clone()).collect())
    }

    /// [`Self::pending`], of these runs and what they need alone.
    pub fn chosen(&self, runs: &HashSet<RunId>) -> Vec<Job> {
        let mut wanted = runs.clone();
        // A job stands behind what it needs.
        for job in self.jobs.iter().rev().filter(|job| job.state != RunState::Finished) {
            if wanted.contains(job.id()) {
                wanted.extend(job.record.spec.needs().into_iter().cloned());
            }
        }
        let is_to_do = |job: &&Job| {
            wanted.contains(job.id())
                && match job.part {
                    Part::Point { .. } => !job.state.is_done() || self.is_needed(job, &wanted),
                    Part::Need(_) => job.state != RunState::Finished,
                }
        };
        let jobs: Vec<Job> = self.jobs.iter().filter(is_to_do).cloned().collect();
        in_order_of_chains(jobs)
    }

    /// Whether an unfinished run that is wanted waits for this one.
    fn is_needed(&self, job: &Job, wanted: &HashSet<RunId>) -> bool {
        job.state != RunState::Finished
            && self.jobs.iter().any(|other| {
                wanted.contains(other.id())
                    && !other.state.is_done()
                    && other.record.spec.needs().contains(&job.id())
            })
    }

    /// Writes the experiment's record and a directory for every run that has none; first sets damaged runs
    /// aside, which then begin again, and says where to. Those that another process holds are left to it.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub fn write(&self, store: &Store) -> Result<Vec<PathBuf>, StoreError> {
        let mut aside = Vec::new();
        for Damaged { dir, .. } in &self.damaged {
            if let Some(held) = dir.try_acquire()? {
                aside.extend(held.set_aside(|held| Ok(held.inspect()?.damage))?);
            }
        }
        // Before the directories: one that no experiment names may be removed.
        store.write_experiment(&self.experiment)?;
        for job in &self.jobs {
            let dir = job.dir(store);
            dir.create(&job.record)?;
            if job.state.is_done() {
                // Its worker may have been killed just before it did this itself.
                let held = if dir.checkpoint().path().exists() { dir.try_acquire()? } else { None };
                held.map_or(Ok(()), |held| held.remove_checkpoint())?;
            }
        }
        store.flush()?;
        Ok(aside)
    }
}

/// The runs that none of the points is.
fn needed(jobs: &[Job]) -> Vec<NeededRun> {
    let need = |job: &Job| match job.part {
        Part::Need(purpose) => Some(NeededRun { run_id: job.id().clone(), purpose }),
        Part::Point { .. } => None,
    };
    jobs.iter().filter_map(need).collect()
}

/// The runs with their costs and where each stands, those that they need before them: also what unfinished
/// ones of the store need in their turn.
fn plan_jobs(parts: Vec<(RunRecord, Part)>, store: &Store) -> Result<(Vec<Job>, Vec<Damaged>), PlanError> {
    let dirs: Vec<(RunId, RunDir)> =
        parts.iter().map(|(record, _)| (record.run_id.clone(), store.run_dir(&record.run_id))).collect();
    let inspected = dirs.par_iter().map(|(id, dir)| Ok((id.clone(), dir.inspect()?)));
    let mut inspections = inspected.collect::<Result<HashMap<RunId, Inspection>, StoreError>>()?;
    let parts = add_what_is_needed(parts, &mut inspections, store)?;
    let mut estimator = Estimator::new(store.cache_dir());
    let needed: HashSet<&RunId> = parts.iter().flat_map(|(record, _)| record.spec.needs()).collect();
    for (record, _) in parts.iter().filter(|(record, _)| needed.contains(&record.run_id)) {
        estimator.learn(record, store.run_dir(&record.run_id).model_dir());
    }
    let (mut jobs, mut damaged) = (Vec::with_capacity(parts.len()), Vec::new());
    for (record, part) in parts {
        let mut inspection = match inspections.remove(&record.run_id) {
            Some(inspection) => inspection,
            None => store.run_dir(&record.run_id).inspect()?,
        };
        if let Some(damage) = inspection.damage.take() {
            let dir = store.run_dir(&record.run_id);
            damaged.push(Damaged { dir, run: record.run_id.clone(), damage });
        }
        let Inspection { state, attempts, summary, .. } = inspection;
        let estimate = match (estimator.estimate(record.spec.stage()), &summary) {
            // What it was made of may be gone, and is not needed any more.
            (Err(_), Some(summary)) if matches!(part, Part::Need(_)) && state == RunState::Finished => {
                Ok(Estimate::of_finished(summary))
            }
            (estimate, _) => estimate,
        };
        match estimate {
            Ok(estimate) => jobs.push(Job { record, part, state, attempts, estimate, summary }),
            Err(source) => {
                let label = match &part {
                    Part::Point { values, .. } => point_label(values),
                    Part::Need(purpose) => purpose.as_str().to_owned(),
                };
                return Err(PlanError::Estimate { run: record.run_id, label, source });
            }
        }
    }
    Ok((jobs, damaged))
}

/// Adds the runs of the store that unfinished ones need and that are not there yet, and puts each behind what
/// it needs.
fn add_what_is_needed(
    parts: Vec<(RunRecord, Part)>,
    inspections: &mut HashMap<RunId, Inspection>,
    store: &Store,
) -> Result<Vec<(RunRecord, Part)>, StoreError> {
    let mut known: HashSet<RunId> = parts.iter().map(|(record, _)| record.run_id.clone()).collect();
    let mut found: Vec<(RunRecord, Part)> = Vec::new();
    let mut open: Vec<RunRecord> = Vec::new();
    let is_finished = |inspections: &HashMap<RunId, Inspection>, id: &RunId| {
        inspections.get(id).is_some_and(|found| found.state == RunState::Finished)
    };
    for (record, part) in &parts {
        if matches!(part, Part::Need(_)) && !is_finished(inspections, &record.run_id) {
            open.push(record.clone());
        }
    }
    while let Some(record) = open.pop() {
        for id in record.spec.needs() {
            if !known.insert(id.clone()) {
                continue;
            }
            let dir = store.run_dir(id);
            let inspection = dir.inspect()?;
            let needed = dir.record()?;
            let purpose = record.spec.stage().purpose_of(id).unwrap_or(Purpose::Teacher);
            inspections.insert(id.clone(), inspection);
            if !is_finished(inspections, id) {
                open.push(needed.clone());
            }
            found.push((needed, Part::Need(purpose)));
        }
    }
    found.extend(parts);
    Ok(sort_by_needs(found))
}

/// Puts each run behind those that it needs; otherwise the order stays.
fn sort_by_needs(parts: Vec<(RunRecord, Part)>) -> Vec<(RunRecord, Part)> {
    let place: HashMap<RunId, usize> =
        parts.iter().enumerate().map(|(index, (record, _))| (record.run_id.clone(), index)).collect();
    let is_behind = |(index, (record, _)): (usize, &(RunRecord, Part))| {
        record.spec.needs().into_iter().all(|id| place.get(id).is_none_or(|&need| need < index))
    };
    if parts.iter().enumerate().all(is_behind) {
        return parts;
    }
    let mut order = Vec::with_capacity(parts.len());
    let mut is_placed = vec![false; parts.len()];
    for index in 0..parts.len() {
        // Needs that were not looked at yet lie on top. An id is a hash over those of the needs, so there is
        // no circle.
        let mut stack = vec![index];
        while let Some(&top) = stack.last() {
            if is_placed[top] {
                stack.pop();
                continue;
            }
            let needs = parts[top].0.spec.needs();
            let missing: Vec<usize> = needs
                .into_iter()
                .filter_map(|id| place.get(id).copied())
                .filter(|&need| !is_placed[need] && !stack.contains(&need))
                .collect();
            if missing.is_empty() {
                is_placed[top] = true;
                order.push(top);
                stack.pop();
            } else {
                stack.extend(missing);
            }
        }
    }
    let mut parts: Vec<Option<(RunRecord, Part)>> = parts.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| parts[index].take()).collect()
}

/// Sorts jobs by the work of the longest chain that begins with each, the longest first. So a job stands
/// behind what it needs, too.
fn in_order_of_chains(jobs: Vec<Job>) -> Vec<Job> {
    let place: HashMap<&RunId, usize> =
        jobs.iter().enumerate().map(|(index, job)| (job.id(), index)).collect();
    let mut chains: Vec<f64> = jobs.iter().map(|job| job.estimate.flops).collect();
    // Jobs come behind what they need, so from the back every chain is whole before it is added to.
    for (index, job) in jobs.iter().enumerate().rev() {
        for need in job.record.spec.needs() {
            if let Some(&need) = place.get(need) {
                chains[need] = chains[need].max(jobs[need].estimate.flops + chains[index]);
            }
        }
    }
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|&a, &b| chains[b].total_cmp(&chains[a]));
    let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| jobs[index].take()).collect()
}
