//! Stores with made-up sweeps: what a trained sweep would leave behind, in milliseconds.

use std::path::Path;

use kdx::spec::metric::{ACCURACY, AGREEMENT, HARD_LOSS, MetricInfo, PERPLEXITY, SOFT_LOSS};
use kdx::spec::{
    CompareConfig, FORMAT_VERSION, LossKind, NeededRun, PlannedRun, Purpose, RunConfig, RunId, RunRecord,
    RunSpec, Stage,
};
use kdx::store::{
    Evaluation, ExperimentRecord, HeldRun, MetricRow, RunDir, RunState, RunStatus, RunSummary, Split, Store,
    Values,
};
use serde_json::{Map, Value, json};

/// A store with one experiment, built up run by run.
pub struct Sweep {
    directory: tempfile::TempDir,
    name: String,
    axes: Vec<String>,
    base: Value,
    runs: Vec<PlannedRun>,
    teachers: Vec<RunId>,
    compare: CompareConfig,
    /// Added to every held-out hard loss.
    pub shift: f64,
    /// A metric that no registry knows and every run measures: ten less the hard loss.
    pub own_metric: Option<(&'static str, MetricInfo)>,
}

/// What becomes of a run.
#[derive(Clone, Copy, PartialEq)]
pub enum End {
    Finished,
    Diverged,
    Failed,
    Running,
    Planned,
    Damaged,
}

/// Steps of every run.
const STEPS: u64 = 300;

impl Sweep {
    /// An experiment with these axes, whose teacher is trained by kdx.
    pub fn new(name: &str, axes: &[&str]) -> Self {
        let base = json!({
            "data": {"train": "/data/train.jsonl", "validation": "/data/held_out.jsonl"},
            "teacher": {"hidden_size": 256, "layers": 4},
            "student": {"hidden_size": 96, "layers": 2},
        });
        let mut sweep = Self {
            directory: tempfile::tempdir().unwrap(),
            name: name.to_owned(),
            axes: axes.iter().map(|axis| (*axis).to_owned()).collect(),
            base,
            runs: Vec::new(),
            teachers: Vec::new(),
            compare: CompareConfig::default(),
            shift: 0.0,
            own_metric: None,
        };
        sweep.add_teacher();
        sweep
    }

    /// Sets a key of every run that is added from now on.
    pub fn set(&mut self, key: &str, value: Value) {
        set(&mut self.base, key, value);
    }

    /// Replaces the tolerances.
    pub fn compare(&mut self, compare: CompareConfig) {
        self.compare = compare;
    }

    /// Where the store is.
    pub fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("runs")
    }

    /// The store.
    pub fn store(&self) -> Store {
        Store::new(self.root())
    }

