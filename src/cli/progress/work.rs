//! How much of a sweep is done, and how long the rest will take.

use std::collections::HashMap;
use std::time::Instant;

use crate::cli::text;
use crate::schedule::Job;
use crate::store::RunId;

/// The work of a sweep: what is done and what is left, in operations, so that a long run counts
/// for more than a short one.
#[derive(Debug, Default)]
pub(super) struct Work {
    total: f64,
    ended: f64,
    /// Work and fraction done of each slot's job.
    running: HashMap<usize, (f64, f64)>,
    /// Work and fraction done of each run that is paused.
    paused: HashMap<RunId, (f64, f64)>,
    /// Work that checkpoints, or other processes, spared this sweep.
    spared: f64,
    began: Option<Instant>,
}

impl Work {
    pub(super) fn begin(&mut self, jobs: &[Job]) {
        self.total = jobs.iter().map(|job| job.estimate.flops).sum();
        self.began = Some(Instant::now());
    }

    pub(super) fn fraction(&self) -> f64 {
        let begun = self.running.values().chain(self.paused.values());
        let running: f64 = begun.map(|(work, fraction)| work * fraction).sum();
        if self.total > 0.0 { ((self.ended + running) / self.total).min(1.0) } else { 0.0 }
    }

    /// Seconds left at the speed so far; none until there is something to go by.
    fn seconds_left(&self) -> Option<f64> {
        let fraction = self.fraction();
        let here = fraction - self.spared / self.total.max(1.0);
        let elapsed = self.began?.elapsed().as_secs_f64();
        (here > 0.01).then(|| elapsed * (1.0 - fraction) / here)
    }

    pub(super) fn step(&mut self, job: &Job, slot: usize, step: u64) {
        self.paused.remove(job.id());
        let fraction = step as f64 / job.estimate.steps.max(1) as f64;
        self.running.insert(slot, (job.estimate.flops, fraction.min(1.0)));
    }

    pub(super) fn resume(&mut self, job: &Job, slot: usize, step: u64) {
        let is_ours = self.paused.contains_key(job.id());
        self.step(job, slot, step);
        if is_ours {
            return;
        }
        self.spared += self.running.get(&slot).map_or(0.0, |(work, fraction)| work * fraction);
    }

    /// What a slot's job had done is lost.
    pub(super) fn lose(&mut self, slot: usize) {
        self.running.remove(&slot);
    }

    /// A slot's job goes on later, from where it is.
    pub(super) fn pause(&mut self, job: &Job, slot: usize) {
        if let Some(done) = self.running.remove(&slot) {
            self.paused.insert(job.id().clone(), done);
        }
    }

    pub(super) fn end(&mut self, job: &Job, slot: Option<usize>) {
        self.paused.remove(job.id());
        match slot {
            Some(slot) => _ = self.running.remove(&slot),
            None => self.spared += job.estimate.flops,
        }
        self.ended += job.estimate.flops;
    }

    pub(super) fn left(&self) -> String {
        self.seconds_left().map_or(String::new(), |s| format!(", {} left", text::duration(s)))
    }
}
