//! A sweep as people watch it: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::text;
use crate::schedule::{Event, Job, Watcher};
use crate::store::{MetricRow, RunRole, RunState, Split};

/// Seconds between two plain lines of one run.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Bars where standard error is a terminal, else lines.
pub fn watcher(name: &str, done_before: usize) -> Box<dyn Watcher> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new(name, done_before))
    } else {
        Box::new(Lines::new(name, done_before))
    }
}

/// The work of a sweep: what is done and what is left, in operations, so that a long run counts
/// for more than a short one.
#[derive(Debug, Default)]
struct Work {
    total: f64,
    ended: f64,
    /// Work and fraction done of each slot's job.
    running: HashMap<usize, (f64, f64)>,
    /// Work that checkpoints spared this sweep.
    spared: f64,
    began: Option<Instant>,
}

impl Work {
    fn begin(&mut self, jobs: &[Job]) {
        self.total = jobs.iter().map(|job| job.estimate.flops).sum();
        self.began = Some(Instant::now());
    }

    fn fraction(&self) -> f64 {
        let running: f64 = self.running.values().map(|(work, fraction)| work * fraction).sum();
        if self.total > 0.0 { ((self.ended + running) / self.total).min(1.0) } else { 0.0 }
    }

    /// Seconds left at the speed so far; none until there is something to go by.
    fn seconds_left(&self) -> Option<f64> {
        let fraction = self.fraction();
        let here = fraction - self.spared / self.total.max(1.0);
        let elapsed = self.began?.elapsed().as_secs_f64();
        (here > 0.01).then(|| elapsed * (1.0 - fraction) / here)
    }

    fn step(&mut self, job: &Job, slot: usize, step: u64) {
        let fraction = step as f64 / job.estimate.steps.max(1) as f64;
        self.running.insert(slot, (job.estimate.flops, fraction.min(1.0)));
    }

    fn resume(&mut self, job: &Job, slot: usize, step: u64) {
        self.step(job, slot, step);
        self.spared += self.running.get(&slot).map_or(0.0, |(work, fraction)| work * fraction);
    }

    fn end(&mut self, job: &Job, slot: Option<usize>) {
        slot.map(|slot| self.running.remove(&slot));
        self.ended += job.estimate.flops;
    }

    fn left(&self) -> String {
        self.seconds_left().map_or(String::new(), |s| format!(", {} left", text::duration(s)))
    }
}

/// One line about how a run ended.
fn ending(job: &Job, state: RunState, reason: Option<&str>, last: Option<&MetricRow>) -> String {
    let mut line = format!("{:<11} {}  {}", state.as_str(), job.id(), job.label());
    if let Some(row) = last {
        line += &format!("  hard loss {:.4}", row.hard_loss);
        if let Some(agreement) = row.agreement {
            line += &format!(", agreement {:.1} %", 100.0 * agreement);
        }
    }
    if let Some(reason) = reason {
        line += &format!("  {reason}");
    }
    line
}

fn step_line(row: &MetricRow, total: u64, tokens_per_second: f64) -> String {
    format!("step {}/{total}, loss {:.4}, {tokens_per_second:.0} tokens/s", row.step, row.loss)
}

fn preparing_line(what: &str, done: u64, total: u64) -> String {
    format!("preparing {what}, {:.0} %", 100.0 * done as f64 / total.max(1) as f64)
}

/// The newest held-out row of each slot's run.
type LastEvaluations = HashMap<usize, MetricRow>;

struct Lines {
    name: String,
    done_before: usize,
    done: usize,
    total: usize,
    work: Work,
    totals: HashMap<usize, u64>,
    last_line: HashMap<usize, Instant>,
    evaluations: LastEvaluations,
}

impl Lines {
    fn new(name: &str, done_before: usize) -> Self {
        Self {
            name: name.to_owned(),
            done_before,
            done: 0,
            total: 0,
            work: Work::default(),
            totals: HashMap::new(),
            last_line: HashMap::new(),
            evaluations: HashMap::new(),
        }
    }

    /// Whether it is time for another line about a slot's run; says yes once.
    fn is_due(&mut self, slot: usize) -> bool {
        let is_due = self.last_line.get(&slot).is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if is_due {
            self.last_line.insert(slot, Instant::now());
        }
        is_due
    }
}

impl Watcher for Lines {
    fn begin(&mut self, jobs: &[Job], slots: usize) {
        self.total = jobs.len();
        self.work.begin(jobs);
        let teachers = jobs.iter().filter(|j| j.record.role == RunRole::Teacher).count();
        eprintln!(
            "{}: {} and {} to train, {} at once; {} done before",
            self.name,
            text::plural(teachers, "teacher"),
            text::plural(jobs.len() - teachers, "run"),
            slots,
            self.done_before,
        );
    }

    fn started(&mut self, job: &Job, slot: usize, threads: usize) {
        self.last_line.insert(slot, Instant::now());
        eprintln!("started     {}  {}  on {}", job.id(), job.label(), text::plural(threads, "thread"));
    }

