//! What a worker can do to its sweep: crash, hang, take too long, print garbage. And who watches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::sweeps::{Place, TINY, both, json, signal, state, wait_for};

/// One student without a teacher, which takes so many steps.
fn lone(steps: &str) -> Place {
    let text = TINY.replace("steps = 6", &format!("steps = {steps}\ncheckpoint_every = 0.05"));
    let text = text.replace("baseline = true", "[loss]\nkind = \"none\"");
    Place::new(text.split("[grid]").next().expect("the part before the grid"))
}

fn spawn(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(&["sweep", "tiny.toml"]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kdx starts")
}

fn only(place: &Place) -> PathBuf {
    wait_for("the run directory", || !place.runs().is_empty());
    place.runs().remove(0)
}

/// The process of the first worker that has written a checkpoint.
fn worker(run: &Path) -> u32 {
    wait_for("a checkpoint", || fs::exists(run.join("checkpoint/checkpoint.json")).unwrap_or(false));
    json(&run.join("status.json"))["pid"].as_u64().expect("a process id") as u32
}

#[test]
fn a_worker_that_crashes_costs_its_run_one_attempt_from_its_checkpoint() {
    let place = lone("3000");
    let sweep = spawn(&place, &[]);
    let run = only(&place);
    // Rust's own handler takes the first one for a stack overflow that is not there, and steps aside.
    let pid = worker(&run);
    signal(pid, Signal::SEGV);
    std::thread::sleep(Duration::from_millis(100));
    signal(pid, Signal::SEGV);
    let text = both(&sweep.wait_with_output().expect("kdx ends"));
    assert!(text.contains("again") && text.contains("signal 11, segmentation fault"), "{text}");
    assert!(text.contains("resumed at step"), "{text}");
    assert_eq!(state(&run), "finished", "{text}");
    assert_eq!(json(&run.join("status.json"))["attempt"], 2);
}

#[test]
fn a_worker_that_hangs_is_ended_and_its_run_goes_on() {
    let place = lone("3000");
    let sweep = spawn(&place, &["--set", "resources.stall_timeout=8"]);
    let run = only(&place);
    signal(worker(&run), Signal::STOP);
    let text = both(&sweep.wait_with_output().expect("kdx ends"));
    assert!(text.contains("no sign of life for 8s"), "{text}");
    assert_eq!(state(&run), "finished", "{text}");
    assert_eq!(json(&run.join("status.json"))["attempt"], 2);
}

#[test]
fn a_slow_worker_is_no_hanging_one() {
    // More than one sign of life apart from what it reports: with rows this far apart it reports nothing.
    let place = lone("1000000");
    let arguments = ["--set", "train.log_every=1000000", "--set", "resources.stall_timeout=7"];
    let sweep = spawn(&place, &arguments);
    let run = only(&place);
    let first = worker(&run);
    std::thread::sleep(Duration::from_secs(9));
    signal(sweep.id(), Signal::INT);
    let text = both(&sweep.wait_with_output().expect("kdx ends"));
    assert!(!text.contains("sign of life"), "{text}");
    let status = json(&run.join("status.json"));
    assert_eq!((&status["attempt"], status["pid"].as_u64()), (&Value::from(1), Some(first.into())), "{text}");
}

#[test]
fn a_run_that_takes_too_long_fails_with_a_checkpoint_and_the_command_that_repeats_it() {
    let place = lone("1000000");
    let output = place.kdx(&["sweep", "tiny.toml", "--set", "resources.time_limit=2"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("it took longer than 2s (resources.time_limit)"), "{text}");
    let run = only(&place);
    assert_eq!(state(&run), "failed");
    assert!(run.join("checkpoint/checkpoint.json").exists());
    let id = run.file_name().and_then(|name| name.to_str()).expect("an id");
    let repeat = format!("kdx sweep tiny.toml --set resources.time_limit=2 --run {id}");
    assert!(text.contains(&repeat), "{text}");
    assert!(text.contains("    | "), "the end of its log:\n{text}");
}

#[test]
fn chosen_runs_are_trained_alone_with_their_teacher() {
    let place = Place::new(TINY);
    let wrong = place.kdx(&["sweep", "tiny.toml", "--run", "zz"]);
    assert!(!wrong.status.success());
    assert!(both(&wrong).contains("no single run of tiny begins with `zz`"), "{}", both(&wrong));
    assert!(place.states().iter().all(|state| state == "planned"), "{:?}", place.states());
    let has_teacher = |run: &PathBuf| json(&run.join("run.json"))["spec"]["train"]["teachers"].is_array();
    let chosen = place.runs().into_iter().find(has_teacher).expect("a student with a teacher");
    let id = chosen.file_name().and_then(|name| name.to_str()).expect("an id");
    place.succeeds(&["sweep", "tiny.toml", "--run", &id[..10]]);
    assert_eq!(state(&chosen), "finished");
    assert_eq!(place.states().iter().filter(|state| *state == "finished").count(), 1);
    assert_eq!(place.needs().iter().map(|run| state(run)).collect::<Vec<_>>(), ["finished"]);
}

/// The JSON objects of an output, one a line.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn programs_read_what_happens_as_json() {
    let place = Place::new(TINY);
    let output = place.kdx(&["sweep", "tiny.toml", "--json"]);
    assert!(output.status.success(), "{}", both(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(events[0]["event"], "begin");
    let runs = events[0]["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 4, "a teacher, two students and a baseline");
    assert_eq!(of("worker").len(), 4);
    assert_eq!(of("started").len(), 4);
    assert!(of("metric").iter().all(|event| event["row"]["loss"].is_f64() && event["run"].is_string()));
    let ended = of("ended");
    assert_eq!(ended.len(), 4);
    assert!(ended.iter().all(|event| event["state"] == "finished"), "{ended:?}");
    assert_eq!(events.last().expect("an end")["runs"]["finished"], 4);
    // Nothing to do is said in the same form.
    let again = place.kdx(&["sweep", "tiny.toml", "--json"]);
    let lines = json_lines(&String::from_utf8_lossy(&again.stdout));
    assert_eq!(
        lines.iter().map(|line| line["event"].as_str().unwrap_or("")).collect::<Vec<_>>(),
        ["begin", "end"]
    );
}

#[test]
fn the_first_failure_ends_a_sweep_that_is_told_so() {
    // Two students: one cannot be trained, as its vocabulary is too narrow for the tokenizer.
    let text = TINY.replace("\"loss.temperature\" = [1.0, 4.0]", "\"train.seed\" = [1, 2, 3]");
    let text = text.replace("baseline = true", "[loss]\nkind = \"none\"");
    let place = Place::new(&text.replace("steps = 6", "steps = 20000\ncheckpoint_every = 0.05"));
    let arguments = ["--fail-fast", "--jobs", "1", "--set", "resources.attempts=1"];
    let sweep = spawn(&place, &arguments);
    wait_for("a run to begin", || place.states().iter().any(|s| s == "running"));
    let run = place.runs().into_iter().find(|run| state(run) == "running").expect("a running run");
    signal(worker(&run), Signal::KILL);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 failed, 2 not begun"), "{text}");
}

#[test]
fn another_terminal_watches_a_sweep_to_its_end() {
    let place = Place::new(&TINY.replace("steps = 6", "steps = 2000"));
    let sweep = spawn(&place, &["--jobs", "1"]);
    wait_for("a run to begin", || place.states().iter().any(|s| s == "running"));
    let watch = place.kdx(&["watch", "tiny", "--json"]);
    assert!(sweep.wait_with_output().expect("kdx ends").status.success());
    assert!(watch.status.success(), "{}", both(&watch));
    let events = json_lines(&String::from_utf8_lossy(&watch.stdout));
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((of("begin"), of("end")), (1, 1));
    // The teacher, and perhaps more, was done before the watching began.
    let planned = events[0]["runs"].as_array().expect("runs").len();
    assert!((1..4).contains(&planned), "{planned}");
    assert_eq!((of("worker"), of("ended")), (planned, planned), "{events:?}");
    assert!(of("metric") > planned);
    assert!(place.succeeds(&["watch", "tiny"]).contains("all 3 runs are done"));
}

#[test]
fn the_watching_ends_when_nobody_works_any_more() {
    let place = lone("1000000");
    let sweep = spawn(&place, &[]);
    worker(&only(&place));
    let said = place.path().join("watch.log");
    let mut watch = place.command(&["watch", "tiny", "--patience", "3"]);
    watch.stdout(Stdio::piped()).stderr(fs::File::create(&said).expect("a file"));
    let watch = watch.spawn().expect("kdx starts");
    let words = || fs::read_to_string(&said).unwrap_or_default();
    wait_for("the run to be seen", || words().contains("started"));
    signal(sweep.id(), Signal::INT);
    assert_eq!(sweep.wait_with_output().expect("kdx ends").status.code(), Some(130));
    let output = watch.wait_with_output().expect("kdx ends");
    let text = both(&output) + &words();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("1 not done; no worker runs any more"), "{text}");
}

#[test]
fn students_of_a_teacher_that_is_asked_to_stop_are_not_begun() {
    let place = Place::new(&TINY.replace("steps = 4", "steps = 1000000"));
    let sweep = spawn(&place, &[]);
    wait_for("the teacher to begin", || place.needs().iter().any(|run| state(run) == "running"));
    signal(sweep.id(), Signal::INT);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("1 interrupted, 3 not begun") && !text.contains("failed"), "{text}");
}

#[test]
fn resources_that_change_nothing_are_warned_of() {
    let place = lone("2");
    let local = place.succeeds(&["sweep", "tiny.toml", "--set", "resources.share_process=true"]);
    assert!(local.contains("warning: resources.share_process has no effect on the processors"), "{local}");
    let plain = Place::new(TINY);
    assert!(!plain.succeeds(&["sweep", "tiny.toml"]).contains("has no effect"));
    let there = ["sweep", "tiny.toml", "--executor", "slurm", "--dry-run", "--set"];
    let set = |key| Place::new(TINY).succeeds(&[&there[..], &[key]].concat());
    let (threads, slots) = (set("resources.threads=2"), set("resources.per_device=2"));
    assert!(threads.contains("warning: resources.threads has no effect") && threads.contains("slurm.cpus"));
    assert!(slots.contains("warning: resources.per_device") && slots.contains("slurm.max_tasks"));
    assert!(!set("resources.attempts=3").contains("has no effect"));
}
