//! Whole runs, from a record to metrics and a model.

use kdx::interrupt::Interrupt;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use kdx::data::train_on_texts;
use kdx::distill::{self, Observer, Outcome};
use kdx::model;
use kdx::spec::metric::{ACCURACY, AGREEMENT, HARD_LOSS, PERPLEXITY, SOFT_LOSS};
use kdx::spec::{
    FORMAT_VERSION, LossKind, PathList, Precision, RunConfig, RunId, RunRecord, RunSpec, ScheduleConfig,
    ScheduleKind, SignalKind, Stage, TeacherConfig, TrainConfig,
};
use kdx::store::{HeldRun, MetricRow, RunDir, RunState, RunStatus, RunSummary, Split};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::checkpoint::size;
use crate::support::device::device;
use crate::support::{close, golden, job};

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

/// A run on conversations, with a tokenizer of its own and a random student; no teacher.
pub fn text_config(bench: &Bench) -> RunConfig {
    let tokenizer = bench.root.path().join("tokenizer");
    train_on_texts(&["two and two", "four or five"], 270).unwrap().write(&tokenizer, false).unwrap();
    let records = |count: usize| -> String {
        let line = |n: usize| {
            format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{n} and {n}\"}}, {{\"role\": \"assistant\", \"content\": \"{}\"}}]}}\n",
                "x".repeat(1 + n % 5)
            )
        };
        (0..count).map(line).collect()
    };
    let (train, validation) =
        (bench.root.path().join("train.jsonl"), bench.root.path().join("validation.jsonl"));
    std::fs::write(&train, records(10)).unwrap();
    std::fs::write(&validation, records(7)).unwrap();
    let mut config = RunConfig::default();
    config.data.train = PathList::One(train);
    config.data.validation = PathList::One(validation);
    config.data.tokenizer = Some(tokenizer);
    config.student.size = size(32, 1);
    config.loss.kind = LossKind::None;
    config.train = TrainConfig { epochs: 2, batch_size: 4, ..TrainConfig::default() };
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
    /// The step that the run went on from.
    pub resumed: Option<u64>,
    /// Set after this many rows.
    pub stop_after: Option<(usize, Arc<Interrupt>)>,
}

impl Observer for Seen {
    fn started(&mut self, total_steps: u64, parameters: u64) {
        self.total_steps = total_steps;
        self.parameters = parameters;
    }
    fn resumed(&mut self, step: u64) {
        self.resumed = Some(step);
    }
    fn metric(&mut self, row: &MetricRow, tokens_per_second: f64) {
        assert!(tokens_per_second > 0.0);
        self.rows.push(row.clone());
        if let Some((rows, stop)) = &self.stop_after
            && self.rows.len() >= *rows
        {
            stop.ask();
        }
    }
}

impl Bench {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = RunDir::new(root.path().join("runs/0123"));
        Self { root, dir }
    }

    pub fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    pub fn record(&self, config: RunConfig) -> RunRecord {
        let record = RunRecord {
            format_version: FORMAT_VERSION,
            run_id: RunId("0123".to_owned()),
            spec: RunSpec::train(Stage::new(&config, None, None)),
            inputs: Default::default(),
        };
        self.dir.create(&record).unwrap();
        record
    }

    /// What a worker does before it trains.
    pub fn hold(&self) -> HeldRun {
        self.dir.try_acquire().unwrap().unwrap()
    }

    pub fn run(&self, config: RunConfig) -> (Result<Outcome, distill::DistillError>, Seen) {
        let mut seen = Seen::default();
        let outcome = self.observed(config, &mut seen, &Interrupt::new());
        (outcome, seen)
    }

    pub fn observed(
        &self,
        config: RunConfig,
        seen: &mut Seen,
        stop: &Interrupt,
    ) -> Result<Outcome, distill::DistillError> {
        let record = self.record(config);
        let cache = self.cache();
        let held = self.hold();
        let job = job(&record, &held, &cache, device());
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
        close(&what("hard"), row.value(HARD_LOSS).unwrap(), number("hard"), 1e-3);
        close(&what("soft"), row.value(SOFT_LOSS).unwrap(), number("soft"), 1e-3);
        close(&what("total"), row.loss, number("total"), 1e-3);
        close(&what("gradient"), row.grad_norm.unwrap(), number("grad_norm"), 1e-3);
        close(&what("rate"), row.learning_rate.unwrap(), number("lr"), 1e-12);
    }
}

