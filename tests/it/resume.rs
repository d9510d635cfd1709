//! Runs that are interrupted and go on: the same bytes as those of a run that never was.

use kdx::interrupt::Interrupt;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use kdx::distill::Outcome;
use kdx::spec::{PathList, Precision, RunConfig, SignalKind};
use kdx::store::{HeldRun, MetricRow, RunSummary};

use crate::runs::{Bench, Seen, golden_config};
use crate::support::{golden, job};
use crate::sweeps::{Place, TINY, json, wait_for};

/// Shuffled, accumulated, measured on the way, with rows between steps, and with the teacher's signal from a
/// file: 10 steps.
fn config(precision: Precision) -> RunConfig {
    let mut config = golden_config();
    config.data.train = PathList::Many(vec![golden("tokenized.jsonl"); 2]);
    config.data.validation = PathList::One(golden("tokenized.jsonl"));
    config.data.shuffle = true;
    config.teacher.as_mut().unwrap().signal = SignalKind::Hidden;
    config.train.epochs = 2;
    config.train.batch_size = 3;
    config.train.accumulation = 2;
    config.train.log_every = 2;
    config.train.precision = precision;
    config.train.checkpoint_every = Some(0.0);
    config.evaluate.every = 3;
    config
}

/// What must not depend on interruptions.
#[derive(PartialEq)]
struct Left {
    metrics: Vec<u8>,
    model: Vec<u8>,
    best: Vec<u8>,
    steps: u64,
    tokens: u64,
    figures: String,
}

fn left(bench: &Bench, summary: &RunSummary) -> Left {
    Left {
        metrics: fs::read(bench.dir.path().join("metrics.jsonl")).unwrap(),
        model: fs::read(bench.dir.model_dir().join("model.safetensors")).unwrap(),
        best: fs::read(bench.dir.best_dir().join("model.safetensors")).unwrap(),
        steps: summary.steps,
        tokens: summary.tokens,
        figures: format!("{:?} {:?} {:?}", summary.validation, summary.teacher_validation, summary.best),
    }
}

/// Runs to the end; also says which step it went on from.
fn finish(bench: &Bench, config: &RunConfig) -> (Left, RunSummary, Seen) {
    let (outcome, seen) = bench.run(config.clone());
    let Ok(Outcome::Finished(summary)) = outcome else { panic!("{outcome:?}") };
    (left(bench, &summary), summary, seen)
}

/// Runs until so many rows are written by this attempt.
fn interrupt(bench: &Bench, config: &RunConfig, rows: usize) -> Vec<MetricRow> {
    let stop = Arc::new(Interrupt::new());
    let mut seen = Seen { stop_after: Some((rows, Arc::clone(&stop))), ..Seen::default() };
    assert_eq!(bench.observed(config.clone(), &mut seen, &stop).unwrap(), Outcome::Interrupted);
    seen.rows
}

fn step_of_checkpoint(bench: &Bench) -> u64 {
    bench.dir.checkpoint().state().unwrap().expect("a checkpoint").step
}

/// Interrupts a run after each of its rows, and lets it finish.
pub fn resumes_after_every_row(precision: Precision) {
    let config = config(precision);
    let (whole, _, seen) = finish(&Bench::new(), &config);
    let rows = seen.rows.len();
    assert!(rows >= 6, "{rows}");
    let mut steps = BTreeSet::new();
    for k in 1..rows {
        let bench = Bench::new();
        interrupt(&bench, &config, k);
        steps.insert(step_of_checkpoint(&bench));
        let (found, _, seen) = finish(&bench, &config);
        assert_eq!(seen.resumed, Some(step_of_checkpoint(&bench)));
        assert_eq!(seen.rows.len(), rows - k, "rows were written again after row {k}");
        assert!(found == whole, "another result after an interruption at row {k}");
    }
    assert!(steps.len() >= 5, "{steps:?}");
}

#[test]
fn a_run_resumes_after_every_row_to_the_same_bytes() {
    resumes_after_every_row(Precision::Fp32);
}

#[test]
fn a_run_in_bfloat16_resumes_after_every_row_to_the_same_bytes() {
    resumes_after_every_row(Precision::Bf16);
}

