//! Searches through the program: bad runs are stopped early, and everything resumes as if it had not stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::sweeps::{Place, json, state, wait_for};

const BASE: &str = r#"
[data]
train = "TOYDATA/train.jsonl"
validation = "TOYDATA/validation.jsonl"
tokenizer = "TOYDATA/tokenizer"
max_length = 48
train_limit = 48
validation_limit = 16

[student]
hidden_size = 16
layers = 1
heads = 2

[loss]
kind = "none"

[schedule]
kind = "constant"
"#;

/// Nine learning rates, 1e-3 the best; rungs at steps 1, 3 and 9 of 12.
fn asha() -> Place {
    Place::new(&format!(
        "{BASE}\n[train]\nsteps = 12\nbatch_size = 4\n[evaluate]\nevery = 1\n\
         [grid]\n\"optimizer.learning_rate\" = [1e-5, 1e-3, 1e-7, 3e-5, 3e-7, 1e-4, 1e-6, 3e-4, 3e-6]\n\
         [search]\npruner = \"asha\"\n"
    ))
}

/// Two good learning rates, then four that learn nothing: long enough to be stopped in the middle.
fn median() -> Place {
    Place::new(&format!(
        "{BASE}\n[train]\nsteps = 900\nbatch_size = 4\nlog_every = 100\n[evaluate]\nevery = 50\n\
         [grid]\n\"optimizer.learning_rate\" = [1e-3, 5e-4, 1e-9, 2e-9, 3e-9, 4e-9]\n\
         [search]\npruner = \"median\"\nmin_runs = 2\n"
    ))
}

/// Runs by their learning rate.
fn by_rate(place: &Place) -> BTreeMap<String, std::path::PathBuf> {
    let rate =
        |run: &Path| json(&run.join("run.json"))["spec"]["train"]["optimizer"]["learning_rate"].to_string();
    place.runs().into_iter().map(|run| (rate(&run), run)).collect()
}

fn steps(run: &Path) -> u64 {
    json(&run.join("summary.json"))["steps"].as_u64().unwrap()
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.path().join("runs/experiments/tiny.search.jsonl")).unwrap_or_default()
}

/// What was decided: the promotions and the runs that were given up, in order.
fn decisions(place: &Place) -> Vec<serde_json::Value> {
    let lines = log(place);
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["fact"] == "promoted" || line["fact"] == "stopped").collect()
}

/// The metrics of the finished runs.
fn finished(place: &Place) -> BTreeMap<String, String> {
    let runs = by_rate(place).into_iter().filter(|(_, run)| state(run) == "finished");
    runs.map(|(rate, run)| (rate, fs::read_to_string(run.join("metrics.jsonl")).unwrap())).collect()
}