#[test]
pub fn a_run_reproduces_the_curve_of_pytorch() {
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
pub fn a_run_in_bfloat16_follows_the_curve_within_a_hundredth() {
    let bench = Bench::new();
    let mut config = golden_config();
    config.train.precision = Precision::Bf16;
    finished(bench.run(config).0);
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("golden.json")).unwrap()).unwrap();
    let rows = bench.dir.metrics().unwrap();
    for (row, expected) in rows.iter().zip(expected["curve_accumulate_1"].as_array().unwrap()) {
        let number = |key: &str| expected[key].as_f64().unwrap();
        let what = |part: &str| format!("step {}: {part}", row.step);
        close(&what("hard"), row.value(HARD_LOSS).unwrap(), number("hard"), 1e-2);
        close(&what("soft"), row.value(SOFT_LOSS).unwrap(), number("soft"), 1e-2);
        close(&what("total"), row.loss, number("total"), 1e-2);
        close(&what("gradient"), row.grad_norm.unwrap(), number("grad_norm"), 5e-2);
    }
    // The rounding is there: these are not the numbers of single precision.
    let exact = Bench::new();
    finished(exact.run(golden_config()).0);
    let exact = exact.dir.metrics().unwrap();
    let differ = rows.iter().zip(&exact).filter(|(a, b)| a.loss != b.loss).count();
    assert!(differ > rows.len() / 2, "{differ} of {} losses differ", rows.len());
}

#[test]
pub fn a_run_with_accumulation_reproduces_the_curve_of_pytorch() {
    let bench = Bench::new();
    let mut config = golden_config();
    // Twice the file: six batches an epoch, so that steps of two do not meet its end.
    config.data.train = PathList::Many(vec![golden("tokenized.jsonl"), golden("tokenized.jsonl")]);
    config.train.accumulation = 2;
    finished(bench.run(config).0);
    assert_curve(&bench.dir.metrics().unwrap(), "curve_accumulate_2");
}

#[test]
fn equal_runs_give_equal_bits_whatever_the_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let bench = Bench::new();
        let mut config = golden_config();
        config.data.validation = config.data.train.clone();
        config.data.shuffle = true;
        config.train.epochs = 2;
        let (outcome, _) = pool.install(|| bench.run(config));
        let summary = finished(outcome);
        let metrics = std::fs::read(bench.dir.path().join("metrics.jsonl")).unwrap();
        let weights = std::fs::read(bench.dir.model_dir().join("model.safetensors")).unwrap();
        (metrics, weights, summary.validation, summary.teacher_validation)
    };
    let first = run(1);
    assert!(first == run(1), "two runs on one thread differ");
    assert!(first == run(2), "one thread and two differ");
    assert!(first == run(3), "one thread and three differ");
}

#[test]
fn large_products_give_equal_bits_whatever_the_threads() {
    // Wide enough that Burn splits single products and reductions between threads.
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let bench = Bench::new();
        let mut config = golden_config();
        config.teacher = None;
        config.loss.kind = LossKind::None;
        config.student.path = None;
        config.student.size = size(512, 1);
        config.student.size.vocab_size = Some(3000);
        config.train.steps = Some(2);
        config.train.batch_size = 12;
        finished(pool.install(|| bench.run(config)).0);
        std::fs::read(bench.dir.path().join("metrics.jsonl")).unwrap()
    };
    assert!(run(1) == run(2), "one thread and two differ");
}

#[test]
pub fn a_run_on_text_is_measured_and_leaves_a_model_with_its_tokenizer() {
    let bench = Bench::new();
    let mut config = text_config(&bench);
    config.evaluate.every = 2;
    config.train.accumulation = 2;
    let (outcome, seen) = bench.run(config);
    let summary = finished(outcome);
    // Three batches an epoch make two steps, the second of one micro-batch.
    assert_eq!((seen.total_steps, summary.steps, summary.epochs), (4, 4, 2.0));
    let rows = bench.dir.metrics().unwrap();
    let steps = |split| rows.iter().filter(|r| r.split == split).map(|r| r.step).collect::<Vec<_>>();
    assert_eq!(steps(Split::Train), [1, 2, 3, 4]);
    assert_eq!(steps(Split::Validation), [2, 4]);
    assert_eq!(rows[1].epoch, 1.0);
    let last = rows.last().unwrap();
    let validation = summary.validation.unwrap();
    assert_eq!((&last.values, last.tokens), (&validation.values, validation.tokens));
    let measured: Vec<&str> = validation.values.iter().map(|(name, _)| name).collect();
    assert_eq!((measured, summary.teacher_parameters), (vec![ACCURACY, HARD_LOSS, PERPLEXITY], None));
    let value = |name| validation.value(name).unwrap();
    close("perplexity", value(PERPLEXITY), value(HARD_LOSS).exp(), 1e-12);
    let per_epoch: u64 = rows[1].tokens;
    assert_eq!(summary.tokens, 2 * per_epoch);

    let (_, config, report) = model::load(&bench.dir.model_dir(), &Device::flex()).unwrap();
    assert!(report.is_complete());
    assert_eq!(config.parameters(), summary.parameters);
    assert_eq!(seen.parameters, summary.parameters);
    assert!(bench.dir.model_dir().join("tokenizer.json").is_file());
    let stray: Vec<_> =
        std::fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(stray.iter().all(|name| !name.to_str().unwrap().starts_with('.')), "{stray:?}");
}

