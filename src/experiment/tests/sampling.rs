//! `[search.space]`: points that are drawn.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Bench, COMPLETE, column, rows};
use crate::spec::{Pruner, SearchMetric};

const SPACE: &str = "[search.space]\n\"optimizer.learning_rate\" = { log_uniform = [1e-4, 1e-2] }\n\
                     loss.temperature = { uniform = [1, 4] }\nstudent.layers = { int = [1, 3] }\n\
                     loss.kind = { choice = [\"js\", \"tvd\"] }\n";

fn sampled(samples: usize, seed: u64, space: &str) -> Vec<String> {
    let grid = format!("[search]\nsamples = {samples}\nseed = {seed}\n{space}");
    rows(&Bench::new().load("", &grid))
}

#[test]
fn points_are_drawn_from_their_distributions() {
    let bench = Bench::new();
    let experiment = bench.load("", &format!("[search]\nsamples = 300\n{SPACE}"));
    let keys = ["optimizer.learning_rate", "loss.temperature", "student.layers", "loss.kind"];
    assert_eq!(experiment.axes, keys);
    assert_eq!(experiment.points.len(), 300);
    let numbers = |key: &str| -> Vec<f64> {
        column(&experiment, key).iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let rates = numbers("optimizer.learning_rate");
    assert!(rates.iter().all(|rate| (1e-4..=1e-2).contains(rate)));
    // Half of the draws lie below the middle of the ratio: five standard deviations are 43.
    assert!(rates.iter().filter(|rate| **rate < 1e-3).count().abs_diff(150) < 43);
    let temperatures = numbers("loss.temperature");
    assert!(temperatures.iter().all(|t| (1.0..=4.0).contains(t)));
    assert!(temperatures.iter().filter(|t| **t < 2.5).count().abs_diff(150) < 43);
    let layers: HashSet<Value> = column(&experiment, "student.layers").into_iter().collect();
    assert_eq!(layers, HashSet::from([json!(1), json!(2), json!(3)]));
    assert_eq!(column(&experiment, "loss.kind").iter().collect::<HashSet<_>>().len(), 2);
    let digits = |value: &Value| value.to_string().trim_start_matches(['0', '.']).len();
    assert!(column(&experiment, "loss.temperature").iter().all(|value| digits(value) <= 5), "for labels");
}

#[test]
fn more_samples_only_add_points() {
    let (few, many) = (sampled(5, 0, SPACE), sampled(8, 0, SPACE));
    assert_eq!(few, many[..5]);
    assert_eq!(many.iter().collect::<HashSet<_>>().len(), 8);
    assert_ne!(few, sampled(5, 1, SPACE));
}

#[test]
fn the_order_of_keys_changes_nothing_and_nor_does_another_key() {
    let bench = Bench::new();
    let points = |space: &str| {
        let experiment = bench.load("", &format!("[search]\nsamples = 4\n[search.space]\n{space}"));
        column(&experiment, "loss.temperature")
    };
    let temperature = "loss.temperature = { uniform = [1, 4] }\n";
    let alpha = "loss.alpha = { uniform = [0, 1] }\n";
    assert_eq!(points(temperature), points(&format!("{alpha}{temperature}")));
    assert_eq!(points(&format!("{temperature}{alpha}")), points(&format!("{alpha}{temperature}")));
}

#[test]
fn samples_are_crossed_with_the_grid_and_with_seeds() {
    let bench = Bench::new();
    let search = "[grid]\nloss.kind = [\"js\", \"tvd\"]\n[search]\nsamples = 3\n[search.space]\n\
                  loss.alpha = { uniform = [0, 1] }";
    let experiment = bench.load("seeds = [7, 8]", search);
    assert_eq!(experiment.axes, ["loss.kind", "loss.alpha", "train.seed"]);
    assert_eq!(experiment.points.len(), 2 * 3 * 2);
    let rows = rows(&experiment);
    let alpha = |row: &str| row.split('/').nth(1).unwrap().to_owned();
    assert!(rows[0].starts_with("js/") && rows[0].ends_with("/7") && rows[1].ends_with("/8"));
    assert_eq!(alpha(&rows[0]), alpha(&rows[1]));
    assert_ne!(alpha(&rows[1]), alpha(&rows[2]));
    assert_eq!(alpha(&rows[0]), alpha(&rows[6]), "a sample is the same at every point of the grid");
}

#[test]
fn sections_can_be_drawn_as_a_whole() {
    let bench = Bench::new();
    let space = "[search]\nsamples = 20\n[search.space]\n\
                 student = { choice = [{ hidden_size = 32, layers = 3 }, { hidden_size = 48, layers = 2 }] }";
    let experiment = bench.load("", space);
    assert_eq!(experiment.axes, ["student.hidden_size", "student.layers"]);
    assert_eq!(experiment.points.len(), 2, "draws that fall together are one run");
    assert_eq!(
        rows(&experiment).into_iter().collect::<HashSet<_>>(),
        HashSet::from(["32/3".into(), "48/2".into()])
    );
}

#[test]
fn a_stronger_layer_takes_a_key_out_of_the_space() {
    let bench = Bench::new();
    let base = "[search]\nsamples = 3\n[search.space]\nloss.temperature = { uniform = [1, 4] }\n\
                loss.alpha = { uniform = [0, 1] }";
    bench.write("base.toml", &format!("{COMPLETE}\n{base}"));
    bench.write("e.toml", "extends = \"base.toml\"\n[grid]\nloss.alpha = [0.5]\n[search]\nsamples = 2");
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    assert_eq!(experiment.axes, ["loss.alpha", "loss.temperature"]);
    assert_eq!(experiment.points.len(), 2);
    let fixed = bench.load_file("e.toml", &["loss.temperature=2"], &[]).unwrap();
    assert_eq!(rows(&fixed), ["0.5"]);
    let other = "search.space.loss.temperature={ uniform = [5, 6] }";
    let other = bench.load_file("e.toml", &[other], &[]).unwrap();
    assert!(column(&other, "loss.temperature").iter().all(|t| t.as_f64().unwrap() >= 5.0));
}

#[test]
fn baselines_are_marked_also_where_they_were_there_before() {
    let marked = |head: &str, grid: &str| {
        let experiment = Bench::new().load(head, grid);
        experiment.points.iter().map(|point| point.is_baseline).collect::<Vec<_>>()
    };
    assert_eq!(marked("baseline = true", "[grid]\nloss.kind = [\"none\", \"tvd\"]"), [true, false]);
    assert_eq!(marked("", "[grid]\nloss.kind = [\"none\", \"tvd\"]"), [false, false]);
    assert_eq!(marked("baseline = true", "[grid]\nloss.alpha = [0, 1]"), [false, false, true]);
}

#[test]
fn a_search_is_no_part_of_a_runs_identity() {
    let bench = Bench::new();
    let ids = |grid: &str| -> Vec<String> {
        let experiment = bench.load("", grid);
        bench.resolve(&experiment).runs.into_iter().map(|(run, _)| run.run_id.0).collect()
    };
    let plain = ids("");
    assert_eq!(plain, ids("[search]\nseed = 7\neta = 4\nmin_runs = 2"));
}

#[test]
fn what_is_not_comparable_is_a_warning() {
    let bench = Bench::new();
    let text = |metric: &str| {
        let complete = COMPLETE.replace("[data]\n", "[data]\nvalidation = \"valid.jsonl\"\n");
        bench.write(
            "e.toml",
            &format!(
                "{complete}\n[evaluate]\nevery = 2\n[search]\npruner = \"asha\"\nmetric = \"{metric}\"\n\
                 [grid]\nloss.temperature = [1, 2]"
            ),
        );
        bench.load_file("e.toml", &[], &[]).unwrap()
    };
    let experiment = text("soft_loss");
    assert_eq!(
        (experiment.search.pruner, experiment.search.metric),
        (Pruner::Asha, SearchMetric::find("soft_loss").unwrap())
    );
    assert!(experiment.warnings[0].to_string().contains("`loss.temperature` changes what `soft_loss` means"));
    assert!(text("hard_loss").warnings.is_empty());
}
