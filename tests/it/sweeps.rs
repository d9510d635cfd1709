//! Whole sweeps through the program, as a user runs them: tiny models on a few toy records.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use polars::prelude::DataType;
use polars_io::prelude::{ParquetReader, SerReader};
use tempfile::TempDir;

/// A folder with an experiment file and, after a sweep, a store.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new(experiment: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let toydata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("toydata");
        let text = experiment.replace("TOYDATA", &toydata.display().to_string());
        fs::write(folder.path().join("tiny.toml"), text).expect("the experiment file");
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdx"));
        command.current_dir(self.path()).args(arguments).env_remove("KDX_STORE");
        command
    }

    pub fn kdx(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kdx runs")
    }

    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.kdx(arguments);
        let text = both(&output);
        assert!(output.status.success(), "kdx {arguments:?} failed with {}:\n{text}", output.status);
        text
    }

    /// What is among the run directories: of the points of experiments, and what is no run's any more.
    pub fn runs(&self) -> Vec<PathBuf> {
        let needed = self.needed_names();
        self.run_directories().into_iter().filter(|path| !needed.contains(&name_of(path))).collect()
    }

    /// The directories of the runs that those need.
    pub fn needs(&self) -> Vec<PathBuf> {
        let needed = self.needed_names();
        self.run_directories().into_iter().filter(|path| needed.contains(&name_of(path))).collect()
    }

    fn run_directories(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path().join("runs/runs")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    fn needed_names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join("runs/experiments")) else { return Vec::new() };
        let experiments = entries.map(|entry| entry.expect("an entry").path());
        let experiments = experiments.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let needs = experiments.flat_map(|path| json(&path)["needs"].as_array().cloned().unwrap_or_default());
        needs.map(|need| need["run_id"].as_str().expect("an id").to_owned()).collect()
    }

    pub fn states(&self) -> Vec<String> {
        self.runs().iter().map(|run| state(run)).collect()
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub fn json(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn state(run: &Path) -> String {
    match fs::exists(run.join("status.json")) {
        Ok(true) => json(&run.join("status.json"))["state"].as_str().unwrap_or_default().to_owned(),
        _ => "planned".to_owned(),
    }
}

pub const TINY: &str = r#"
baseline = true

[data]
train = "TOYDATA/train.jsonl"
validation = "TOYDATA/validation.jsonl"
tokenizer = "TOYDATA/tokenizer"
max_length = 48
train_limit = 48
validation_limit = 16

[teacher]
hidden_size = 32
layers = 1
heads = 2
[teacher.train]
steps = 4
batch_size = 4

[student]
hidden_size = 16
layers = 1
heads = 2

[train]
steps = 6
batch_size = 4

[evaluate]
every = 3

[grid]
"loss.temperature" = [1.0, 4.0]
"#;

#[test]
fn a_sweep_trains_everything_once_and_then_reports_and_compares() {
    let place = Place::new(TINY);
    let plan = place.succeeds(&["plan", "tiny.toml"]);
    assert!(plan.contains("temperature=4.0"), "{plan}");
    assert!(plan.contains("4 to do"), "one teacher, two points, one baseline:\n{plan}");
    assert!(place.runs().is_empty(), "planning must not begin runs");

    place.succeeds(&["sweep", "tiny.toml"]);
    assert_eq!(place.states(), ["finished"; 3]);
    assert_eq!(place.needs().len(), 1);
    let run = &place.runs()[0];
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    assert_eq!(metrics.lines().filter(|l| l.contains("\"train\"")).count(), 6);
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(run.join("model").join(file).exists(), "the student has no {file}");
    }

    let before: Vec<_> = place.runs().iter().map(|r| json(&r.join("status.json"))).collect();
    let again = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(again.contains("all 3 runs are done"), "{again}");
    let after: Vec<_> = place.runs().iter().map(|r| json(&r.join("status.json"))).collect();
    assert_eq!(before, after, "a finished run was touched");

    assert!(place.succeeds(&["ls"]).contains("tiny"));
    assert!(place.succeeds(&["ls", "tiny"]).contains("finished"));
    let id = run.file_name().and_then(|n| n.to_str()).expect("an id").to_owned();
    let show = place.succeeds(&["show", &id[..8]]);
    assert!(show.contains("held out") && show.contains("[loss]"), "{show}");

    place.succeeds(&["report", "tiny"]);
    for file in ["runs.parquet", "metrics.parquet", "runs.csv", "index.html", "summary.md"] {
        assert!(place.path().join("reports/tiny").join(file).exists(), "the report has no {file}");
    }
    place.succeeds(&["compare", "tiny", "tiny"]);
}

/// Declared in TOML alone, and read back from the table that a report writes.
#[test]
fn a_declared_run_follows_the_curve_of_pytorch() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = r#"
        [data]
        train = "GOLDEN/tokenized.jsonl"
        format = "tokenized"
        max_length = 48
        shuffle = false
        [teacher]
        path = "GOLDEN/teacher"
        [student]
        path = "GOLDEN/student"
        [loss]
        kind = "forward_kl"
        temperature = 1.5
        alpha = 0.5
        [optimizer]
        learning_rate = 5e-4
        [schedule]
        kind = "minimind"
        [train]
        epochs = 10
        batch_size = 4
    "#;
    let place = Place::new(&text.replace("GOLDEN", &golden.display().to_string()));
    place.succeeds(&["sweep", "tiny.toml"]);
    place.succeeds(&["report", "tiny"]);

    let file = fs::File::open(place.path().join("reports/tiny/metrics.parquet")).expect("a table");
    let table = ParquetReader::new(file).finish().expect("a readable table");
    let column = |name: &str| -> Vec<f64> {
        let column = table.column(name).expect(name).cast(&DataType::Float64).expect(name);
        column.f64().expect(name).into_no_null_iter().collect()
    };
    let reference = json(&golden.join("golden.json"));
    let curve = reference["curve_accumulate_1"].as_array().expect("a curve");
    assert_eq!(column("step").len(), curve.len());
    for (name, key) in [
        ("step", "step"),
        ("learning_rate", "lr"),
        ("loss", "total"),
        ("hard_loss", "hard"),
        ("soft_loss", "soft"),
        ("grad_norm", "grad_norm"),
    ] {
        for (found, row) in column(name).into_iter().zip(curve) {
            let expected = row[key].as_f64().expect(key);
            let what = format!("{name} at step {}", row["step"]);
            super::support::close(&what, found, expected, 1e-3);
        }
    }
}