    /// A place beside the store.
    pub fn beside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Adds a run and what became of it.
    pub fn run(&mut self, point: &[(&str, Value)], end: End) -> RunDir {
        let mut config = self.base.clone();
        for (key, value) in point {
            set(&mut config, key, value.clone());
        }
        let config: RunConfig = serde_json::from_value(config).unwrap();
        let digest = blake3::hash(serde_json::to_string(&config).unwrap().as_bytes()).to_hex();
        let run_id = RunId(digest[..16].to_owned());
        let point = point.iter().filter(|(key, _)| self.axes.iter().any(|axis| axis == key));
        let point = point.map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.runs.push(PlannedRun { run_id: run_id.clone(), point });
        self.write_experiment();
        let dir = self.store().run_dir(&run_id);
        if end == End::Planned {
            return dir;
        }
        let has_teacher = config.teacher.is_some() && config.loss.kind != LossKind::None;
        dir.create(&RunRecord {
            format_version: FORMAT_VERSION,
            run_id,
            spec: RunSpec::train(Stage::new(
                &config,
                None,
                config.teacher.as_ref().filter(|t| t.path.is_none()).map(|_| self.teachers[0].clone()),
            )),
            inputs: Default::default(),
        })
        .unwrap();
        let minutes = self.runs.len();
        let state = match end {
            End::Finished | End::Damaged => RunState::Finished,
            End::Diverged => RunState::Diverged,
            End::Failed => RunState::Failed,
            End::Running => RunState::Interrupted,
            End::Planned => RunState::Planned,
        };
        let held = dir.try_acquire().unwrap().unwrap();
        held.write_status(&RunStatus {
            format_version: FORMAT_VERSION,
            state,
            attempt: if end == End::Failed { 2 } else { 1 },
            device: "cpu".to_owned(),
            threads: 2,
            pid: 1,
            started: format!("2026-03-01T{:02}:{:02}:00Z", 10 + minutes / 60, minutes % 60),
            updated: format!("2026-03-01T{:02}:{:02}:30Z", 10 + minutes / 60, minutes % 60),
            reason: match end {
                End::Diverged => Some("the loss was no longer finite at step 120".to_owned()),
                End::Failed => Some("out of memory | the worker was killed (signal 9)".to_owned()),
                _ => None,
            },
        })
        .unwrap();
        let hard_loss = quality(&config) + self.shift;
        let last = match end {
            End::Diverged | End::Running => 120,
            End::Failed => 40,
            _ => STEPS,
        };
        self.write_metrics(&held, &config, hard_loss, last, end == End::Diverged, has_teacher);
        if matches!(end, End::Finished | End::Diverged | End::Damaged) {
            let validation = (end != End::Diverged).then(|| self.measured(hard_loss, has_teacher));
            held.write_summary(&summary(&config, last, validation, end == End::Diverged)).unwrap();
        }
        if end == End::Damaged {
            std::fs::write(dir.path().join("summary.json"), b"{ cut short").unwrap();
        }
        dir
    }

    fn add_teacher(&mut self) {
        let run_id = RunId("7eac4e7000000001".to_owned());
        self.teachers.push(run_id.clone());
        let dir = self.store().run_dir(&run_id);
        let mut config = self.base.clone();
        config["student"] = config["teacher"].take();
        config.as_object_mut().unwrap().remove("teacher");
        set(&mut config, "loss.kind", json!("none"));
        let config: RunConfig = serde_json::from_value(config).unwrap();
        dir.create(&RunRecord {
            format_version: FORMAT_VERSION,
            run_id,
            spec: RunSpec::train(Stage::new(&config, None, None)),
            inputs: Default::default(),
        })
        .unwrap();
        let held = dir.try_acquire().unwrap().unwrap();
        held.write_status(&RunStatus {
            format_version: FORMAT_VERSION,
            state: RunState::Finished,
            attempt: 1,
            device: "cpu".to_owned(),
            threads: 2,
            pid: 1,
            started: "2026-03-01T09:00:00Z".to_owned(),
            updated: "2026-03-01T09:04:10Z".to_owned(),
            reason: None,
        })
        .unwrap();
        let mut found = summary(&config, STEPS, Some(evaluation(TEACHER_LOSS, false)), false);
        (found.parameters, found.teacher_parameters, found.teacher_validation) = (TEACHER_SIZE, None, None);
        found.wall_seconds = 250.0;
        held.write_summary(&found).unwrap();
    }

    fn write_experiment(&self) {
        self.store()
            .write_experiment(&ExperimentRecord {
                format_version: FORMAT_VERSION,
                name: self.name.clone(),
                source: format!("experiments/{}.toml", self.name),
                axes: self.axes.clone(),
                runs: self.runs.clone(),
                needs: self
                    .teachers
                    .iter()
                    .map(|id| NeededRun { run_id: id.clone(), purpose: Purpose::Teacher })
                    .collect(),
                compare: self.compare.clone(),
            })
            .unwrap();
    }

    /// An evaluation with the metric that is the sweep's own.
    fn measured(&self, hard_loss: f64, has_teacher: bool) -> Evaluation {
        let mut measured = evaluation(hard_loss, has_teacher);
        if let Some((name, info)) = &self.own_metric {
            measured.declared.insert((*name).to_owned(), info.clone());
            let all = measured.values.iter().chain([(*name, 10.0 - hard_loss)]);
            measured.values = all.map(|(name, value)| (name.to_owned(), Some(value))).collect();
        }
        measured
    }

