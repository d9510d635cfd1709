//! Who may write into a run directory, and who may not any more.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;
use crate::store::checkpoint::{Arrays, CheckpointState};
use crate::store::measured::{MetricRow, Split};
use crate::store::records::{FORMAT_VERSION, RunId};

type Written = Result<(), StoreError>;

fn status(state: RunState) -> RunStatus {
    RunStatus {
        format_version: FORMAT_VERSION,
        state,
        attempt: 1,
        device: "cpu".to_owned(),
        threads: 1,
        pid: 1,
        started: String::new(),
        updated: String::new(),
        reason: None,
    }
}

fn summary(steps: u64) -> RunSummary {
    RunSummary {
        format_version: FORMAT_VERSION,
        steps,
        epochs: 1.0,
        tokens: 1,
        tokens_per_second: 1.0,
        wall_seconds: 1.0,
        parameters: 1,
        teacher_parameters: None,
        validation: None,
        teacher_validation: None,
        best: None,
        skipped_records: 0,
        diverged_at: None,
        peak_memory: 0,
    }
}

fn row(step: u64) -> MetricRow {
    MetricRow {
        step,
        epoch: 0.5,
        split: Split::Train,
        learning_rate: None,
        loss: 1.0,
        grad_norm: None,
        tokens: 1,
        values: [("hard_loss", Some(1.0))].into_iter().collect(),
    }
}

fn checkpoint(step: u64, metrics: MetricsMark) -> CheckpointState {
    CheckpointState {
        run_id: RunId("0123".to_owned()),
        fingerprint: String::new(),
        step,
        epoch: 0,
        batch: 0,
        tokens: 0,
        random_position: 0,
        training_seconds: 0.0,
        wall_seconds: 0.0,
        since: Vec::new(),
        measured_at: 0,
        validation: None,
        teacher_validation: None,
        best: None,
        metrics,
    }
}

fn arrays() -> Arrays {
    Arrays::from([("x".to_owned(), vec![1.0])])
}

fn fill(directory: &Path, text: &str) -> Written {
    let path = directory.join("model.safetensors");
    fs::write(&path, text).map_err(StoreError::io("write", &path))
}

fn hold(dir: &RunDir) -> HeldRun {
    dir.try_acquire().unwrap().unwrap()
}

/// A run of which everything was written, and the place of its measurements that its checkpoint has.
fn written(dir: &RunDir) -> MetricsMark {
    let held = hold(dir);
    held.write_status(&status(RunState::Running)).unwrap();
    held.write_load_report(&[1]).unwrap();
    let mut writer = held.begin_metrics().unwrap();
    writer.append(&row(1)).unwrap();
    let mark = writer.mark().unwrap();
    writer.append(&row(2)).unwrap();
    held.write_checkpoint(checkpoint(1, mark.clone()), &[("weights", &arrays)]).unwrap();
    held.save_model(|directory| fill(directory, "model")).unwrap();
    held.save_best(|directory| fill(directory, "best")).unwrap();
    held.write_summary(&summary(1)).unwrap();
    mark
}

/// As if this process had stood still, and another machine had taken the run over.
fn lose(held: &HeldRun) {
    let other = r#"{"format_version": 1, "nonce": "x", "host": "node7", "host_key": "of node7", "pid": 77,
        "started": 1, "seconds": 3600}"#;
    fs::write(held.path().join("lease.90"), other).unwrap();
    held.lease.distrust();
}

/// All files below a directory with their content, leases left out.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_stem().is_none_or(|stem| stem != "lease") {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

