//! From axes to points.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::{Bench, COMPLETE, column, rows};
use crate::spec::LossKind;

#[test]
fn axes_follow_the_file_and_the_last_is_the_fastest() {
    let bench = Bench::new();
    let grid = "[[zip]]\ntrain.steps = [10, 20]\noptimizer.learning_rate = [0.1, 0.2]\n\
                [grid]\n\"loss.temperature\" = [2, 1]\nloss.alpha = [0.5, 0]";
    let experiment = bench.load("", grid);
    assert_eq!(experiment.axes, ["train.steps", "optimizer.learning_rate", "loss.temperature", "loss.alpha"]);
    let expected = [
        "10/0.1/2.0/0.5",
        "10/0.1/2.0/0.0",
        "10/0.1/1.0/0.5",
        "10/0.1/1.0/0.0",
        "20/0.2/2.0/0.5",
        "20/0.2/2.0/0.0",
        "20/0.2/1.0/0.5",
        "20/0.2/1.0/0.0",
    ];
    assert_eq!(rows(&experiment), expected);
    let last = &experiment.points[7].config;
    assert_eq!((last.train.steps, last.optimizer.learning_rate, last.loss.alpha), (Some(20), 0.2, 0.0));
}

#[test]
fn a_file_without_a_grid_is_one_point() {
    let experiment = Bench::new().load("", "");
    assert_eq!(experiment.points.len(), 1);
    assert!(experiment.axes.is_empty() && experiment.points[0].values.is_empty());
}

#[test]
fn rules_make_values_of_the_keys_type() {
    let bench = Bench::new();
    let grid = "[grid]\nstudent.hidden_size = { linspace = [16, 64, 4] }\n\
                optimizer.learning_rate = { logspace = [1e-4, 1e-2, 3] }\ntrain.seed = { range = [0, 2, 1] }";
    let experiment = bench.load("", grid);
    assert_eq!(experiment.points.len(), 4 * 3 * 2);
    let sizes: HashSet<_> = column(&experiment, "student.hidden_size").into_iter().collect();
    assert_eq!(sizes, HashSet::from([json!(16), json!(32), json!(48), json!(64)]));
    assert_eq!(rows(&experiment)[2], "16/0.001/0");
}

#[test]
fn points_that_cannot_differ_are_one() {
    let bench = Bench::new();
    let grid = "[grid]\nloss.kind = [\"forward_kl\", \"logit_mse\", \"none\"]\n\
                loss.temperature = [1, 2]\nloss.alpha = [0.3, 0.7, 0.3]";
    let experiment = bench.load("", grid);
    let expected = [
        "forward_kl/1.0/0.3",
        "forward_kl/1.0/0.7",
        "forward_kl/2.0/0.3",
        "forward_kl/2.0/0.7",
        "logit_mse/-/0.3",
        "logit_mse/-/0.7",
        "none/-/-",
    ];
    assert_eq!(rows(&experiment), expected);
}

#[test]
fn a_size_that_is_written_out_is_the_derived_one() {
    let experiment = Bench::new().load("", "[grid]\nstudent = [{ heads = 8 }, {}, { heads = 4 }]");
    assert_eq!(column(&experiment, "student.heads"), [json!(8), json!(4)]);
}

#[test]
fn excluded_points_are_left_out_and_included_ones_added_after() {
    let bench = Bench::new();
    let grid = "[grid]\nloss.temperature = [1, 2]\nloss.alpha = [0, 0.5]\n\
                [[exclude]]\nloss.temperature = 2\nloss.alpha = 0\n\
                [[include]]\nloss.kind = \"js\"\n[[include]]\n\"loss.temperature\" = 2\n\"loss.alpha\" = 0";
    let experiment = bench.load("", grid);
    assert_eq!(experiment.axes, ["loss.temperature", "loss.alpha", "loss.kind"]);
    let expected = [
        "1.0/0.0/forward_kl",
        "1.0/0.5/forward_kl",
        "2.0/0.5/forward_kl",
        "1.5/0.5/js",
        "2.0/0.0/forward_kl",
    ];
    assert_eq!(rows(&experiment), expected);
    assert!(experiment.warnings.is_empty());
}

#[test]
fn an_exclusion_sees_the_sections_and_the_defaults_too() {
    let bench = Bench::new();
    let grid = "[loss]\nalpha = 0.25\n[grid]\nloss.temperature = [1, 2]\n\
                [[exclude]]\nloss.alpha = 0.25\nloss.kind = \"forward_kl\"\nloss.temperature = 1";
    assert_eq!(rows(&bench.load("", grid)), ["2.0"]);
}

#[test]
fn included_points_are_run_with_every_seed_unless_they_name_one() {
    let bench = Bench::new();
    let grid = "[[include]]\nloss.alpha = 0.9\n[[include]]\nloss.alpha = 0.8\ntrain.seed = 5";
    let experiment = bench.load("seeds = [0, 1]", grid);
    assert_eq!(experiment.axes, ["train.seed", "loss.alpha"]);
    assert_eq!(rows(&experiment), ["0/0.5", "1/0.5", "0/0.9", "1/0.9", "5/0.8"]);
}