#[test]
fn a_run_resumes_whatever_the_threads_and_however_often() {
    let config = config(Precision::Fp32);
    let (whole, ..) = finish(&Bench::new(), &config);
    let bench = Bench::new();
    let threads = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    threads(1).install(|| interrupt(&bench, &config, 2));
    let first = step_of_checkpoint(&bench);
    // Asked to stop before it could take a step: nothing is lost.
    let stop = Interrupt::new();
    stop.ask();
    assert_eq!(bench.observed(config.clone(), &mut Seen::default(), &stop).unwrap(), Outcome::Interrupted);
    assert_eq!(step_of_checkpoint(&bench), first);
    let wall = |bench: &Bench| bench.dir.checkpoint().state().unwrap().unwrap().wall_seconds;
    let before = wall(&bench);
    threads(3).install(|| interrupt(&bench, &config, 2));
    assert!(step_of_checkpoint(&bench) > first);
    assert!(wall(&bench) > before, "the time of the first attempt counts");
    let attempts = wall(&bench);
    let (found, summary, _) = threads(2).install(|| finish(&bench, &config));
    assert!(found == whole);
    assert!(summary.wall_seconds > attempts);
}

#[test]
fn periodic_checkpoints_change_nothing_and_rows_behind_them_are_written_again() {
    let plain = config(Precision::Fp32);
    let (whole, ..) = finish(&Bench::new(), &plain);
    let mut often = plain.clone();
    often.train.checkpoint_every = Some(1e-9);
    let bench = Bench::new();
    assert!(finish(&bench, &often).0 == whole);
    // As a kill would leave it: the last checkpoint, later rows, the last of them cut short. What differs
    // in `checkpoint_every` alone is the same run.
    let checkpoint = step_of_checkpoint(&bench);
    assert!(checkpoint > 0 && checkpoint < whole.steps);
    let path = bench.dir.path().join("metrics.jsonl");
    fs::write(&path, [&whole.metrics[..], b"{\"step\": 1"].concat()).unwrap();
    let (found, _, seen) = finish(&bench, &plain);
    assert!(found == whole);
    assert_eq!(seen.resumed, Some(checkpoint));
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_not_used() {
    let config = config(Precision::Fp32);
    let (whole, ..) = finish(&Bench::new(), &config);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let damages: [&dyn Fn(&Path); 3] = [&flip, &cut, &remove];
    for name in [
        "checkpoint/checkpoint.json",
        "checkpoint/a/weights.safetensors",
        "checkpoint/a/first_moments.safetensors",
        "checkpoint/a/second_moments.safetensors",
        "metrics.jsonl",
    ] {
        for (which, damage) in damages.iter().enumerate() {
            let bench = Bench::new();
            interrupt(&bench, &config, 3);
            damage(&bench.dir.path().join(name));
            let (found, _, seen) = finish(&bench, &config);
            assert_eq!(seen.resumed, None, "{name}, damage {which}");
            assert!(found == whole, "{name}, damage {which}");
            assert!(!bench.dir.checkpoint().path().exists());
        }
    }
    // Another record under the same id.
    let bench = Bench::new();
    let mut other = config.clone();
    other.train.seed = 9;
    interrupt(&bench, &other, 3);
    let (found, _, seen) = finish(&bench, &config);
    assert_eq!(seen.resumed, None);
    assert!(found == whole);
}

#[test]
fn a_checkpoint_that_cannot_be_written_costs_nothing() {
    let mut config = config(Precision::Fp32);
    let (whole, ..) = finish(&Bench::new(), &config);
    config.train.checkpoint_every = Some(1e-9);
    let bench = Bench::new();
    bench.record(config.clone());
    // A file where its directory should be, put there once the run has begun.
    struct Block<'a>(&'a HeldRun);
    impl kdx::distill::Observer for Block<'_> {
        fn started(&mut self, _total_steps: u64, _parameters: u64) {}
        fn metric(&mut self, _row: &MetricRow, _tokens_per_second: f64) {
            let path = self.0.checkpoint().path().to_owned();
            if path.is_dir() {
                self.0.remove_checkpoint().unwrap();
                fs::write(path, "").unwrap();
            }
        }
    }
    let record = bench.dir.record().unwrap();
    let cache = bench.cache();
    let held = bench.hold();
    let job = job(&record, &held, &cache, burn::tensor::Device::flex());
    let outcome = kdx::distill::train(&job, &mut Block(&held), &Interrupt::new());
    let Ok(Outcome::Finished(summary)) = outcome else { panic!("{outcome:?}") };
    assert!(bench.dir.checkpoint().path().is_file());
    assert!(left(&bench, &summary) == whole);
}

