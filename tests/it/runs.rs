//! Whole runs, from a record to metrics and a model.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use kdx::distill::{self, Job, Observer, Outcome};
use kdx::experiment::config::{
    LossConfig, LossKind, PathList, RunConfig, ScheduleConfig, ScheduleKind, TeacherConfig, TrainConfig,
};
use kdx::store::{FORMAT_VERSION, MetricRow, RunDir, RunId, RunRecord, RunRole, RunSummary, Split};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{close, golden};

/// The run that made the golden curves: MiniMind's recipe on the golden models and batches.
pub fn golden_config() -> RunConfig {
    let mut config = RunConfig::default();
    config.data.train = PathList::One(golden("tokenized.jsonl"));
    config.data.shuffle = false;
    config.teacher = Some(TeacherConfig { path: Some(golden("teacher")), ..TeacherConfig::default() });
    config.student.path = Some(golden("student"));
    config.schedule = ScheduleConfig { kind: ScheduleKind::Minimind, ..ScheduleConfig::default() };
    config.train = TrainConfig { epochs: 10, batch_size: 4, ..TrainConfig::default() };
    config
}

/// A run directory of its own for each test.
pub struct Bench {
    pub root: TempDir,
    pub dir: RunDir,
}

#[derive(Default)]
pub struct Seen {
    pub total_steps: u64,
    pub parameters: u64,
    pub rows: Vec<MetricRow>,
    /// Set after this many rows.
    pub stop_after: Option<(usize, std::sync::Arc<AtomicBool>)>,
}

impl Observer for Seen {
    fn started(&mut self, total_steps: u64, parameters: u64) {
        self.total_steps = total_steps;
        self.parameters = parameters;
    }
    fn metric(&mut self, row: &MetricRow, tokens_per_second: f64) {
        assert!(tokens_per_second > 0.0);
        self.rows.push(row.clone());
        if let Some((rows, stop)) = &self.stop_after
            && self.rows.len() >= *rows
        {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Bench {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path().join("students/0123"));
        Self { root, dir }
    }

    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub fn record(&self, config: RunConfig, role: RunRole) -> RunRecord {
        let record = RunRecord {
            format_version: FORMAT_VERSION,
            run_id: RunId("0123".to_owned()),
            role,
            config,
            teacher_run: None,
            inputs: Default::default(),
        };
        self.dir.create(&record).unwrap();
        record
    }

    pub fn run(&self, config: RunConfig) -> (Result<Outcome, distill::DistillError>, Seen) {
        let mut seen = Seen::default();
        let outcome = self.observed(config, &mut seen, &AtomicBool::new(false));
        (outcome, seen)
    }

    pub fn observed(
        &self,
        config: RunConfig,
        seen: &mut Seen,
        stop: &AtomicBool,
    ) -> Result<Outcome, distill::DistillError> {
        let record = self.record(config, RunRole::Student);
        let cache = self.cache();
        let job = Job {
            record: &record,
            dir: &self.dir,
            teacher_dir: None,
            cache_dir: &cache,
            device: Device::flex(),
        };
        distill::train(&job, seen, stop)
    }
}

fn finished(outcome: Result<Outcome, distill::DistillError>) -> RunSummary {
    match outcome {
        Ok(Outcome::Finished(summary)) => summary,
        other => panic!("{other:?}"),
    }
}

fn assert_curve(found: &[MetricRow], name: &str) {
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("golden.json")).unwrap()).unwrap();
    let curve = expected[name].as_array().unwrap();
    assert_eq!(found.len(), curve.len());
    for (row, expected) in found.iter().zip(curve) {
        let number = |key: &str| expected[key].as_f64().unwrap();
        assert_eq!(row.step, expected["step"].as_u64().unwrap());
        let what = |part: &str| format!("{name}, step {}: {part}", row.step);
        close(&what("hard"), row.hard_loss, number("hard"), 1e-3);
        close(&what("soft"), row.soft_loss.unwrap(), number("soft"), 1e-3);
        close(&what("total"), row.loss, number("total"), 1e-3);
        close(&what("gradient"), row.grad_norm.unwrap(), number("grad_norm"), 1e-3);
        close(&what("rate"), row.learning_rate.unwrap(), number("lr"), 1e-12);
    }
}

#[test]
fn a_run_reproduces_the_curve_of_pytorch() {
    let bench = Bench::new();
    let (outcome, seen) = bench.run(golden_config());
    let summary = finished(outcome);
    let rows = bench.dir.metrics().unwrap();
    assert_eq!(rows, seen.rows);
    assert_eq!(seen.total_steps, 30);
    assert_curve(&rows, "curve_accumulate_1");
    assert_eq!((summary.steps, summary.epochs, summary.diverged_at), (30, 10.0, None));
    assert_eq!(summary.validation, None);
    assert!(summary.tokens_per_second > 0.0 && summary.peak_memory > 0);
}

#[test]
fn a_run_with_accumulation_reproduces_the_curve_of_pytorch() {
    let bench = Bench::new();
    let mut config = golden_config();
    // Twice the file: six batches an epoch, so that steps of two do not meet its end.
    config.data.train = PathList::Many(vec![golden("tokenized.jsonl"), golden("tokenized.jsonl")]);
    config.train.accumulation = 2;
    finished(bench.run(config).0);
    assert_curve(&bench.dir.metrics().unwrap(), "curve_accumulate_2");
}
