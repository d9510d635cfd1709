//! Asynchronous successive halving: Li et al., "A System for Massively Parallel Hyperparameter Tuning",
//! arXiv 1810.05934, Algorithm 2.
//!
//! Runs train to rungs, `eta` times as far from one to the next. Whenever a worker is free, the best run that
//! is among the top `1/eta` of its rung and has not gone on yet goes on; the highest rung is looked at first,
//! and where no run may go on, a new one begins. Nothing ever waits for a rung to be complete.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::RunId;

/// The rungs: which runs came to each, how they did there, and which went on.
#[derive(Debug, Clone, PartialEq)]
pub struct Asha {
    eta: u64,
    rungs: Vec<Rung>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Rung {
    /// What is to be small, infinite for a run that diverged on its way here.
    costs: BTreeMap<RunId, f64>,
    promoted: BTreeSet<RunId>,
}

impl Rung {
    /// The runs, the best first; equals by their names, so that every order of arrival gives the same.
    fn ranking(&self) -> Vec<(&RunId, f64)> {
        let mut ranking: Vec<_> = self.costs.iter().map(|(run, cost)| (run, *cost)).collect();
        ranking.sort_by(|a, b| a.1.total_cmp(&b.1));
        ranking
    }
}

/// How a run stands in the highest rung that it came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The rung, from 0.
    pub rung: usize,
    /// Its cost there.
    pub cost: f64,
    /// How many go on from there.
    pub best: usize,
    /// How many came there.
    pub of: usize,
}

impl Asha {
    /// Empty rungs. `eta`, the reduction factor, is at least 2.
    pub fn new(eta: u64) -> Self {
        Self { eta: eta.max(2), rungs: Vec::new() }
    }

    /// Takes in how a run did at a rung. A run that came this far went on from the rungs below.
    pub fn report(&mut self, run: &RunId, rung: usize, cost: f64) {
        let cost = if cost.is_nan() { f64::INFINITY } else { cost };
        for below in 0..rung {
            self.promote(run, below);
        }
        self.rung_mut(rung).costs.insert(run.clone(), cost);
    }

    /// Lets a run go on from a rung.
    pub fn promote(&mut self, run: &RunId, rung: usize) {
        self.rung_mut(rung).promoted.insert(run.clone());
    }

    /// The rung that a run is on its way to, or rests at.
    pub fn target(&self, run: &RunId) -> usize {
        self.rungs.iter().rposition(|rung| rung.promoted.contains(run)).map_or(0, |rung| rung + 1)
    }

    /// Whether a run came to a rung.
    pub fn has_reached(&self, run: &RunId, rung: usize) -> bool {
        self.rungs.get(rung).is_some_and(|rung| rung.costs.contains_key(run))
    }

    /// The run that goes on next, and the rung that it goes on from: in the highest rung that has one, the
    /// best of the top `1/eta` that has not gone on. Runs that are not `free` keep their place.
    pub fn promotable(&self, is_free: impl Fn(&RunId) -> bool) -> Option<(RunId, usize)> {
        self.rungs.iter().enumerate().rev().find_map(|(index, rung)| {
            let best = self.quota(rung);
            self.first_left(rung, best, &is_free).map(|run| (run, index))
        })
    }