/// Sweeps, and kills the sweep as soon as its log has so many lines.
fn killed_after(place: &Place, lines: usize) {
    let mut sweep = place
        .command(&["sweep", "tiny.toml", "--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the log to grow", || log(place).lines().count() >= lines);
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    // Its worker writes a checkpoint and goes; a run that it still held, or was about to, would be put off.
    wait_for("the worker to end", || !has_workers(place) && !place.states().contains(&"running".to_owned()));
}

/// Whether a process works on the store of a place, by the command lines of all processes.
fn has_workers(place: &Place) -> bool {
    let store = place.path().join("runs").display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut commands = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    commands.any(|command| command.split(|&byte| byte == 0).any(|word| word == store.as_bytes()))
}

#[test]
fn successive_halving_finishes_the_best_run_and_spares_the_others() {
    let place = asha();
    let said = place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    assert!(said.contains("stopped"), "{said}");
    let runs = by_rate(&place);
    assert_eq!(runs.len(), 9);
    let best = &runs["0.001"];
    assert_eq!((state(best), steps(best)), ("finished".to_owned(), 12));
    let stopped: Vec<_> = runs.values().filter(|run| state(run) == "stopped").collect();
    assert!(stopped.len() >= 6, "{}", stopped.len());
    assert!(stopped.iter().all(|run| [1, 3, 9].contains(&steps(run))), "each stopped at a rung");
    assert!(stopped.iter().all(|run| run.join("checkpoint/checkpoint.json").exists()));
    let all: u64 = runs.values().map(|run| steps(run)).sum();
    assert!(all < 9 * 12 / 2, "{all} of {} steps", 9 * 12);
    let reason = json(&runs["1e-7"].join("status.json"))["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("asha: hard_loss ") && reason.ends_with("at step 1 is not among the best 3 of 9"),
        "{reason}"
    );

    let before = log(&place);
    let again = place.succeeds(&["sweep", "tiny.toml"]);
    assert!(again.contains("all 9 runs are done or stopped early"), "{again}");
    assert_eq!(log(&place), before);
    assert!(place.succeeds(&["ls", "tiny"]).contains("stopped at step 1"));
    assert!(place.succeeds(&["show", runs["1e-7"].file_name().unwrap().to_str().unwrap()]).contains("asha:"));
    place.succeeds(&["report", "tiny"]);
    let summary = fs::read_to_string(place.path().join("reports/tiny/summary.md")).unwrap();
    assert!(summary.contains("## Stopped early") && summary.contains("stopped"), "{summary}");
    let csv = fs::read_to_string(place.path().join("reports/tiny/runs.csv")).unwrap();
    assert_eq!(csv.matches(",stopped,").count(), stopped.len());
}

/// Any metric that every evaluation holds can be judged by, under its name alone.
#[test]
fn a_search_judges_by_a_metric_that_it_is_told_the_name_of() {
    let place = asha();
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1", "--set", "search.metric=accuracy"]);
    let mut stopped = 0;
    for (rate, run) in by_rate(&place) {
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let rows = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let measured: Vec<_> = rows.filter(|row| row["split"] == "validation").collect();
        assert!(!measured.is_empty() && measured.iter().all(|row| row["accuracy"].is_f64()), "{metrics}");
        if state(&run) == "stopped" {
            let last = measured.last().unwrap();
            let (accuracy, step) = (last["accuracy"].as_f64().unwrap(), &last["step"]);
            let reason = json(&run.join("status.json"))["reason"].as_str().unwrap().to_owned();
            assert!(
                reason.starts_with(&format!("asha: accuracy {accuracy:.4} at step {step} ")),
                "{rate}: {reason}"
            );
            stopped += 1;
        }
    }
    assert!(stopped >= 6, "{stopped}");
    assert!(place.succeeds(&["ls", "tiny"]).contains("accuracy"));
}

#[test]
fn a_killed_search_decides_and_measures_the_same() {
    let whole = asha();
    whole.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    let place = asha();
    let lines = log(&whole).lines().count();
    for at in [2, lines / 2, lines - 2] {
        killed_after(&place, at);
    }
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    assert_eq!(decisions(&place), decisions(&whole));
    assert_eq!(finished(&place), finished(&whole));
    assert!(!finished(&whole).is_empty());

    // Without the search the others go on from where they were stopped, to the same end as if they never were.
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1", "--set", "search.pruner=none"]);
    assert_eq!(place.states(), ["finished"; 9]);
    let logs: Vec<_> =
        by_rate(&place).into_values().map(|run| fs::read_to_string(run.join("log.txt")).unwrap()).collect();
    assert!(logs.iter().all(|log| log.contains("resumed at step")), "each went on from its checkpoint");
    let plain = asha();
    plain.succeeds(&["sweep", "tiny.toml", "--set", "search.pruner=none"]);
    assert_eq!(finished(&place), finished(&plain));
    assert!(log(&plain).is_empty());
}

#[test]
fn two_searches_at_once_train_no_step_twice() {
    let place = asha();
    let sweep = || {
        let mut command = place.command(&["sweep", "tiny.toml", "--jobs", "2"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [sweep(), sweep()].map(|sweep| sweep.wait_with_output().unwrap());
    for output in &both {
        assert!(output.status.success(), "{}", crate::sweeps::both(output));
    }
    let runs = by_rate(&place);
    assert_eq!(state(&runs["0.001"]), "finished");
    assert!(runs.values().all(|run| ["finished", "stopped"].contains(&&*state(run))));
    let mut promoted: Vec<String> =
        decisions(&place).iter().map(|line| format!("{} {}", line["run"], line["rung"])).collect();
    let count = promoted.len();
    promoted.sort();
    promoted.dedup();
    assert_eq!(promoted.len(), count, "a run was promoted twice");
}

#[test]
fn a_search_can_grow() {
    let grown = |samples: usize| {
        format!(
            "{BASE}\n[train]\nsteps = 4\nbatch_size = 4\n[evaluate]\nevery = 1\n[search]\npruner = \"asha\"\n\
             samples = {samples}\n[search.space]\n\"optimizer.learning_rate\" = {{ log_uniform = [1e-5, 1e-2] }}\n"
        )
    };
    let place = Place::new(&grown(3));
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    let before = by_rate(&place);
    assert_eq!(before.len(), 3);
    let bigger = Place::new(&grown(6));
    fs::copy(bigger.path().join("tiny.toml"), place.path().join("tiny.toml")).unwrap();
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    let after = by_rate(&place);
    assert_eq!(after.len(), 6);
    assert!(before.keys().all(|rate| after.contains_key(rate)), "the first three are the same runs");
}

#[test]
fn the_median_rule_stops_what_is_behind() {
    let place = median();
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    let runs = by_rate(&place);
    assert_eq!(finished(&place).into_keys().collect::<Vec<_>>(), ["0.0005", "0.001"]);
    for (rate, run) in runs.iter().filter(|(rate, _)| rate.ends_with("e-9")) {
        assert_eq!(state(run), "stopped", "{rate}");
        assert!(steps(run) >= 50 && steps(run) < 900, "{rate} at step {}", steps(run));
        let reason = json(&run.join("status.json"))["reason"].as_str().unwrap().to_owned();
        assert!(reason.starts_with("median: its best hard_loss up to step 50 is "), "{reason}");
    }

    let other = median();
    // While the first run is measured, and when the second and the third are through.
    for at in [3, 39] {
        killed_after(&other, at);
    }
    other.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    assert_eq!(decisions(&other), decisions(&place));
    assert_eq!(finished(&other), finished(&place));
}

#[test]
fn a_baseline_is_never_stopped() {
    let text = format!(
        "baseline = true\n{}\n[teacher]\nhidden_size = 16\nlayers = 1\nheads = 2\n[teacher.train]\nsteps = 2\n\
         [train]\nsteps = 4\nbatch_size = 4\n[evaluate]\nevery = 1\n\
         [grid]\n\"loss.temperature\" = [1, 1.5, 2, 2.5]\n[search]\npruner = \"asha\"\neta = 2\n",
        BASE.replace("[loss]\nkind = \"none\"\n", "")
    );
    let place = Place::new(&text);
    place.succeeds(&["sweep", "tiny.toml", "--jobs", "1"]);
    let baseline = place
        .runs()
        .into_iter()
        .find(|run| json(&run.join("run.json"))["spec"]["train"]["loss"]["kind"] == "none");
    let baseline = baseline.unwrap();
    assert_eq!((state(&baseline), steps(&baseline)), ("finished".to_owned(), 4));
    assert!(place.states().contains(&"stopped".to_owned()));
    let id = baseline.file_name().unwrap().to_str().unwrap();
    assert!(!log(&place).contains(id), "nobody judges it");
}