    fn write_metrics(
        &self,
        held: &HeldRun,
        config: &RunConfig,
        end: f64,
        last: u64,
        diverges: bool,
        has_teacher: bool,
    ) {
        let mut writer = held.begin_metrics().unwrap();
        let text = serde_json::to_string(config).unwrap();
        let at = |step: u64| end - 0.05 + (8.3 - end) * (-(step as f64) / 22.0).exp();
        for step in 1..=last {
            let mut hard_loss = at(step) + 0.09 * noise(&format!("{text} {step}"));
            if diverges && step + 25 > last {
                hard_loss += (step + 25 - last) as f64 * 0.2;
            }
            let row = |split, loss: f64, values| MetricRow {
                step,
                epoch: step as f64 / 100.0,
                split,
                learning_rate: (split == Split::Train).then_some(5e-4),
                loss,
                grad_norm: (split == Split::Train).then_some(1.2),
                tokens: step * 1024,
                values,
            };
            let soft_loss = has_teacher.then_some(hard_loss * 0.4);
            let values = Values::from_iter([(HARD_LOSS, Some(hard_loss)), (SOFT_LOSS, soft_loss)]);
            writer.append(&row(Split::Train, hard_loss, values)).unwrap();
            if step % 100 == 0 {
                let held_out = if step == last { end } else { at(step) + 0.05 };
                let values = self.measured(held_out, has_teacher).values;
                writer.append(&row(Split::Validation, held_out, values)).unwrap();
            }
        }
    }

    /// The plan without any run.
    pub fn plan_nothing(&mut self) {
        self.runs.clear();
        self.write_experiment();
    }
}

const TEACHER_LOSS: f64 = 0.93;
const TEACHER_SIZE: u64 = 3_412_736;

fn set(object: &mut Value, key: &str, value: Value) {
    let mut at = object;
    let (sections, last) = key.rsplit_once('.').unwrap_or(("", key));
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let map = at.as_object_mut().unwrap();
        at = map.entry(section).or_insert_with(|| Value::Object(Map::new()));
    }
    at[last] = value;
}

