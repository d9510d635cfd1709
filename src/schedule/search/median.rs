//! The median stopping rule: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017,
//! section 3.2.2.
//!
//! A run is stopped at an evaluation if the best it has reached so far is strictly worse than the median of
//! what the finished runs came to on average up to the same evaluation.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::RunId;

/// What the runs came to, evaluation by evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Median {
    min_evaluations: u64,
    min_runs: usize,
    /// What is to be small, by the number of the evaluation, from 1.
    costs: BTreeMap<RunId, BTreeMap<u64, f64>>,
    finished: BTreeSet<RunId>,
}

/// Why a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worse {
    /// The best cost that it reached.
    pub best: f64,
    /// The median of the average costs of the others.
    pub median: f64,
    /// How many others there were.
    pub runs: usize,
}

impl Median {
    /// No run is stopped before its evaluation number `min_evaluations`, nor before `min_runs` are finished.
    pub fn new(min_evaluations: u64, min_runs: usize) -> Self {
        Self { min_evaluations, min_runs: min_runs.max(1), costs: BTreeMap::new(), finished: BTreeSet::new() }
    }

    /// Takes in how a run did.
    pub fn report(&mut self, run: &RunId, evaluation: u64, cost: f64) {
        let cost = if cost.is_nan() { f64::INFINITY } else { cost };
        self.costs.entry(run.clone()).or_default().insert(evaluation, cost);
    }

    /// Whether the run was measured at this evaluation.
    pub fn has(&self, run: &RunId, evaluation: u64) -> bool {
        self.costs.get(run).is_some_and(|costs| costs.contains_key(&evaluation))
    }

    /// From now on others are held against this run.
    pub fn finish(&mut self, run: &RunId) {
        self.finished.insert(run.clone());
    }

    /// Whether a run is to be stopped at an evaluation that was reported.
    pub fn judge(&self, run: &RunId, evaluation: u64) -> Option<Worse> {
        if evaluation < self.min_evaluations || self.finished.contains(run) {
            return None;
        }
        let costs = self.costs.get(run)?;
        let best = costs.range(..=evaluation).map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
        let mut averages: Vec<f64> =
            self.finished.iter().filter_map(|other| self.average(other, evaluation)).collect();
        if averages.len() < self.min_runs {
            return None;
        }
        let median = median(&mut averages);
        (best > median).then_some(Worse { best, median, runs: averages.len() })
    }

    /// The mean cost of a run up to an evaluation, if it came that far.
    fn average(&self, run: &RunId, evaluation: u64) -> Option<f64> {
        let costs = self.costs.get(run).filter(|costs| costs.contains_key(&evaluation))?;
        let until: Vec<f64> = costs.range(..=evaluation).map(|(_, cost)| *cost).collect();
        Some(until.iter().sum::<f64>() / until.len() as f64)
    }
}

/// The middle value, or the mean of the two in the middle; there must be one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RunId {
        RunId(name.to_owned())
    }

    /// Three finished runs whose averages are 4, 5, 6 after one evaluation, and 3, 4, 7 after two.
    fn three(min_evaluations: u64, min_runs: usize) -> Median {
        let mut rule = Median::new(min_evaluations, min_runs);
        for (run, costs) in [("a", [4.0, 2.0]), ("b", [5.0, 3.0]), ("c", [6.0, 8.0])] {
            for (index, cost) in costs.into_iter().enumerate() {
                rule.report(&id(run), index as u64 + 1, cost);
            }
            rule.finish(&id(run));
        }
        rule
    }

    #[test]
    fn the_best_so_far_is_held_against_the_median_of_averages() {
        let mut rule = three(1, 3);
        rule.report(&id("x"), 1, 5.0);
        assert_eq!(rule.judge(&id("x"), 1), None, "equal is not worse");
        rule.report(&id("x"), 2, 9.0);
        assert_eq!(rule.judge(&id("x"), 2), Some(Worse { best: 5.0, median: 4.0, runs: 3 }));
        rule.report(&id("y"), 1, 3.5);
        rule.report(&id("y"), 2, 9.0);
        assert_eq!(rule.judge(&id("y"), 2), None, "its best was good enough");
    }

    #[test]
    fn nothing_is_stopped_before_its_time_or_against_too_few() {
        let mut early = three(2, 3);
        early.report(&id("x"), 1, 100.0);
        assert_eq!(early.judge(&id("x"), 1), None);
        early.report(&id("x"), 2, 100.0);
        assert!(early.judge(&id("x"), 2).is_some());
        let mut few = three(1, 4);
        few.report(&id("x"), 1, 100.0);
        assert_eq!(few.judge(&id("x"), 1), None);
        few.report(&id("d"), 1, 1.0);
        few.finish(&id("d"));
        assert_eq!(few.judge(&id("x"), 1), Some(Worse { best: 100.0, median: 4.5, runs: 4 }));
    }

    #[test]
    fn only_runs_that_came_as_far_count() {
        let mut rule = three(1, 3);
        rule.report(&id("x"), 1, 4.5);
        rule.report(&id("x"), 2, 100.0);
        rule.report(&id("x"), 3, 100.0);
        assert!(rule.judge(&id("x"), 2).is_some());
        assert_eq!(rule.judge(&id("x"), 3), None, "no finished run has a third evaluation");
    }

    #[test]
    fn a_figure_that_is_no_number_is_the_worst() {
        let mut rule = three(1, 3);
        rule.report(&id("x"), 1, f64::NAN);
        assert_eq!(rule.judge(&id("x"), 1).unwrap().best, f64::INFINITY);
        assert_eq!(rule.judge(&id("a"), 1), None, "a finished run is not judged");
    }
}
