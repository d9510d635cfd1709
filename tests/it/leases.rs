//! Two sweeps at once, a worker that stands still, and what killed processes leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::sweeps::{Place, TINY, both, json, signal, state, wait_for};

fn spawn(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    command.env("KDX_LEASE_SECONDS", "2");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kdx starts")
}

fn results(place: &Place) -> Vec<(PathBuf, Vec<u8>, Vec<u8>)> {
    let runs = place.runs().into_iter().chain(place.needs());
    let result = |run: PathBuf| {
        let read = |name: &str| fs::read(run.join(name)).expect(name);
        let name = PathBuf::from(run.file_name().expect("an id"));
        (name, read("metrics.jsonl"), read("model/model.safetensors"))
    };
    runs.map(result).collect()
}

/// Lease files of a run that somebody holds.
fn held(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).expect("a run").map(|entry| entry.expect("an entry").path());
    let is_lease = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == "lease");
    entries.filter(|path| is_lease(path) && fs::metadata(path).is_ok_and(|m| m.len() > 0)).collect()
}

#[test]
fn two_sweeps_at_once_split_the_runs() {
    let text =
        TINY.replace("[1.0, 4.0]", "[1.0, 2.0, 3.0, 4.0, 6.0, 8.0]").replace("steps = 6\n", "steps = 60\n");
    let alone = Place::new(&text);
    alone.succeeds(&["sweep", "tiny.toml"]);
    let place = Place::new(&text);
    let sweeps = [0, 1].map(|_| spawn(&place, &["sweep", "tiny.toml", "--jobs", "1"]));
    let outputs = sweeps.map(|sweep| sweep.wait_with_output().expect("kdx ends"));
    for output in &outputs {
        assert!(output.status.success(), "{}", both(output));
    }
    assert_eq!(place.states(), ["finished"; 7]);
    for run in place.runs().into_iter().chain(place.needs()) {
        assert_eq!(json(&run.join("status.json"))["attempt"], 1, "{}", run.display());
        let log = fs::read_to_string(run.join("log.txt")).expect("a log");
        assert!(held(&run).is_empty() && !log.contains("resumed"), "{log}");
    }
    assert!(results(&place) == results(&alone));
}

#[test]
fn a_worker_that_stood_still_writes_nothing_into_a_run_that_was_taken_over() {
    let text =
        TINY.replace("steps = 6\n", "steps = 3000\ncheckpoint_every = 0.05\n").replace("[1.0, 4.0]", "[4.0]");
    let text = text.replace("baseline = true", "");
    let alone = Place::new(&text);
    alone.succeeds(&["sweep", "tiny.toml"]);
    let place = Place::new(&text);
    let first = spawn(&place, &["sweep", "tiny.toml"]);
    let checkpoint = || {
        let run = place.runs().into_iter().next()?;
        run.join("checkpoint/checkpoint.json").exists().then_some(run)
    };
    wait_for("a checkpoint", || checkpoint().is_some());
    let run = checkpoint().expect("a run");
    let paused = json(&run.join("status.json"))["pid"].as_u64().expect("a process id") as u32;
    let show = place.succeeds(&["show", run.file_name().and_then(|name| name.to_str()).expect("an id")]);
    assert!(show.contains(&format!("process {paused}")), "{show}");
    assert!(place.succeeds(&["ls", "tiny"]).contains(&format!("process {paused}")));
    signal(paused, Signal::STOP);

    // Another sweep takes it over once the lease is over, and is done before the first goes on.
    let second = spawn(&place, &["sweep", "tiny.toml"]).wait_with_output().expect("kdx ends");
    assert!(second.status.success(), "{}", both(&second));
    assert_eq!(state(&run), "finished");
    let before: Vec<_> = [results(&place)].into();
    let status = json(&run.join("status.json"));
    assert_eq!(status["attempt"], 2);
    signal(paused, Signal::CONT);
    let first = first.wait_with_output().expect("kdx ends");
    assert!(first.status.success(), "{}", both(&first));
    let log = fs::read_to_string(run.join("log.txt")).expect("a log");
    assert!(log.contains("is lost to"), "{log}");
    assert_eq!(json(&run.join("status.json")), status);
    assert!(before == [results(&place)]);
    assert!(results(&place) == results(&alone));
    assert!(!run.join("checkpoint").exists());
}