#[test]
fn a_new_point_is_trained_alone() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let text = place.succeeds(&["sweep", "tiny.toml", "--set", r#"grid."loss.temperature"=[1.0, 4.0, 8.0]"#]);
    assert!(text.contains("tiny: 1 run to train"), "{text}");
    assert_eq!(place.states().len(), 4);
}

#[test]
fn a_run_gives_the_same_metrics_when_it_is_trained_again() {
    let metrics = |place: &Place| -> Vec<String> {
        let runs = place.runs();
        runs.iter().map(|r| fs::read_to_string(r.join("metrics.jsonl")).expect("metrics")).collect()
    };
    let (one, two) = (Place::new(TINY), Place::new(TINY));
    one.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    two.succeeds(&["sweep", "tiny.toml", "--jobs", "2"]);
    assert_eq!(one.runs().len(), 3);
    assert_eq!(metrics(&one), metrics(&two));
}

/// Long enough to be stopped in the middle.
fn endless() -> Place {
    Place::new(&TINY.replace("steps = 6", "steps = 100000").replace("steps = 4", "steps = 1"))
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn begun(place: &Place) -> bool {
    place.runs().iter().any(|run| {
        fs::metadata(run.join("metrics.jsonl")).is_ok_and(|m| m.len() > 0) && state(run) == "running"
    })
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("a signal is sent");
}

#[test]
fn an_interrupt_stops_in_good_order_and_says_how_to_continue() {
    let place = endless();
    let sweep = place
        .command(&["sweep", "tiny.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kdx starts");
    wait_for("a run to begin", || begun(&place));
    signal(sweep.id(), rustix::process::Signal::INT);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("the same command continues"), "{text}");
    assert!(place.states().iter().any(|s| s == "interrupted"), "{:?}", place.states());
    assert!(!place.states().iter().any(|s| s == "running"), "{:?}", place.states());
}

#[test]
fn a_second_interrupt_ends_a_worker_at_once_and_its_run_is_killed_not_interrupted() {
    let place = endless();
    let sweep = place
        .command(&["sweep", "tiny.toml", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kdx starts");
    wait_for("a run to begin", || begun(&place));
    let runs = place.runs();
    let run = runs.iter().find(|run| state(run) == "running").expect("a run");
    // It cannot hear that it should stop.
    let worker = json(&run.join("status.json"))["pid"].as_u64().expect("a process id") as u32;
    signal(worker, rustix::process::Signal::STOP);
    signal(sweep.id(), rustix::process::Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    signal(sweep.id(), rustix::process::Signal::INT);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("1 killed") && text.contains("the same command continues"), "{text}");
    let id = run.file_name().and_then(|name| name.to_str()).expect("an id");
    let ls = place.succeeds(&["ls", "tiny"]);
    assert!(ls.lines().any(|line| line.contains(id) && line.contains("killed")), "{ls}");
    assert!(place.succeeds(&["show", id]).contains("state         killed"));
    assert!(place.kdx(&["report", "tiny"]).status.success());
    let page = fs::read_to_string(place.path().join("reports/tiny/summary.md")).expect("a page");
    assert!(page.contains("1 killed"), "{page}");
}

#[test]
fn workers_stop_when_their_dispatcher_is_killed() {
    let place = endless();
    let mut sweep = place
        .command(&["sweep", "tiny.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kdx starts");
    wait_for("a run to begin", || begun(&place));
    sweep.kill().expect("kdx is killed");
    sweep.wait().expect("kdx is gone");
    wait_for("the workers to stop", || !place.states().iter().any(|s| s == "running"));
}

#[test]
fn a_killed_worker_costs_its_run_one_attempt() {
    let place = endless();
    let sweep = place
        // A slot for each run, so that the victim need not wait for one.
        .command(&["sweep", "tiny.toml", "--set", "resources.attempts=2", "--jobs", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kdx starts");
    wait_for("a run to begin", || begun(&place));
    let victim = place.runs().into_iter().find(|r| state(r) == "running").expect("a running run");
    let pid = || json(&victim.join("status.json"))["pid"].as_u64().expect("a process id") as u32;
    let first = pid();
    signal(first, rustix::process::Signal::KILL);
    wait_for("another attempt", || json(&victim.join("status.json"))["attempt"] == 2 && pid() != first);
    signal(pid(), rustix::process::Signal::KILL);
    wait_for("the run to be given up", || state(&victim) == "failed");
    signal(sweep.id(), rustix::process::Signal::INT);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert!(text.contains("again") && text.contains("signal 9"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn a_run_that_diverges_is_named_with_its_step_and_is_not_run_again() {
    let text = TINY.replace("[train]", "[optimizer]\nlearning_rate = 1e30\nclip_norm = 0.0\n[train]");
    let place = Place::new(&text);
    let output = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(output.contains("diverged") && output.contains("at step"), "{output}");
    assert!(place.states().iter().all(|s| s == "diverged"), "{:?}", place.states());
    assert!(place.succeeds(&["sweep", "tiny.toml"]).contains("are done"));
}

#[test]
fn a_damaged_status_is_named() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let status = place.runs()[1].join("status.json");
    fs::write(&status, "{\"format_version\": 1, \"st").expect("damage");
    let output = place.kdx(&["ls", "tiny"]);
    assert!(!output.status.success());
    assert!(both(&output).contains("status.json"), "{}", both(&output));
}

/// The files of the cache, as `kdx cache ls --json` says.
fn cached(place: &Place) -> Vec<(String, u64)> {
    let list: serde_json::Value =
        serde_json::from_str(&place.succeeds(&["cache", "ls", "--json"])).expect("JSON");
    let entry = |entry: &serde_json::Value| {
        (entry["kind"].as_str().expect("a kind").to_owned(), entry["bytes"].as_u64().expect("bytes"))
    };
    list.as_array().expect("a list").iter().map(entry).collect()
}

#[test]
fn a_sweep_pays_for_its_teacher_once_and_the_cache_can_be_cleared() {
    let text = TINY.replace("steps = 6\n", "epochs = 2\n");
    let place = Place::new(&text);
    assert!(place.succeeds(&["cache", "ls"]).contains("nothing in"));
    assert!(place.succeeds(&["cache", "gc"]).contains("nothing removed"));
    place.succeeds(&["sweep", "tiny.toml"]);
    let logs: String =
        place.runs().iter().map(|run| fs::read_to_string(run.join("log.txt")).expect("a log")).collect();
    assert_eq!(logs.matches("teacher signal: hidden").count(), 3, "{logs}");
    let wrote = |of: &str| logs.matches(&format!("wrote the teacher's hidden states of the {of}")).count();
    assert_eq!((wrote("training data"), wrote("held-out data")), (1, 1), "{logs}");

    let kinds = |place: &Place| {
        let mut kinds: Vec<String> = cached(place).into_iter().map(|(kind, _)| kind).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&place), ["hidden", "hidden", "tokens", "tokens"]);
    let table = place.succeeds(&["cache", "ls"]);
    for part in
        ["teacher", "last used", "32×1", "train.jsonl", "validation.jsonl", "f32", "48 sequences", "4 files"]
    {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(place.succeeds(&["cache", "gc", "--older-than", "1d"]).contains("nothing removed"));
    let dry = place.succeeds(&["cache", "gc", "--max-size", "0", "--dry-run"]);
    assert!(dry.contains("would be removed") && dry.contains("0 B left"), "{dry}");
    assert_eq!(cached(&place).len(), 4);
    place.succeeds(&["cache", "gc", "--max-size", "0"]);
    assert_eq!(cached(&place), []);
    for wrong in [["--max-size", "much"], ["--older-than", "yesterday"]] {
        assert!(!place.kdx(&["cache", "gc", wrong[0], wrong[1]]).status.success(), "{wrong:?}");
    }

    // Whatever is removed is made again.
    place.succeeds(&["sweep", "tiny.toml", "--set", "grid.loss.temperature=[2.0]"]);
    assert_eq!(kinds(&place), ["hidden", "hidden", "tokens", "tokens"]);
}

#[test]
fn a_worker_that_is_killed_while_it_prepares_is_made_up_for() {
    let text = TINY
        .replace("hidden_size = 32\nlayers = 1", "hidden_size = 128\nlayers = 12")
        .replace("train_limit = 48", "train_limit = 1000")
        .replace("steps = 4", "steps = 1")
        .replace("steps = 6\n", "steps = 300\n")
        .replace("baseline = true", "");
    let place = Place::new(&text);
    let sweep = place
        .command(&["sweep", "tiny.toml", "--jobs", "2", "--set", "teacher.signal=hidden"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kdx starts");
    let signals = place.path().join("runs/cache/signals");
    let partial = || {
        let mut names = fs::read_dir(&signals).into_iter().flatten().flatten().map(|entry| entry.path());
        names.find(|path| path.extension().is_some_and(|extension| extension == "partial"))
    };
    wait_for("a signal to be begun", || partial().is_some());
    // The one that writes is the one whose log says so.
    let writes = |run: &PathBuf| {
        let log = fs::read_to_string(run.join("log.txt")).unwrap_or_default();
        log.contains("writing the teacher's hidden states")
    };
    wait_for("the writer to say so", || place.runs().iter().any(writes));
    let writer = place.runs().into_iter().find(writes).expect("a writer");
    let pid = json(&writer.join("status.json"))["pid"].as_u64().expect("a process id") as u32;
    signal(pid, rustix::process::Signal::KILL);
    let output = sweep.wait_with_output().expect("kdx ends");
    let text = both(&output);
    assert!(output.status.success() && text.contains("signal 9"), "{text}");
    assert_eq!(place.states(), ["finished"; 2]);
    assert_eq!(partial(), None);
    let metrics = |run: &PathBuf| fs::read(run.join("metrics.jsonl")).expect("metrics");
    let found: Vec<_> = place.runs().iter().map(metrics).collect();

    // The same numbers as those of a teacher that runs on every batch.
    let online = Place::new(&text_of(&place));
    online.succeeds(&["sweep", "tiny.toml", "--set", "teacher.signal=online"]);
    assert!(found == online.runs().iter().map(metrics).collect::<Vec<_>>());
}

fn text_of(place: &Place) -> String {
    fs::read_to_string(place.path().join("tiny.toml")).expect("the experiment file")
}