/// A number in −1 … 1 that depends on everything in `parts`.
pub fn noise(parts: &str) -> f64 {
    let bytes = blake3::hash(parts.as_bytes());
    let bits = u64::from_le_bytes(bytes.as_bytes()[..8].try_into().unwrap());
    (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// A held-out hard loss that behaves as one: best near temperature 2 and alpha ½, better for
/// larger students, worse without a teacher.
fn quality(config: &RunConfig) -> f64 {
    let size = parameters(config) as f64;
    let student = 1.15 + 0.28 * (600_000.0 / size).powf(0.4);
    let loss = &config.loss;
    let gain = match loss.kind {
        LossKind::None => 0.0,
        kind => {
            let of_kind = match kind {
                LossKind::ForwardKl => 0.16,
                LossKind::ReverseKl => 0.13,
                LossKind::Js => 0.145,
                LossKind::Tvd => 0.06,
                _ => 0.10,
            };
            let temperature = (loss.temperature.ln() - 2f64.ln()).powi(2) * 0.05;
            let alpha = (loss.hard_weight() - 0.5).powi(2) * 0.35;
            (of_kind - temperature - alpha) * (1.0 - loss.hard_weight()).min(0.5) * 2.0
        }
    };
    let text = serde_json::to_string(config).unwrap();
    // What a seed does is much the same for every configuration.
    student - gain + 0.022 * noise(&format!("seed {}", config.train.seed)) + 0.008 * noise(&text)
}

fn parameters(config: &RunConfig) -> u64 {
    let hidden = config.student.size.hidden_size.unwrap_or(96) as u64;
    let layers = config.student.size.layers.unwrap_or(2) as u64;
    4096 * hidden + layers * 11 * hidden * hidden
}

fn evaluation(hard_loss: f64, has_teacher: bool) -> Evaluation {
    let values = [
        (HARD_LOSS, Some(hard_loss)),
        (PERPLEXITY, Some(hard_loss.exp())),
        (SOFT_LOSS, has_teacher.then_some(hard_loss * 0.4)),
        (AGREEMENT, Some(0.95 - (hard_loss - TEACHER_LOSS) * 0.5)),
        (ACCURACY, Some((-hard_loss * 0.5).exp())),
    ];
    Evaluation { tokens: 21_504, declared: Default::default(), values: Values::from_iter(values) }
}

fn summary(config: &RunConfig, steps: u64, validation: Option<Evaluation>, diverged: bool) -> RunSummary {
    RunSummary {
        format_version: FORMAT_VERSION,
        steps,
        epochs: steps as f64 / 100.0,
        tokens: steps * 1024,
        tokens_per_second: 14_000.0 + 400.0 * noise(&serde_json::to_string(config).unwrap()),
        wall_seconds: steps as f64 * 0.08,
        parameters: parameters(config),
        teacher_parameters: config.teacher.is_some().then_some(TEACHER_SIZE),
        validation,
        teacher_validation: config.teacher.is_some().then(|| evaluation(TEACHER_LOSS, false)),
        best: None,
        skipped_records: 0,
        diverged_at: diverged.then_some(steps),
        peak_memory: 412 << 20,
    }
}

/// The files below a directory with their contents, by relative path.
pub fn files(directory: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// 4 temperatures × 3 alphas × 3 kinds × 3 seeds and a baseline, with one of each mishap.
pub fn grid() -> Sweep {
    let mut sweep = Sweep::new("temps", &["loss.temperature", "loss.alpha", "loss.kind", "train.seed"]);
    for kind in ["forward_kl", "reverse_kl", "js"] {
        for alpha in [0.2, 0.5, 0.8] {
            for temperature in [1.0, 2.0, 4.0, 8.0] {
                for seed in 0..3 {
                    let end = match (kind, alpha, temperature as u8, seed) {
                        ("js", 0.2, 8, 2) => End::Diverged,
                        ("reverse_kl", 0.2, 8, 0) => End::Failed,
                        ("reverse_kl", 0.2, 8, 1) => End::Damaged,
                        ("js", 0.8, 8, 1) => End::Running,
                        ("js", 0.8, 8, 2) => End::Planned,
                        _ => End::Finished,
                    };
                    let point = [
                        ("loss.kind", json!(kind)),
                        ("loss.alpha", json!(alpha)),
                        ("loss.temperature", json!(temperature)),
                        ("train.seed", json!(seed)),
                    ];
                    sweep.run(&point, end);
                }
            }
        }
    }
    for seed in 0..3 {
        let point = [("loss.kind", json!("none")), ("loss.alpha", json!(1.0)), ("train.seed", json!(seed))];
        sweep.run(&point, End::Finished);
    }
    sweep
}

/// Student sizes, each distilled and alone, over 3 seeds.
pub fn sizes() -> Sweep {
    let mut sweep = Sweep::new("sizes", &["student.hidden_size", "student.layers", "train.seed"]);
    for (hidden, layers) in [(64, 1), (96, 2), (128, 2), (192, 3)] {
        for seed in 0..3 {
            for kind in ["forward_kl", "none"] {
                let point = [
                    ("student.hidden_size", json!(hidden)),
                    ("student.layers", json!(layers)),
                    ("loss.kind", json!(kind)),
                    ("loss.alpha", json!(if kind == "none" { 1.0 } else { 0.5 })),
                    ("train.seed", json!(seed)),
                ];
                sweep.run(&point, End::Finished);
            }
        }
    }
    sweep
}

/// Values along one axis, one seed, no baseline.
pub fn one_axis(name: &str, axis: &str, values: &[Value]) -> Sweep {
    let mut sweep = Sweep::new(name, &[axis]);
    for value in values {
        sweep.run(&[(axis, value.clone())], End::Finished);
    }
    sweep
}
