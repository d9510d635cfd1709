//! Runs that need runs that need runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use std::os::unix::process::CommandExt;

use crate::sweeps::{Place, TINY, json, wait_for};

/// A place with a first experiment that was begun and stopped before anything was trained, and a second one
/// whose student starts from the student of the first. Gives the id of the first student.
fn chain() -> (Place, String) {
    let one = TINY
        .replace("baseline = true\n", "")
        .replace("[grid]\n\"loss.temperature\" = [1.0, 4.0]\n", "")
        .replace("steps = 6\n", "steps = 200\ncheckpoint_every = 0.02\n")
        .replace("steps = 4\n", "steps = 200\ncheckpoint_every = 0.02\n");
    let toydata = concat!(env!("CARGO_MANIFEST_DIR"), "/toydata");
    let one = one.replace("TOYDATA", toydata);
    let place = Place::new(&one);
    let mut sweep = place
        .command(&["sweep", "tiny.toml", "--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("kdx starts");
    wait_for("the plan", || {
        place.path().join("runs/experiments/tiny.json").exists() && place.runs().len() == 1
    });
    kill_all(&place, &mut sweep);
    let id = place.runs()[0].file_name().expect("an id").to_string_lossy().into_owned();
    let two = one.replace("hidden_size = 16\nlayers = 1\nheads = 2\n", &format!("run = \"{}\"\n", &id[..8]));
    assert_ne!(one, two);
    fs::write(place.path().join("second.toml"), two).expect("a file");
    (place, id)
}

/// Ends a sweep and its workers at once.
fn kill_all(place: &Place, sweep: &mut std::process::Child) {
    sweep.kill().expect("the dispatcher is killed");
    for run in place.runs().into_iter().chain(place.needs()) {
        let Ok(status) = fs::read_to_string(run.join("status.json")) else { continue };
        let status: serde_json::Value = serde_json::from_str(&status).expect("a status");
        if status["state"] == "running" {
            let pid = rustix::process::Pid::from_raw(status["pid"].as_i64().expect("a process id") as i32);
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::KILL);
        }
    }
    sweep.wait().expect("the dispatcher is gone");
}

/// What every run left, by its id.
fn results(place: &Place) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut runs: Vec<PathBuf> = fs::read_dir(place.path().join("runs/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    runs.sort();
    let read = |run: &Path, name: &str| fs::read(run.join(name)).unwrap_or_else(|_| panic!("{run:?}/{name}"));
    let id = |run: &Path| run.file_name().expect("an id").to_string_lossy().into_owned();
    runs.iter()
        .map(|run| (id(run), read(run, "metrics.jsonl"), read(run, "model/model.safetensors")))
        .collect()
}

#[test]
fn a_chain_of_three_runs_is_planned_killed_resumed_to_the_same_bytes_and_reported() {
    let (undisturbed, first) = chain();
    let plan = undisturbed.succeeds(&["plan", "second.toml"]);
    assert!(
        plan.contains("1 teacher, 1 start and 1 run") || plan.contains("1 start, 1 teacher and 1 run"),
        "{plan}"
    );
    assert!(plan.contains("3 to do"), "{plan}");
    undisturbed.succeeds(&["sweep", "second.toml"]);
    let expected = results(&undisturbed);
    assert_eq!(expected.len(), 3, "the teacher, the student that is the start, the student");

    let (place, again) = chain();
    assert_eq!(again, first, "the same run in another place");
    let mut kills = 0;
    for pause in [60, 250, 120, 400, 180, 90, 320, 150] {
        let mut sweep = place
            .command(&["sweep", "second.toml", "--jobs", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("kdx starts");
        std::thread::sleep(Duration::from_millis(pause));
        if sweep.try_wait().expect("its state").is_none() {
            kills += 1;
            kill_all(&place, &mut sweep);
        }
    }
    assert!(kills > 0, "it was over before it could be killed");
    place.succeeds(&["sweep", "second.toml"]);
    assert!(results(&place) == expected, "other bytes than without kills");

    // The first experiment has its run from the second.
    let text = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(text.contains("the only run is done"), "{text}");
    let show = place.succeeds(&["ls", "second"]);
    assert!(show.contains("start") && show.contains("teacher"), "{show}");
    place.succeeds(&["report", "second"]);
    let page = fs::read_to_string(place.path().join("reports/second/index.html")).expect("a page");
    assert!(page.contains("<h2>Starts</h2>") && page.contains(&first[..8]), "the start is on the page");
    let runs = fs::read_to_string(place.path().join("reports/second/runs.csv")).expect("a table");
    assert!(runs.lines().next().expect("a header").contains("start_run") && runs.contains(&first), "{runs}");

    // What the second experiment needs is kept for it, and goes with it.
    place.succeeds(&["rm", "tiny"]);
    assert!(place.path().join("runs/runs").join(&first).exists());
    let record = json(&place.path().join("runs/experiments/second.json"));
    assert_eq!(record["needs"].as_array().expect("needs").len(), 2, "{record}");
}

#[test]
fn a_run_that_is_not_in_the_store_is_named_with_its_key() {
    let place =
        Place::new(&TINY.replace("hidden_size = 16\nlayers = 1\nheads = 2\n", "run = \"0123abcd\"\n"));
    let output = place.kdx(&["plan", "tiny.toml"]);
    let text = crate::sweeps::both(&output);
    assert!(!output.status.success());
    assert!(text.contains("`student.run` names no run of the store") && text.contains("0123abcd"), "{text}");
}

#[test]
fn a_finished_run_starts_and_teaches_others_without_what_it_was_made_of() {
    let place = Place::new(&TINY.replace("baseline = true\n", "").replace("[1.0, 4.0]", "[1.0]"));
    place.succeeds(&["sweep", "tiny.toml"]);
    let name = |path: &PathBuf| path.file_name().expect("an id").to_string_lossy().into_owned();
    let (student, teacher) = (name(&place.runs()[0]), name(&place.needs()[0]));
    place.succeeds(&["rm", &teacher]);
    let file = fs::read_to_string(place.path().join("tiny.toml")).expect("a file");
    let (data, rest) = file.split_once("[teacher]").expect("a teacher");
    let (_, rest) = rest.split_once("[student]").expect("a student");
    let (sizes, rest) = rest.split_once("[train]").expect("a training");
    let (train, _) = rest.split_once("[grid]").expect("a grid");
    let taught = format!("{data}[teacher]\nrun = \"{student}\"\n[student]{sizes}[train]{train}");
    fs::write(place.path().join("taught.toml"), taught).expect("a file");
    let started = format!("{data}[loss]\nkind = \"none\"\n[student]\nrun = \"{student}\"\n[train]{train}");
    fs::write(place.path().join("started.toml"), started).expect("a file");
    for file in ["taught.toml", "started.toml"] {
        let text = place.succeeds(&["sweep", file]);
        assert!(text.contains("1 finished"), "{file}: {text}");
    }
    assert!(place.runs().iter().chain(&place.needs()).all(|run| !run.ends_with(&teacher)));
}