/// Metrics and models of students and teachers, by run.
fn results(place: &Place) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let runs = place.runs().into_iter().chain(place.needs());
    let result = |run: std::path::PathBuf| {
        let read = |name: &str| fs::read(run.join(name)).expect(name);
        let id = run.file_name().expect("an id").to_string_lossy().into_owned();
        (id, read("metrics.jsonl"), read("model/model.safetensors"))
    };
    runs.map(result).collect()
}

#[test]
fn a_sweep_that_is_killed_goes_on_from_its_checkpoints_to_the_same_bytes() {
    let text = TINY.replace("steps = 6\n", "steps = 600\n");
    let undisturbed = Place::new(&text);
    undisturbed.succeeds(&["sweep", "tiny.toml"]);

    let place = Place::new(&text.replace("steps = 600\n", "steps = 600\ncheckpoint_every = 0.02\n"));
    let mut sweep = place
        .command(&["sweep", "tiny.toml", "--jobs", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("kdx starts");
    let checkpoints = || {
        let runs = place.runs().into_iter();
        runs.filter(|run| run.join("checkpoint/checkpoint.json").exists()).collect::<Vec<_>>()
    };
    wait_for("a checkpoint", || !checkpoints().is_empty());
    // Each worker has a group of its own; its id is in its status.
    sweep.kill().expect("the dispatcher is killed");
    for run in place.runs() {
        let Ok(status) = fs::read_to_string(run.join("status.json")) else { continue };
        let status: serde_json::Value = serde_json::from_str(&status).expect("a status");
        if status["state"] == "running" {
            let pid = rustix::process::Pid::from_raw(status["pid"].as_i64().expect("a process id") as i32);
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::KILL);
        }
    }
    sweep.wait().expect("the dispatcher is gone");
    let killed = checkpoints();
    assert!(!killed.is_empty());
    // A process that was just killed may hold its lock for a moment.
    wait_for("the kill to be seen", || place.succeeds(&["ls", "tiny"]).contains("killed at step"));
    let id = killed[0].file_name().expect("an id").to_string_lossy().into_owned();
    let show = place.succeeds(&["show", &id]);
    assert!(show.contains("checkpoint    at step"), "{show}");

    // As a kill while the model is written would leave it.
    let unfinished = killed[0].join(".kdx-model-x");
    fs::create_dir(&unfinished).expect("a directory");
    let text = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(text.contains("resumed at step"), "{text}");
    assert!(!unfinished.exists());
    assert!(results(&place) == results(&undisturbed));
    assert!(checkpoints().is_empty());
    assert!(!killed[0].join("checkpoint").exists());
    let log = fs::read_to_string(killed[0].join("log.txt")).expect("a log");
    assert!(log.contains("resumed at step"), "{log}");
    assert_eq!(json(&killed[0].join("status.json"))["attempt"], 2);
}

#[test]
fn logs_are_printed_and_runs_are_removed_unless_they_are_held() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    place.succeeds(&["sweep", "tiny.toml", "--set", "name=other", "--set", "grid.loss.temperature=[1.0]"]);
    let runs = place.runs();
    let id = |run: &Path| run.file_name().expect("an id").to_string_lossy().into_owned();
    let log = fs::read_to_string(runs[0].join("log.txt")).expect("a log");
    assert_eq!(place.succeeds(&["logs", &id(&runs[0])]), log);
    assert_eq!(place.succeeds(&["logs", "-f", &id(&runs[0])]), log);

    let dry = place.succeeds(&["rm", &id(&runs[0]), "--dry-run"]);
    assert!(dry.contains("would remove") && runs[0].exists(), "{dry}");
    let dir = kdx::store::RunDir::new(&runs[0]);
    let held = dir.try_acquire().expect("a lease").expect("nobody has it");
    let output = place.kdx(&["rm", &id(&runs[0])]);
    assert!(!output.status.success() && runs[0].exists());
    drop(held);
    place.succeeds(&["rm", &id(&runs[0])]);
    assert!(!runs[0].exists());
    assert!(place.succeeds(&["sweep", "tiny.toml"]).contains("1 run to train"));
    assert!(!place.kdx(&["rm", "nothing"]).status.success());

    // One run and the baseline are the other experiment's too, and so is the teacher.
    place.succeeds(&["rm", "tiny"]);
    assert_eq!((place.runs().len(), place.needs().len()), (2, 1));
    let ls = place.succeeds(&["ls"]);
    assert!(!ls.contains("tiny") && ls.contains("other"), "{ls}");
    place.succeeds(&["rm", "other"]);
    assert_eq!((place.runs().len(), place.needs().len()), (0, 0));
}
