//! Bars on a terminal: one for the sweep, one a worker.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::words::{
    LastEvaluations, STOPPING, describe_done_before, describe_elsewhere, describe_ending, describe_preparing,
    describe_retry, describe_step,
};
use super::work::Work;
use crate::schedule::{Event, Job, Watcher};
use crate::store::{RunState, Split};

pub(super) struct Bars {
    name: String,
    done_before: usize,
    multi: MultiProgress,
    sweep: ProgressBar,
    slots: HashMap<usize, ProgressBar>,
    places: HashMap<usize, String>,
    work: Work,
    done: usize,
    total: usize,
    evaluations: LastEvaluations,
}

/// Rows on the terminal.
const MOST_ROWS: usize = 16;

/// Parts of the sweep's bar, whose position is a fraction.
const SWEEP_PARTS: u64 = 1000;

impl Bars {
    pub(super) fn new(name: &str, done_before: usize) -> Self {
        let multi = MultiProgress::new();
        let sweep = multi.add(ProgressBar::new(SWEEP_PARTS));
        sweep.set_style(style("{prefix:.bold} {bar:24.green/dim} {msg}"));
        sweep.set_prefix(name.to_owned());
        Self {
            name: name.to_owned(),
            done_before,
            multi,
            sweep,
            slots: HashMap::new(),
            places: HashMap::new(),
            work: Work::default(),
            done: 0,
            total: 0,
            evaluations: HashMap::new(),
        }
    }

    fn refresh(&self) {
        self.sweep.set_position((self.work.fraction() * SWEEP_PARTS as f64) as u64);
        self.sweep.set_message(format!("{}/{} done{}", self.done, self.total, self.work.left()));
    }

    /// The row of a slot, made when it is first needed; the slots of a large cluster share the last one.
    fn bar(&mut self, slot: usize) -> ProgressBar {
        let row = slot.min(MOST_ROWS - 1);
        let multi = &self.multi;
        let make = || {
            let bar = multi.add(ProgressBar::new(1));
            bar.set_style(style("  {bar:16.cyan/dim} {msg}"));
            bar
        };
        self.slots.entry(row).or_insert_with(make).clone()
    }

    /// Nothing runs in a slot.
    fn rest(&mut self, slot: usize) {
        let bar = self.bar(slot);
        bar.set_position(0);
        bar.set_message("idle");
    }

    fn say(&self, line: &str) {
        // A terminal that went away is no reason to stop a sweep.
        let _ = self.multi.println(line);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

impl Watcher for Bars {
    fn begin(&mut self, jobs: &[Job], slots: usize) {
        self.total = jobs.len();
        self.work.begin(jobs);
        if self.done_before > 0 {
            self.say(&describe_done_before(&self.name, self.done_before));
        }
        (0..slots.min(MOST_ROWS)).for_each(|slot| _ = self.bar(slot));
        self.refresh();
        self.sweep.enable_steady_tick(Duration::from_secs(1));
    }

    fn started(&mut self, job: &Job, slot: usize, place: &str) {
        self.places.insert(slot, place.to_owned());
        let bar = self.bar(slot);
        bar.set_length(job.estimate.steps);
        bar.set_position(0);
        bar.set_message(format!("{}  preparing on {place}", job.label()));
    }

    fn event(&mut self, job: &Job, slot: usize, event: &Event) {
        let bar = self.bar(slot);
        match event {
            Event::Preparing { what, done, total } => {
                bar.set_message(format!("{}  {}", job.label(), describe_preparing(what, *done, *total)));
            }
            Event::Waiting { what } => bar.set_message(format!("{}  waiting for {what}", job.label())),
            Event::Started { total_steps, .. } => bar.set_length(*total_steps),
            Event::Resumed { step } => {
                self.work.resume(job, slot, *step);
                bar.set_position(*step);
                bar.set_message(format!("{}  resumed at step {step}", job.label()));
            }
            Event::Restarted { reason } => {
                self.say(&format!("{}  {}  begins again: {reason}", job.id(), job.label()));
            }
            Event::Metric { row, .. } if row.split == Split::Validation => {
                self.evaluations.insert(slot, row.clone());
            }
            Event::Metric { row, tokens_per_second } => {
                bar.set_position(row.step);
                let total = bar.length().unwrap_or(0);
                let place = self.places.get(&slot).map_or("", String::as_str);
                let line = describe_step(row, total, *tokens_per_second);
                bar.set_message(format!("{}  {line}  on {place}", job.label()));
                self.work.step(job, slot, row.step);
                self.refresh();
            }
            Event::Checkpoint { .. } | Event::Alive | Event::Locked | Event::Ended { .. } => {}
        }
    }

    fn elsewhere(&mut self, job: &Job) {
        self.say(&describe_elsewhere(job));
    }

    fn retried(&mut self, job: &Job, slot: Option<usize>, reason: &str) {
        if let Some(slot) = slot {
            self.work.lose(slot);
            self.rest(slot);
        }
        self.say(&describe_retry(job, reason));
    }

    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>) {
        self.work.end(job, slot);
        self.done += 1;
        let last = slot.and_then(|slot| self.evaluations.remove(&slot));
        self.say(&describe_ending(job, state, reason, last.as_ref()));
        slot.inspect(|&slot| self.rest(slot));
        self.refresh();
    }

    fn paused(&mut self, job: &Job, slot: usize) {
        self.work.pause(job, slot);
        self.evaluations.remove(&slot);
        self.rest(slot);
    }

    fn notice(&mut self, text: &str) {
        self.say(&format!("            {text}"));
    }

    fn stopping(&mut self) {
        self.say(STOPPING);
    }

    fn end(&mut self) {
        let _ = self.multi.clear();
    }
}
