//! Early stopping of bad runs: which run goes on next, until which step, and which is given up.
//!
//! [`Asha`] and [`Median`] are the rules, pure and without a clock. [`Search`] feeds one of them from the
//! held-out figures of the runs, and keeps every fact and decision in the store before anything is done
//! about it: a search that is begun again has the state that it had, and sweeps side by side share one.

mod asha;
mod candidates;
mod median;
mod settle;

pub use asha::{Asha, Standing};
pub use candidates::Next;
pub use median::{Median, Worse};
pub(super) use settle::record_stop;

use self::candidates::Candidates;
use super::job::Job;
use super::plan::Plan;
use crate::spec::{Pruner, SearchConfig};
use crate::store::{
    FORMAT_VERSION, MetricRow, RunDir, RunId, RunState, SearchFact, SearchLine, SearchLog, Split, Store,
    StoreError,
};

/// A search: the state of its rule, and the log that it is kept in.
#[derive(Debug)]
pub struct Search {
    log: SearchLog,
    /// How much of the log is in `candidates`.
    offset: u64,
    /// Digest of the settings that decide.
    id: String,
    candidates: Candidates,
}

impl Search {
    /// The search of a plan, with all that was measured and decided so far; none where nothing is stopped
    /// early.
    ///
    /// # Errors
    /// Where the log cannot be read or written.
    pub fn open(config: &SearchConfig, plan: &Plan, store: &Store) -> Result<Option<Self>, StoreError> {
        if config.pruner == Pruner::None {
            return Ok(None);
        }
        let mut search = Self {
            log: store.search_log(&plan.experiment.name),
            offset: 0,
            id: settings_id(config),
            candidates: Candidates::new(config, plan.points()),
        };
        // What was measured while nobody listened: in runs of other experiments, or just before a crash.
        let begun: Vec<&Job> = plan.points().filter(|job| job.state != RunState::Planned).collect();
        search.with_log(|candidates| {
            let mut facts = Vec::new();
            for job in begun {
                if !candidates.has_ended(job.id()) {
                    // What cannot be read is measured again.
                    let rows = job.dir(store).metrics().unwrap_or_default();
                    facts.extend(measured(candidates, job.id(), &rows, job.state));
                }
            }
            ((), facts)
        })?;
        Ok(Some(search))
    }

    /// What is to be done with a free slot, of the runs that could be started now, in the order in which
    /// they would be.
    pub fn next(&mut self, waiting: &[&RunId]) -> Result<Next, StoreError> {
        if waiting.is_empty() {
            return Ok(Next::Wait);
        }
        self.with_log(|candidates| candidates.next(waiting))
    }

    /// Takes in a row that a run measured. Returns why the run is to be stopped, if it is.
    pub fn observe(&mut self, run: &RunId, row: &MetricRow) -> Result<Option<String>, StoreError> {
        if row.split != Split::Validation || !self.candidates.is_news(run, row) {
            return Ok(None);
        }
        self.with_log(|candidates| {
            let facts = candidates.measure(run, row, true);
            let reason = candidates.stopped(run).map(str::to_owned);
            (reason, facts.into_iter().map(|fact| (run.clone(), fact)).collect())
        })
    }

    /// A worker left a run in a state. What it measured is in its directory, even if nobody heard of it.
    pub fn left(&mut self, run: &RunId, state: RunState, dir: &RunDir) -> Result<(), StoreError> {
        if state == RunState::Failed {
            self.candidates.lose(run);
            return Ok(());
        }
        let rows = dir.metrics().unwrap_or_default();
        self.with_log(|candidates| ((), measured(candidates, run, &rows, state)))
    }

    /// Whether none of these runs will be trained any further.
    pub fn is_over(&mut self, waiting: &[&RunId]) -> Result<bool, StoreError> {
        self.with_log(|candidates| (candidates.is_over(waiting), Vec::new()))
    }

    /// Brings the state up to date, lets something be decided, and keeps it; all in the hands of one
    /// process.
    fn with_log<T>(
        &mut self,
        decide: impl FnOnce(&mut Candidates) -> (T, Vec<(RunId, SearchFact)>),
    ) -> Result<T, StoreError> {
        let mut open = self.log.lock()?;
        let (lines, end) = match open.read_from(self.offset)? {
            Some(news) => news,
            None => {
                // The log was removed: nothing is decided any more.
                self.candidates.forget();
                open.read_from(0)?.unwrap_or_default()
            }
        };
        self.offset = end;
        for line in lines.into_iter().filter(|line| line.search == self.id) {
            self.candidates.apply(&line.run, &line.fact);
        }
        let (result, facts) = decide(&mut self.candidates);
        if !facts.is_empty() {
            let line = |(run, fact)| SearchLine {
                format_version: FORMAT_VERSION,
                search: self.id.clone(),
                run,
                fact,
            };
            let lines: Vec<SearchLine> = facts.into_iter().map(line).collect();
            self.offset = open.append(&lines)?;
        }
        Ok(result)
    }
}

/// What the rows of a run add, and its end.
fn measured(
    candidates: &mut Candidates,
    run: &RunId,
    rows: &[MetricRow],
    state: RunState,
) -> Vec<(RunId, SearchFact)> {
    let mut facts = Vec::new();
    // A run that is done was good enough; no other is judged twice.
    let is_judged = !state.is_done();
    for row in rows.iter().filter(|row| row.split == Split::Validation) {
        if candidates.is_news(run, row) {
            facts.extend(candidates.measure(run, row, is_judged));
        }
    }
    if state.is_done() {
        facts.extend(candidates.end(run, state));
    }
    facts.into_iter().map(|fact| (run.clone(), fact)).collect()
}

/// Digest of the settings that decide which run goes on. How many points are drawn is none of them, so that a
/// search can grow.
fn settings_id(config: &SearchConfig) -> String {
    let SearchConfig { pruner, metric, min_evaluations, eta, min_runs, samples: _, seed: _ } = config;
    let own = match pruner {
        Pruner::Median => *min_runs as u64,
        Pruner::None | Pruner::Asha => *eta,
    };
    let text = format!("{} {} {min_evaluations} {own}", pruner.as_str(), metric.as_str());
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