    /// The best run of the highest rung where one is left, whether or not it is among the top `1/eta`: for
    /// the end of a search whose rungs were too small for any run to come through.
    pub fn best_left(&self, is_free: impl Fn(&RunId) -> bool) -> Option<(RunId, usize)> {
        self.rungs
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, rung)| self.first_left(rung, usize::MAX, &is_free).map(|run| (run, index)))
    }

    /// How a run stands; none before its first rung.
    pub fn standing(&self, run: &RunId) -> Option<Standing> {
        let (index, rung) =
            self.rungs.iter().enumerate().rev().find(|(_, rung)| rung.costs.contains_key(run))?;
        let cost = *rung.costs.get(run)?;
        Some(Standing { rung: index, cost, best: self.quota(rung).max(1), of: rung.costs.len() })
    }

    fn quota(&self, rung: &Rung) -> usize {
        rung.costs.len() / usize::try_from(self.eta).unwrap_or(usize::MAX)
    }

    fn first_left(&self, rung: &Rung, best: usize, is_free: impl Fn(&RunId) -> bool) -> Option<RunId> {
        let left =
            |(run, cost): &(&RunId, f64)| cost.is_finite() && !rung.promoted.contains(*run) && is_free(run);
        rung.ranking().into_iter().take(best).find(left).map(|(run, _)| run.clone())
    }

    fn rung_mut(&mut self, rung: usize) -> &mut Rung {
        if self.rungs.len() <= rung {
            self.rungs.resize(rung + 1, Rung::default());
        }
        &mut self.rungs[rung]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RunId {
        RunId(name.to_owned())
    }

    fn any(_: &RunId) -> bool {
        true
    }

    fn next(asha: &Asha) -> Option<(String, usize)> {
        asha.promotable(any).map(|(run, rung)| (run.0, rung))
    }

    #[test]
    fn a_third_of_a_rung_goes_on_as_soon_as_it_is_a_third() {
        let mut asha = Asha::new(3);
        asha.report(&id("a"), 0, 3.0);
        asha.report(&id("b"), 0, 1.0);
        assert_eq!(next(&asha), None, "a third of two is none");
        asha.report(&id("c"), 0, 2.0);
        assert_eq!(next(&asha), Some(("b".to_owned(), 0)));
        asha.promote(&id("b"), 0);
        assert_eq!(next(&asha), None);
        assert_eq!((asha.target(&id("b")), asha.target(&id("a"))), (1, 0));
        asha.report(&id("d"), 0, 0.5);
        assert_eq!(next(&asha), Some(("d".to_owned(), 0)), "d is the best of four, and b is gone already");
        asha.promote(&id("d"), 0);
        asha.report(&id("e"), 0, 9.0);
        asha.report(&id("f"), 0, 8.0);
        assert_eq!(next(&asha), None, "the best two of six are gone");
        asha.report(&id("g"), 0, 1.5);
        asha.report(&id("h"), 0, 7.0);
        asha.report(&id("i"), 0, 6.0);
        assert_eq!(next(&asha), Some(("g".to_owned(), 0)), "the third of nine");
    }

    #[test]
    fn the_highest_rung_is_looked_at_first() {
        let mut asha = Asha::new(2);
        for (run, cost) in [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)] {
            asha.report(&id(run), 0, cost);
        }
        asha.promote(&id("a"), 0);
        asha.promote(&id("b"), 0);
        asha.report(&id("a"), 1, 0.7);
        asha.report(&id("b"), 1, 0.6);
        asha.report(&id("e"), 0, 0.1);
        assert_eq!(next(&asha), Some(("b".to_owned(), 1)));
        asha.promote(&id("b"), 1);
        assert_eq!(next(&asha), Some(("e".to_owned(), 0)), "two of five: e and a");
    }

    #[test]
    fn a_run_that_is_not_free_keeps_its_place() {
        let mut asha = Asha::new(2);
        for (run, cost) in [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)] {
            asha.report(&id(run), 0, cost);
        }
        assert_eq!(asha.promotable(|run| run.0 != "a"), Some((id("b"), 0)));
        assert_eq!(asha.promotable(|run| !["a", "b"].contains(&&*run.0)), None, "c is not of the best two");
    }

    #[test]
    fn what_diverged_counts_and_never_goes_on() {
        let mut asha = Asha::new(3);
        asha.report(&id("a"), 0, f64::NAN);
        asha.report(&id("b"), 0, f64::INFINITY);
        asha.report(&id("c"), 0, 5.0);
        assert_eq!(next(&asha), Some(("c".to_owned(), 0)));
        asha.promote(&id("c"), 0);
        assert_eq!(asha.best_left(any), None);
    }

    #[test]
    fn equals_are_ranked_the_same_in_every_order_of_arrival() {
        let mut orders = Vec::new();
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
            let mut asha = Asha::new(3);
            order.iter().for_each(|run| asha.report(&id(run), 0, 1.0));
            orders.push(next(&asha));
        }
        assert!(orders.iter().all(|found| *found == Some(("a".to_owned(), 0))), "{orders:?}");
    }

    #[test]
    fn a_run_that_was_trained_further_went_on_from_below() {
        let mut asha = Asha::new(3);
        asha.report(&id("a"), 2, 1.0);
        assert_eq!(asha.target(&id("a")), 2);
        assert!(asha.has_reached(&id("a"), 2) && !asha.has_reached(&id("a"), 1));
        assert_eq!(asha.standing(&id("a")), Some(Standing { rung: 2, cost: 1.0, best: 1, of: 1 }));
        assert_eq!(asha.best_left(any), Some((id("a"), 2)));
    }
}