    fn event(&mut self, job: &Job, slot: usize, event: &Event) {
        match event {
            Event::Preparing { what, done, total } => {
                if self.is_due(slot) {
                    eprintln!("            {}  {}", job.id(), preparing_line(what, *done, *total));
                }
            }
            Event::Started { total_steps, .. } => {
                self.totals.insert(slot, *total_steps);
            }
            Event::Resumed { step } => {
                self.work.resume(job, slot, *step);
                eprintln!("            {}  resumed at step {step}", job.id());
            }
            Event::Metric { row, tokens_per_second } => {
                self.work.step(job, slot, row.step);
                if row.split == Split::Validation {
                    self.evaluations.insert(slot, row.clone());
                    return;
                }
                let total = self.totals.get(&slot).copied().unwrap_or(job.estimate.steps);
                if self.is_due(slot) {
                    let line = step_line(row, total, *tokens_per_second);
                    eprintln!("            {}  {line}{}", job.id(), self.work.left());
                }
            }
            Event::Locked | Event::Ended { .. } => {}
        }
    }

    fn retried(&mut self, job: &Job, slot: usize, reason: &str) {
        self.work.running.remove(&slot);
        eprintln!("again       {}  {}  {reason}", job.id(), job.label());
    }

    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>) {
        self.work.end(job, slot);
        self.done += 1;
        let last = slot.and_then(|slot| self.evaluations.remove(&slot));
        let line = ending(job, state, reason, last.as_ref());
        eprintln!("{line}  [{}/{}{}]", self.done, self.total, self.work.left());
    }

    fn stopping(&mut self) {
        eprintln!("stopping: waiting for the workers (Ctrl-C again ends them at once)");
    }

    fn end(&mut self) {}
}

struct Bars {
    name: String,
    done_before: usize,
    multi: MultiProgress,
    sweep: ProgressBar,
    slots: HashMap<usize, ProgressBar>,
    work: Work,
    done: usize,
    total: usize,
    evaluations: LastEvaluations,
}

/// Parts of the sweep's bar, whose position is a fraction.
const SWEEP_PARTS: u64 = 1000;

impl Bars {
    fn new(name: &str, done_before: usize) -> Self {
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
            self.say(&format!("{}: {} done before", self.name, text::plural(self.done_before, "run")));
        }
        for slot in 0..slots {
            let bar = self.multi.add(ProgressBar::new(1));
            bar.set_style(style("  {bar:16.cyan/dim} {msg}"));
            self.slots.insert(slot, bar);
        }
        self.refresh();
        self.sweep.enable_steady_tick(Duration::from_secs(1));
    }

    fn started(&mut self, job: &Job, slot: usize, threads: usize) {
        if let Some(bar) = self.slots.get(&slot) {
            bar.set_length(job.estimate.steps);
            bar.set_position(0);
            bar.set_message(format!("{}  preparing on {}", job.label(), text::plural(threads, "thread")));
        }
    }

    fn event(&mut self, job: &Job, slot: usize, event: &Event) {
        let Some(bar) = self.slots.get(&slot) else { return };
        match event {
            Event::Preparing { what, done, total } => {
                bar.set_message(format!("{}  {}", job.label(), preparing_line(what, *done, *total)));
            }
            Event::Started { total_steps, .. } => bar.set_length(*total_steps),
            Event::Resumed { step } => {
                self.work.resume(job, slot, *step);
                bar.set_position(*step);
                bar.set_message(format!("{}  resumed at step {step}", job.label()));
            }
            Event::Metric { row, .. } if row.split == Split::Validation => {
                self.evaluations.insert(slot, row.clone());
            }
            Event::Metric { row, tokens_per_second } => {
                bar.set_position(row.step);
                let total = bar.length().unwrap_or(0);
                bar.set_message(format!("{}  {}", job.label(), step_line(row, total, *tokens_per_second)));
                self.work.step(job, slot, row.step);
                self.refresh();
            }
            Event::Locked | Event::Ended { .. } => {}
        }
    }

    fn retried(&mut self, job: &Job, slot: usize, reason: &str) {
        self.work.running.remove(&slot);
        self.say(&format!("again       {}  {}  {reason}", job.id(), job.label()));
    }

    fn ended(&mut self, job: &Job, slot: Option<usize>, state: RunState, reason: Option<&str>) {
        self.work.end(job, slot);
        self.done += 1;
        let last = slot.and_then(|slot| self.evaluations.remove(&slot));
        self.say(&ending(job, state, reason, last.as_ref()));
        if let Some(bar) = slot.and_then(|slot| self.slots.get(&slot)) {
            bar.set_position(0);
            bar.set_message("idle");
        }
        self.refresh();
    }

    fn stopping(&mut self) {
        self.say("stopping: waiting for the workers (Ctrl-C again ends them at once)");
    }

    fn end(&mut self) {
        let _ = self.multi.clear();
    }
}