#[test]
fn a_run_that_another_machine_holds_is_left_to_it() {
    let place = Place::new(&TINY.replace("[1.0, 4.0]", "[4.0]").replace("baseline = true", ""));
    place.succeeds(&["sweep", "tiny.toml"]);
    let run = place.runs().remove(0);
    // As the other machine would leave it, were it switched off in the middle.
    let mut status = json(&run.join("status.json"));
    status["state"] = "running".into();
    fs::write(run.join("status.json"), status.to_string()).expect("a status");
    fs::remove_file(run.join("summary.json")).expect("no summary");
    let lease = r#"{"format_version": 1, "nonce": "x", "host": "node7", "host_key": "of node7", "pid": 77,
        "started": 1, "seconds": 3}"#;
    fs::write(run.join("lease.90"), lease).expect("a lease");
    let id = run.file_name().and_then(|name| name.to_str()).expect("an id");
    assert!(place.succeeds(&["ls", "tiny"]).contains("running on node7, process 77"));
    assert!(!place.kdx(&["rm", id]).status.success());
    let output = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(output.contains("1 finished"), "{output}");
    assert_eq!(state(&run), "finished");
    assert!(run.join("lease.91").exists() && !run.join("lease.90").exists());
}

#[test]
fn garbage_is_collected_and_what_is_needed_or_held_stays() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let gc = |arguments: &[&str]| {
        let mut command = place.command(&[&["gc"], arguments].concat());
        let output = command.env("KDX_LEASE_SECONDS", "0.1").output().expect("kdx runs");
        assert!(output.status.success(), "{}", both(&output));
        both(&output)
    };
    let nothing = gc(&[]);
    assert_eq!(nothing.lines().count(), 1, "{nothing}");
    assert!(nothing.contains("0 B freed"), "{nothing}");

    let store = place.path().join("runs");
    let runs = place.runs();
    let left = [
        store.join("experiments/.kdx-a"),
        store.join("cache/.kdx-b"),
        store.join("cache/tokens/.kdx-c"),
        runs[0].join(".kdx-d"),
    ];
    for path in &left {
        fs::write(path, [0; 100]).expect("a file");
    }
    let removed = store.join("runs/.kdx-removed-x");
    fs::create_dir(&removed).expect("a directory");
    // A run that was planned, and whose point is no longer in the grid.
    let planned = ["sweep", "tiny.toml", "--set", "train.steps=7", "--run", "nothing"];
    assert!(!place.kdx(&planned).status.success());
    place.succeeds(&["rm", &runs[2].file_name().and_then(|n| n.to_str()).expect("an id")[..8]]);
    place.succeeds(&["sweep", "tiny.toml"]);
    let orphans: Vec<PathBuf> =
        place.runs().into_iter().filter(|run| run != &removed && state(run) == "planned").collect();
    assert_eq!(orphans.len(), 3, "{orphans:?}");
    let checkpoint = runs[1].join("checkpoint");
    fs::create_dir(&checkpoint).expect("a directory");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let held = kdx::store::RunDir::new(&orphans[0]).try_acquire().expect("a lease").expect("nobody has it");

    let all: Vec<&PathBuf> = left.iter().chain([&removed, &checkpoint]).chain(&orphans[1..]).collect();
    let dry = gc(&["--dry-run"]);
    for path in &all {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(dry.contains(name) && path.exists(), "{} is not in\n{dry}", path.display());
    }
    assert!(dry.contains("would be freed"), "{dry}");
    gc(&[]);
    for path in &all {
        assert!(!path.exists(), "{} stays", path.display());
    }
    assert!(orphans[0].exists(), "a worker holds it");
    drop(held);
    gc(&[]);
    assert!(!orphans[0].exists());
    assert_eq!((place.runs().len(), place.needs().len()), (3, 1));

    // Results stay, though no experiment has them, unless they are meant.
    fs::remove_file(store.join("experiments/tiny.json")).expect("forgotten");
    gc(&[]);
    assert_eq!(place.runs().len(), 4);
    gc(&["--runs", "--max-size", "0"]);
    assert_eq!((place.runs().len(), place.needs().len()), (0, 0));
    assert_eq!(place.succeeds(&["cache", "ls", "--json"]).trim(), "[]");
}

#[test]
fn a_wrong_length_of_leases_is_named() {
    let place = Place::new(TINY);
    let output =
        place.command(&["sweep", "tiny.toml"]).env("KDX_LEASE_SECONDS", "soon").output().expect("kdx runs");
    assert!(!output.status.success());
    assert!(both(&output).contains("KDX_LEASE_SECONDS"), "{}", both(&output));
}