#[test]
fn a_baseline_is_added_for_each_configuration_of_everything_but_the_loss() {
    let bench = Bench::new();
    let grid = "[grid]\nstudent.layers = [1, 2]\nloss.temperature = [1, 2, 4]\nloss.alpha = [0, 0.5]";
    let experiment = bench.load("baseline = true\nseeds = [0, 1]", grid);
    assert_eq!(experiment.axes.last().unwrap(), "loss.kind");
    assert_eq!(experiment.points.len(), 2 * 3 * 2 * 2 + 2 * 2);
    let expected = ["1/-/-/0/none", "1/-/-/1/none", "2/-/-/0/none", "2/-/-/1/none"];
    assert_eq!(rows(&experiment)[24..], expected);
    let baseline = &experiment.points[24].config;
    assert_eq!((baseline.loss.kind, baseline.loss.hard_weight()), (LossKind::None, 1.0));
    // The teacher stays, to measure agreement with it.
    assert!(baseline.teacher.is_some());
}

#[test]
fn a_baseline_that_is_there_already_is_not_added_again() {
    let experiment = Bench::new().load("baseline = true", "[grid]\nloss.kind = [\"none\", \"tvd\"]");
    assert_eq!(rows(&experiment), ["none", "tvd"]);
}

#[test]
fn a_baseline_can_be_taken_back_on_the_command_line() {
    let bench = Bench::new();
    bench.write("e.toml", &format!("baseline = true\n{COMPLETE}"));
    assert_eq!(bench.load_file("e.toml", &[], &[]).unwrap().points.len(), 2);
    assert_eq!(bench.load_file("e.toml", &["baseline=false"], &[]).unwrap().points.len(), 1);
}

#[test]
fn the_teacher_is_an_axis_like_any_other() {
    let bench = Bench::new();
    let experiment = bench.load("", "[grid]\nteacher.hidden_size = [32, 64]\nteacher.train.steps = [5, 9]");
    assert_eq!(rows(&experiment), ["32/5", "32/9", "64/5", "64/9"]);
    assert_eq!(bench.resolve(&experiment).needs.len(), 4);
}

#[test]
fn ten_thousand_points_are_expanded() {
    let bench = Bench::new();
    let grid =
        "[grid]\nloss.temperature = { linspace = [1, 4, 100] }\nloss.alpha = { linspace = [0, 1, 100] }";
    let experiment = bench.load("", grid);
    assert_eq!(experiment.points.len(), 10_000);
    assert_eq!(bench.resolve(&experiment).runs.len(), 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Axes of distinct values that all count: the product, each point with its own identity.
    #[test]
    fn points_are_the_product_and_identities_differ_as_configurations_do(
        temperatures in prop::collection::hash_set(1_u32..1000, 1..6),
        alphas in prop::collection::hash_set(0_u32..=100, 1..6),
        steps in prop::collection::hash_set(1_u32..50, 1..4),
        seeds in prop::collection::hash_set(0_u32..50, 1..4),
    ) {
        let list = |numbers: &HashSet<u32>, scale: f64| {
            let numbers: Vec<String> = numbers.iter().map(|n| (f64::from(*n) / scale).to_string()).collect();
            numbers.join(", ")
        };
        let bench = Bench::new();
        let grid = format!(
            "[grid]\nloss.temperature = [{}]\nloss.alpha = [{}]\ntrain.steps = [{}]\ntrain.seed = [{}]",
            list(&temperatures, 100.0), list(&alphas, 100.0), list(&steps, 1.0), list(&seeds, 1.0),
        );
        let experiment = bench.load("", &grid);
        let product = temperatures.len() * alphas.len() * steps.len() * seeds.len();
        prop_assert_eq!(experiment.points.len(), product);
        let resolved = bench.resolve(&experiment);
        let ids: HashSet<_> = resolved.runs.iter().map(|(run, _)| run.run_id.clone()).collect();
        prop_assert_eq!(ids.len(), product);
        prop_assert_eq!(resolved.needs.len(), 1);
    }

    /// Axes with repeated and with meaningless values: as many points as distinct configurations.
    #[test]
    fn duplicates_collapse(
        kinds in prop::collection::vec(prop::sample::select(vec!["js", "tvd", "logit_mse", "none"]), 1..6),
        temperatures in prop::collection::vec(1_u8..4, 1..4),
        betas in prop::collection::vec(1_u8..4, 1..4),
    ) {
        let bench = Bench::new();
        let grid = format!(
            "[grid]\nloss.kind = {kinds:?}\nloss.temperature = {temperatures:?}\nloss.beta = [{}]",
            betas.iter().map(|beta| format!("0.{beta}")).collect::<Vec<_>>().join(", "),
        );
        let mut expected = HashSet::new();
        for kind in &kinds {
            for temperature in &temperatures {
                for beta in &betas {
                    expected.insert(match *kind {
                        "js" => (*kind, *temperature, *beta),
                        "tvd" => (*kind, *temperature, 0),
                        _ => (*kind, 0, 0),
                    });
                }
            }
        }
        prop_assert_eq!(bench.load("", &grid).points.len(), expected.len());
    }
}