fn assert_lost(result: Written, what: &str) {
    match result {
        Err(StoreError::LeaseLost { owner, .. }) => assert!(owner.contains("node7"), "{what}: {owner}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn whoever_has_lost_the_lease_writes_nothing() {
    type Write = fn(HeldRun, &MetricsMark) -> Written;
    let writes: [(&str, Write); 13] = [
        ("status", |held, _| held.write_status(&status(RunState::Failed))),
        ("summary", |held, _| held.write_summary(&summary(2))),
        ("no summary", |held, _| held.remove_summary()),
        ("load report", |held, _| held.write_load_report(&[2])),
        ("metrics", |held, _| held.begin_metrics().map(drop)),
        ("metrics cut off", |held, mark| held.resume_metrics(mark).map(drop)),
        ("model", |held, _| held.save_model(|directory| fill(directory, "other"))),
        ("best model", |held, _| held.save_best(|directory| fill(directory, "other"))),
        ("checkpoint", |held, mark| {
            held.write_checkpoint(checkpoint(2, mark.clone()), &[("weights", &arrays)])
        }),
        ("no checkpoint", |held, _| held.remove_checkpoint()),
        ("set aside", |held, _| {
            let damage = StoreError::Damaged { path: PathBuf::new(), reason: String::new() };
            held.set_aside(|_| Ok(Some(damage))).map(drop)
        }),
        ("removal", |held, _| held.remove()),
        ("a model that takes long", |held, _| {
            held.save_model(|directory| {
                lose(&held);
                fill(directory, "other")
            })
        }),
    ];
    for (what, write) in writes {
        let parent = tempfile::tempdir().unwrap();
        let dir = RunDir::new(parent.path().join("0123"));
        fs::create_dir(dir.path()).unwrap();
        let mark = written(&dir);
        let before = files(parent.path());
        let held = hold(&dir);
        if !what.contains("takes long") {
            lose(&held);
        }
        assert_lost(write(held, &mark), what);
        assert!(files(parent.path()) == before, "{what}");
    }
}

#[test]
fn a_line_is_not_appended_by_whoever_has_lost_the_lease() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::new(root.path());
    written(&dir);
    let held = hold(&dir);
    let mut writer = held.begin_metrics().unwrap();
    writer.append(&row(1)).unwrap();
    let before = files(dir.path());
    lose(&held);
    assert_lost(writer.append(&row(2)), "a line");
    assert!(files(dir.path()) == before);
}

#[test]
fn a_checkpoint_does_not_count_whose_writer_has_lost_the_lease_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::new(root.path());
    let mark = written(&dir);
    let before = dir.checkpoint().read().unwrap();
    for lost_at in [1, 2] {
        let held = hold(&dir);
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            if made.get() == lost_at {
                lose(&held);
            }
            arrays()
        };
        let parts: [(&str, &dyn Fn() -> Arrays); 2] = [("weights", &make), ("moments", &make)];
        assert_lost(held.write_checkpoint(checkpoint(2, mark.clone()), &parts), "a checkpoint");
        assert_eq!(made.get(), lost_at, "nothing more is made");
        assert_eq!(dir.checkpoint().read().unwrap(), before);
        fs::remove_file(dir.path().join("lease.90")).unwrap();
    }
}

#[test]
fn a_run_is_held_by_one_and_read_by_all() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::new(root.path());
    let held = hold(&dir);
    held.write_status(&status(RunState::Running)).unwrap();
    assert!(dir.try_acquire().unwrap().is_none());
    assert_eq!(dir.state().unwrap(), RunState::Running);
    assert_eq!(dir.status().unwrap(), held.status().unwrap());
}

#[test]
fn a_run_whose_worker_died_is_killed_and_one_that_was_asked_to_stop_is_interrupted() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::new(root.path());
    assert_eq!(dir.state().unwrap(), RunState::Planned);
    // As it has always been written.
    for (word, state) in [("running", RunState::Killed), ("interrupted", RunState::Interrupted)] {
        let text = format!(
            r#"{{"format_version": 1, "state": "{word}", "attempt": 1, "device": "cpu", "threads": 1,
                "pid": 1, "started": "", "updated": "", "reason": null}}"#
        );
        fs::write(dir.status_path(), text).unwrap();
        assert_eq!(dir.state().unwrap(), state);
        assert!(!state.is_settled());
    }
}