#[test]
fn figures_are_means_over_tokens_whatever_the_batches() {
    let measure = |batch_size| {
        let bench = Bench::new();
        let mut config = text_config(&bench);
        config.evaluate.batch_size = batch_size;
        config.train.steps = Some(1);
        finished(bench.run(config).0).validation.unwrap()
    };
    let (one, all) = (measure(1), measure(7));
    close("hard loss", one.value(HARD_LOSS).unwrap(), all.value(HARD_LOSS).unwrap(), 1e-6);
    assert_eq!((one.value(ACCURACY), one.tokens), (all.value(ACCURACY), all.tokens));
}

#[test]
fn a_trained_teacher_teaches_and_is_measured_beside_the_student() {
    let teacher = Bench::new();
    let mut config = text_config(&teacher);
    config.train.epochs = 20;
    config.optimizer.learning_rate = 1e-2;
    let record = teacher.record(config);
    let cache = teacher.cache();
    let held = teacher.hold();
    let teaching = job(&record, &held, &cache, Device::flex());
    let taught = finished(distill::train(&teaching, &mut Seen::default(), &Interrupt::new()));

    for kind in [LossKind::ForwardKl, LossKind::None] {
        let bench = Bench::new();
        let mut config = text_config(&bench);
        config.loss.kind = kind;
        config.teacher =
            Some(TeacherConfig { path: Some(teacher.dir.model_dir()), ..TeacherConfig::default() });
        let record = bench.record(config);
        let held = bench.hold();
        let job = job(&record, &held, &cache, Device::flex());
        let summary = finished(distill::train(&job, &mut Seen::default(), &Interrupt::new()));
        assert_eq!(summary.teacher_parameters, Some(taught.parameters));
        let (found, expected) = (summary.teacher_validation.unwrap(), taught.validation.clone().unwrap());
        close(
            "the teacher's loss",
            found.value(HARD_LOSS).unwrap(),
            expected.value(HARD_LOSS).unwrap(),
            1e-6,
        );
        assert_eq!(found.value(ACCURACY), expected.value(ACCURACY));
        // A baseline is measured against the teacher, but has no soft loss.
        let student = summary.validation.unwrap();
        assert!((0.0..=1.0).contains(&student.value(AGREEMENT).unwrap()));
        assert_eq!(student.value(SOFT_LOSS).is_some(), kind != LossKind::None);
        let rows = bench.dir.metrics().unwrap();
        assert!(rows.iter().all(|row| row.value(SOFT_LOSS).is_some() == (kind != LossKind::None)));
    }
}

#[test]
fn the_model_with_the_lowest_held_out_loss_is_kept() {
    let bench = Bench::new();
    let mut config = text_config(&bench);
    config.evaluate.every = 1;
    config.schedule.kind = ScheduleKind::Constant;
    // So fast that it gets worse on the way.
    config.optimizer.learning_rate = 0.3;
    let summary = finished(bench.run(config).0);
    let rows = bench.dir.metrics().unwrap();
    let measured = rows.iter().filter(|row| row.split == Split::Validation);
    let lowest =
        measured.min_by(|a, b| a.value(HARD_LOSS).unwrap().total_cmp(&b.value(HARD_LOSS).unwrap())).unwrap();
    let best = summary.best.unwrap();
    assert_eq!((best.step, Some(best.hard_loss)), (lowest.step, lowest.value(HARD_LOSS)));
    assert!(best.step < summary.steps, "the last step was the best");
    // Trained to that step alone, with the same learning rates, it is the same model.
    let model = |dir: PathBuf| std::fs::read(dir.join("model.safetensors")).unwrap();
    let kept = model(bench.dir.best_dir());
    assert_ne!(kept, model(bench.dir.model_dir()));
    let again = Bench::new();
    let mut shorter = text_config(&again);
    shorter.evaluate.every = 1;
    shorter.evaluate.keep_best = Some(false);
    shorter.optimizer.learning_rate = 0.3;
    shorter.schedule.kind = ScheduleKind::Constant;
    shorter.train.steps = Some(best.step as usize);
    finished(again.run(shorter).0);
    assert!(!again.dir.best_dir().exists());
    assert_eq!(kept, model(again.dir.model_dir()));
}

