//! The runs that a search may stop, and what is decided about them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::asha::Asha;
use super::median::Median;
use crate::schedule::job::Job;
use crate::spec::{Better, Pruner, SearchConfig};
use crate::store::{MetricRow, RunId, RunState, SearchFact};

/// What a free slot is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Start a run.
    Start {
        /// Its place among the waiting ones.
        which: usize,
        /// The step at which it pauses; none to train it to its end.
        until: Option<u64>,
    },
    /// These are given up: their places among the waiting ones, and why.
    Stop(Vec<(usize, String)>),
    /// What the waiting ones are to do depends on runs that are under way.
    Wait,
}

/// The runs of a search by what was measured of them. Teachers and baselines are not among them.
#[derive(Debug)]
pub(super) struct Candidates {
    config: SearchConfig,
    runs: BTreeMap<RunId, Length>,
    rule: Rule,
    ended: BTreeMap<RunId, RunState>,
    stopped: BTreeMap<RunId, String>,
    /// Runs that failed in this sweep: nobody waits for them.
    lost: BTreeSet<RunId>,
}

/// How long a run is, in steps.
#[derive(Debug, Clone, Copy)]
struct Length {
    /// Steps between two evaluations.
    every: u64,
    /// All steps.
    total: u64,
}

#[derive(Debug)]
enum Rule {
    Asha(Asha),
    Median(Median),
}

impl Rule {
    fn new(config: &SearchConfig) -> Self {
        match config.pruner {
            Pruner::Median => Self::Median(Median::new(config.min_evaluations, config.min_runs)),
            Pruner::None | Pruner::Asha => Self::Asha(Asha::new(config.eta)),
        }
    }
}

type Facts = Vec<(RunId, SearchFact)>;

impl Candidates {
    pub fn new<'a>(config: &SearchConfig, points: impl Iterator<Item = &'a Job>) -> Self {
        let length = |job: &Job| Length {
            every: (job.record.spec.stage().evaluate.every as u64).max(1),
            total: job.estimate.steps,
        };
        let candidates = points.filter(|job| !job.is_baseline());
        Self {
            config: config.clone(),
            runs: candidates.map(|job| (job.id().clone(), length(job))).collect(),
            rule: Rule::new(config),
            ended: BTreeMap::new(),
            stopped: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    /// Back to where nothing was measured or decided.
    pub fn forget(&mut self) {
        self.rule = Rule::new(&self.config);
        self.ended.clear();
        self.stopped.clear();
    }

    /// Whether a run is done.
    pub fn has_ended(&self, run: &RunId) -> bool {
        self.ended.contains_key(run)
    }

    /// Why a run was stopped.
    pub fn stopped(&self, run: &RunId) -> Option<&str> {
        self.stopped.get(run).map(String::as_str)
    }

    /// A run failed for good in this sweep.
    pub fn lose(&mut self, run: &RunId) {
        self.lost.insert(run.clone());
    }

    /// Takes in a fact of the log.
    pub fn apply(&mut self, run: &RunId, fact: &SearchFact) {
        if !self.runs.contains_key(run) {
            return;
        }
        match fact {
            SearchFact::Measured { evaluation, value, .. } => self.report(run, *evaluation, *value),
            SearchFact::Promoted { rung } => {
                if let Rule::Asha(asha) = &mut self.rule {
                    asha.promote(run, usize::try_from(*rung).unwrap_or(usize::MAX).min(MOST_RUNGS));
                }
            }
            SearchFact::Stopped { reason } => drop(self.stopped.insert(run.clone(), reason.clone())),
            SearchFact::Ended { state } => self.finish(run, *state),
        }
    }

    /// Whether a row says something about a run that is not known yet.
    pub fn is_news(&self, run: &RunId, row: &MetricRow) -> bool {
        let Some(evaluation) = self.evaluation(run, row) else { return false };
        match &self.rule {
            Rule::Asha(asha) => self.rung_of(evaluation).is_some_and(|rung| !asha.has_reached(run, rung)),
            Rule::Median(median) => !median.has(run, evaluation),
        }
    }

    /// Takes in a row that is news. Where the run is judged, it may be stopped.
    pub fn measure(&mut self, run: &RunId, row: &MetricRow, is_judged: bool) -> Vec<SearchFact> {
        let Some(evaluation) = self.evaluation(run, row) else { return Vec::new() };
        let value = row.value(self.config.metric.as_str()).filter(|value| value.is_finite());
        self.report(run, evaluation, value);
        let mut facts = vec![SearchFact::Measured { evaluation, step: row.step, value }];
        let worse = match &self.rule {
            Rule::Median(median) if is_judged && !self.stopped.contains_key(run) => {
                median.judge(run, evaluation)
            }
            Rule::Median(_) | Rule::Asha(_) => None,
        };
        if let Some(worse) = worse {
            let metric = self.config.metric.as_str();
            let (best, median) = (self.value(worse.best), self.value(worse.median));
            let reason = format!(
                "median: its best {metric} up to step {} is {best:.4}, the median of {} finished runs \
                 {median:.4}",
                row.step, worse.runs
            );
            self.stopped.insert(run.clone(), reason.clone());
            facts.push(SearchFact::Stopped { reason });
        }
        facts
    }

    /// A run is done.
    pub fn end(&mut self, run: &RunId, state: RunState) -> Option<SearchFact> {
        if !self.runs.contains_key(run) || self.has_ended(run) {
            return None;
        }
        self.finish(run, state);
        Some(SearchFact::Ended { state })
    }

    /// See [`super::Search::next`].
    pub fn next(&mut self, waiting: &[&RunId]) -> (Next, Facts) {
        match self.rule {
            Rule::Asha(_) => self.next_of_asha(waiting),
            Rule::Median(_) => (self.next_of_median(waiting), Vec::new()),
        }
    }

    fn next_of_median(&self, waiting: &[&RunId]) -> Next {
        let stopped = waiting.iter().enumerate();
        let stopped = stopped.filter_map(|(which, run)| Some((which, self.stopped.get(*run)?.clone())));
        let stopped: Vec<_> = stopped.collect();
        if stopped.is_empty() { Next::Start { which: 0, until: None } } else { Next::Stop(stopped) }
    }

    /// Algorithm 2 of the paper, after what is under way already. At the end, when the rungs are too small
    /// for any run to come through, the best goes on until one has finished.
    fn next_of_asha(&mut self, waiting: &[&RunId]) -> (Next, Facts) {
        let Rule::Asha(asha) = &self.rule else { return (Next::Wait, Vec::new()) };
        // Another sweep has done it, which is found out when it is to be started.
        if let Some(which) = waiting.iter().position(|run| self.ended.contains_key(*run)) {
            return (Next::Start { which, until: None }, Vec::new());
        }
        let under_way = |run: &RunId| self.runs.contains_key(run) && !asha.has_reached(run, asha.target(run));
        let promoted = waiting.iter().enumerate().filter(|(_, run)| under_way(run) && asha.target(run) > 0);
        // The first of those that came as far.
        if let Some((which, run)) = promoted.rev().max_by_key(|(_, run)| asha.target(run)) {
            return (Next::Start { which, until: self.until(run, asha.target(run)) }, Vec::new());
        }
        let places = set_of(waiting);
        let mut goes_on = asha.promotable(|run| places.contains(run));
        if goes_on.is_none() {
            let begins = |run: &&RunId| !self.runs.contains_key(*run) || under_way(run);
            if let Some(which) = waiting.iter().position(begins) {
                let until = self.until(waiting[which], 0);
                return (Next::Start { which, until }, Vec::new());
            }
            if self.is_under_way() {
                return (Next::Wait, Vec::new());
            }
            goes_on = self.left_to_finish(asha);
        }
        let Some((run, rung)) = goes_on else {
            let reasons = waiting.iter().enumerate().map(|(which, run)| (which, self.reason(asha, run)));
            return (Next::Stop(reasons.collect()), Vec::new());
        };
        let Some(which) = waiting.iter().position(|waiting| **waiting == run) else {
            return (Next::Wait, Vec::new());
        };
        let until = self.until(&run, rung + 1);
        if let Rule::Asha(asha) = &mut self.rule {
            asha.promote(&run, rung);
        }
        (Next::Start { which, until }, vec![(run, SearchFact::Promoted { rung: rung as u64 })])
    }

    /// Whether none of these runs will be trained any further.
    pub fn is_over(&self, waiting: &[&RunId]) -> bool {
        match &self.rule {
            Rule::Median(_) => waiting.iter().all(|run| self.stopped.contains_key(*run)),
            Rule::Asha(asha) => {
                waiting.iter().all(|run| self.runs.contains_key(*run))
                    && !self.is_under_way()
                    && asha.promotable(|run| self.is_free(run)).is_none()
                    && self.left_to_finish(asha).is_none()
            }
        }
    }

    /// Whether any run is still on its way to its rung, here or in another sweep.
    fn is_under_way(&self) -> bool {
        let Rule::Asha(asha) = &self.rule else { return false };
        self.runs.keys().any(|run| self.is_free(run) && !asha.has_reached(run, asha.target(run)))
    }

    /// The best run of a search that would end without a finished one.
    fn left_to_finish(&self, asha: &Asha) -> Option<(RunId, usize)> {
        let has_finished = self.ended.values().any(|state| *state == RunState::Finished);
        if has_finished { None } else { asha.best_left(|run| self.is_free(run)) }
    }

    fn is_free(&self, run: &RunId) -> bool {
        !self.ended.contains_key(run) && !self.lost.contains(run)
    }

    fn reason(&self, asha: &Asha, run: &RunId) -> String {
        let Some(standing) = asha.standing(run) else { return "asha: it was not measured".to_owned() };
        let metric = self.config.metric.as_str();
        let step = self.until(run, standing.rung).unwrap_or_default();
        let value = self.value(standing.cost);
        format!(
            "asha: {metric} {value:.4} at step {step} is not among the best {} of {}",
            standing.best, standing.of
        )
    }

    fn report(&mut self, run: &RunId, evaluation: u64, value: Option<f64>) {
        let cost = match (value, self.config.metric.metric().better) {
            (None, _) => f64::INFINITY,
            (Some(value), Better::Lower) => value,
            (Some(value), Better::Higher) => -value,
        };
        let rung = self.rung_of(evaluation);
        match (&mut self.rule, rung) {
            (Rule::Asha(asha), Some(rung)) => asha.report(run, rung, cost),
            (Rule::Asha(_), None) => {}
            (Rule::Median(median), _) => median.report(run, evaluation, cost),
        }
    }

    fn finish(&mut self, run: &RunId, state: RunState) {
        self.ended.insert(run.clone(), state);
        self.stopped.remove(run);
        match &mut self.rule {
            // It counts as the worst of the rung that it did not come to.
            Rule::Asha(asha) if state == RunState::Diverged => {
                let target = asha.target(run);
                if !asha.has_reached(run, target) {
                    asha.report(run, target, f64::INFINITY);
                }
            }
            Rule::Median(median) if state == RunState::Finished => median.finish(run),
            Rule::Asha(_) | Rule::Median(_) => {}
        }
    }

    /// A cost in the metric's own direction.
    fn value(&self, cost: f64) -> f64 {
        match self.config.metric.metric().better {
            Better::Lower => cost,
            Better::Higher => -cost,
        }
    }

    /// The number of an evaluation, from 1; none for the one at the end, which comes too late to stop
    /// anything.
    fn evaluation(&self, run: &RunId, row: &MetricRow) -> Option<u64> {
        let length = self.runs.get(run)?;
        let is_regular = row.step > 0 && row.step.is_multiple_of(length.every) && row.step < length.total;
        is_regular.then(|| row.step / length.every)
    }

    /// The evaluation of a rung: the first, and `eta` times as many from one to the next.
    fn evaluation_of(&self, rung: usize) -> Option<u64> {
        let factor = self.config.eta.max(2).checked_pow(u32::try_from(rung).ok()?)?;
        self.config.min_evaluations.max(1).checked_mul(factor)
    }

    /// The rung that an evaluation is.
    fn rung_of(&self, evaluation: u64) -> Option<usize> {
        (0..MOST_RUNGS)
            .map_while(|rung| self.evaluation_of(rung).filter(|&at| at <= evaluation))
            .position(|at| at == evaluation)
    }

    /// The step of a rung in a run; none where the run ends before.
    fn until(&self, run: &RunId, rung: usize) -> Option<u64> {
        let length = self.runs.get(run)?;
        let step = self.evaluation_of(rung)?.checked_mul(length.every)?;
        (step < length.total).then_some(step)
    }
}

/// Doubling so often, no number of steps is left.
const MOST_RUNGS: usize = 64;

/// The waiting runs, to look them up.
fn set_of<'r>(waiting: &[&'r RunId]) -> HashSet<&'r RunId> {
    waiting.iter().copied().collect()
}