#[test]
pub fn rows_between_steps_hold_means_and_the_last_step_has_a_row() {
    let all = Bench::new();
    finished(all.run(golden_config()).0);
    let some = Bench::new();
    let mut config = golden_config();
    config.train.log_every = 8;
    finished(some.run(config).0);
    let (all, some) = (all.dir.metrics().unwrap(), some.dir.metrics().unwrap());
    assert_eq!(some.iter().map(|row| row.step).collect::<Vec<_>>(), [8, 16, 24, 30]);
    for (row, first) in some.iter().zip([0, 8, 16, 24]) {
        let steps = &all[first..row.step as usize];
        let mean = steps.iter().map(|row| row.loss).sum::<f64>() / steps.len() as f64;
        close("mean loss", row.loss, mean, 1e-12);
        assert_eq!(row.grad_norm, steps.last().unwrap().grad_norm);
    }
}

#[test]
pub fn a_loss_that_is_no_longer_finite_ends_the_run_as_diverged() {
    // One step too large to survive: seen at the next step, or after the last.
    for steps in [5, 1] {
        let bench = Bench::new();
        let mut config = golden_config();
        config.optimizer.learning_rate = 1e38;
        config.optimizer.weight_decay = 1e3;
        config.train.steps = Some(steps);
        let Ok(Outcome::Diverged(summary)) = bench.run(config).0 else { panic!("not diverged") };
        let step = summary.diverged_at.unwrap();
        assert!(step >= 1 && step <= steps as u64, "{step}");
        assert_eq!(summary.validation, None);
        assert!(!bench.dir.model_dir().exists());
        // Every row that was written reads back: no infinity, no NaN.
        assert!(bench.dir.metrics().unwrap().iter().all(|row| row.loss.is_finite()));
    }
}

#[test]
fn a_run_stops_on_request_and_leaves_no_model() {
    let bench = Bench::new();
    let stop = Arc::new(Interrupt::new());
    let mut seen = Seen { stop_after: Some((3, Arc::clone(&stop))), ..Seen::default() };
    let outcome = bench.observed(golden_config(), &mut seen, &stop).unwrap();
    assert_eq!(outcome, Outcome::Interrupted);
    assert_eq!(bench.dir.metrics().unwrap().len(), 3);
    assert!(!bench.dir.model_dir().exists());
}

#[test]
fn a_student_starts_from_the_part_of_a_checkpoint_that_fits() {
    let bench = Bench::new();
    let mut config = golden_config();
    config.student.partial = true;
    config.student.size.layers = Some(3);
    config.student.size.intermediate_size = Some(64);
    config.train.steps = Some(1);
    let summary = finished(bench.run(config).0);
    assert_eq!(summary.steps, 1);
    let report: Value =
        serde_json::from_slice(&std::fs::read(bench.dir.path().join("load_report.json")).unwrap()).unwrap();
    let count = |list: &str| report[list].as_array().unwrap().len();
    // Two layers lose their three feed-forward matrices; the third layer's nine tensors are not there.
    assert_eq!((count("loaded"), count("missing"), count("left_over"), count("mismatched")), (14, 9, 0, 6));
}

#[test]
fn a_run_that_is_not_done_takes_up_a_changed_record() {
    let bench = Bench::new();
    let signal = |signal| {
        let mut config = golden_config();
        config.teacher.as_mut().unwrap().signal = signal;
        config
    };
    let recorded = || bench.dir.record().unwrap().spec.stage().teachers[0].signal;
    bench.record(signal(SignalKind::Hidden));
    // Asked for in place of a signal that the disk had no room for.
    bench.record(signal(SignalKind::Online));
    assert_eq!(recorded(), SignalKind::Online);
    let status = RunStatus {
        format_version: FORMAT_VERSION,
        state: RunState::Finished,
        attempt: 1,
        device: "cpu".to_owned(),
        threads: 1,
        pid: 1,
        started: String::new(),
        updated: String::new(),
        reason: None,
    };
    bench.hold().write_status(&status).unwrap();
    bench.record(signal(SignalKind::Hidden));
    assert_eq!(recorded(), SignalKind::Online);
}
