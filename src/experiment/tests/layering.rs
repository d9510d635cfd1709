//! Which declaration of a key wins.

use serde_json::json;

use super::{Bench, COMPLETE, column, rows};
use crate::spec::PathList;

#[test]
fn a_file_is_stronger_than_its_bases_and_weaker_than_environment_and_flags() {
    let bench = Bench::new();
    bench.write(
        "root.toml",
        &format!("{COMPLETE}\n[loss]\ntemperature = 1\nalpha = 0.1\nbeta = 0.1\nkind = \"js\""),
    );
    bench.write("base.toml", "extends = \"root.toml\"\n[loss]\ntemperature = 2\nalpha = 0.2");
    bench.write("e.toml", "extends = \"base.toml\"\n[loss]\ntemperature = 3");
    let loss = |overrides: &[&str], variables: &[(&str, &str)]| {
        let loss = bench.load_file("e.toml", overrides, variables).unwrap().points[0].config.loss.clone();
        [loss.temperature, loss.alpha, loss.beta]
    };
    assert_eq!(loss(&[], &[]), [3.0, 0.2, 0.1]);
    assert_eq!(loss(&[], &[("KDX_LOSS__TEMPERATURE", "4"), ("KDX_LOSS__BETA", "0.5")]), [4.0, 0.2, 0.5]);
    assert_eq!(loss(&["loss.temperature=5"], &[("KDX_LOSS__TEMPERATURE", "4")]), [5.0, 0.2, 0.1]);
    assert_eq!(loss(&["loss.temperature=5", "loss.temperature=6"], &[]), [6.0, 0.2, 0.1]);
}

#[test]
fn variables_without_two_underscores_are_not_about_experiments() {
    let bench = Bench::new();
    bench.write("e.toml", COMPLETE);
    let variables = [("KDX_STORE", "x"), ("KDX_CPU", "1"), ("KDXX__Y", "1"), ("LOSS__ALPHA", "9")];
    assert!(bench.load_file("e.toml", &[], &variables).is_ok());
}

#[test]
fn paths_start_where_they_are_declared() {
    let bench = Bench::new();
    bench.write("below/base.toml", &COMPLETE.replace("\"t", "\"../t"));
    bench.write("e.toml", "extends = \"below/base.toml\"\n[data]\nvalidation = [\"valid.jsonl\"]");
    bench.write("other.jsonl", "");
    let data = bench.load_file("e.toml", &[], &[]).unwrap().points[0].config.data.clone();
    assert_eq!(data.train, PathList::One(bench.path().join("train.jsonl")));
    assert_eq!(data.validation, PathList::One(bench.path().join("valid.jsonl")));
    assert_eq!(data.tokenizer, Some(bench.path().join("tokenizer")));
    let overridden = bench.load_file("e.toml", &["data.train=other.jsonl"], &[]).unwrap();
    assert_eq!(overridden.points[0].config.data.train, PathList::One(bench.path().join("other.jsonl")));
}

#[test]
fn paths_of_axes_start_where_they_are_declared_and_are_shown_as_written() {
    let bench = Bench::new();
    bench.write(
        "e.toml",
        &format!("{COMPLETE}\n[grid]\n\"data.train\" = [\"train.jsonl\", [\"./valid.jsonl\"]]"),
    );
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    assert_eq!(column(&experiment, "data.train"), [json!("train.jsonl"), json!(["./valid.jsonl"])]);
    assert_eq!(experiment.points[1].config.data.train, PathList::One(bench.path().join("valid.jsonl")));
}

#[test]
fn the_name_is_the_files_own() {
    let bench = Bench::new();
    bench.write("base.toml", &format!("name = \"base-name\"\n{COMPLETE}"));
    bench.write("child.v2.toml", "extends = \"base.toml\"");
    let name = |file: &str, overrides: &[&str]| bench.load_file(file, overrides, &[]).unwrap().name;
    assert_eq!(name("base.toml", &[]), "base-name");
    assert_eq!(name("child.v2.toml", &[]), "child.v2");
    assert_eq!(name("child.v2.toml", &["name=mine"]), "mine");
}

#[test]
fn values_of_flags_need_no_quotes_and_may_have_them() {
    let bench = Bench::new();
    bench.write("e.toml", COMPLETE);
    for (argument, system) in [
        ("data.system=You are brief.", "You are brief."),
        ("data.system=\"a = b\"", "a = b"),
        ("data.system = a=b ", "a=b"),
        ("data.'system'='x'", "x"),
    ] {
        let experiment = bench.load_file("e.toml", &[argument], &[]).unwrap();
        assert_eq!(experiment.points[0].config.data.system.as_deref(), Some(system), "{argument}");
    }
    let experiment = bench.load_file("e.toml", &["loss={kind=\"tvd\", alpha=0.25}"], &[]).unwrap();
    assert_eq!(experiment.points[0].config.loss.alpha, 0.25);
}

#[test]
fn an_axis_of_a_child_replaces_the_bases_and_keeps_its_place() {
    let bench = Bench::new();
    let grid = "[grid]\nloss.temperature = { linspace = [1, 2, 5] }\nloss.alpha = [0, 1]";
    bench.write("base.toml", &format!("{COMPLETE}\n{grid}"));
    bench.write(
        "e.toml",
        "extends = \"base.toml\"\n[grid]\n\"train.steps\" = [7]\n\"loss.temperature\" = [4, 8]",
    );
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    assert_eq!(experiment.axes, ["loss.temperature", "loss.alpha", "train.steps"]);
    assert_eq!(rows(&experiment), ["4.0/0.0/7", "4.0/1.0/7", "8.0/0.0/7", "8.0/1.0/7"]);
}

#[test]
fn a_single_value_of_a_stronger_layer_drops_the_axis() {
    let bench = Bench::new();
    bench.write("base.toml", &format!("{COMPLETE}\n[grid]\nloss.temperature = [1, 2]\nloss.alpha = [0, 1]"));
    bench.write("e.toml", "extends = \"base.toml\"\n[loss]\nalpha = 0.5");
    assert_eq!(rows(&bench.load_file("e.toml", &[], &[]).unwrap()), ["1.0", "2.0"]);
    assert_eq!(bench.load_file("e.toml", &["loss.temperature=3"], &[]).unwrap().points.len(), 1);
    assert_eq!(bench.load_file("base.toml", &[], &[("KDX_LOSS__TEMPERATURE", "3")]).unwrap().points.len(), 2);
    for argument in ["grid.'loss.temperature'=[3, 4, 5]", "grid.loss.temperature={range=[3, 6, 1]}"] {
        let experiment = bench.load_file("e.toml", &["loss.temperature=9", argument], &[]).unwrap();
        assert_eq!(rows(&experiment), ["3.0", "4.0", "5.0"], "{argument}");
    }
    let by_variable = bench.load_file("e.toml", &[], &[("KDX_GRID__LOSS__TEMPERATURE", "[6]")]).unwrap();
    assert_eq!(rows(&by_variable), ["6.0"]);
}

#[test]
fn a_single_value_in_the_same_file_leaves_the_axis() {
    let bench = Bench::new();
    let experiment = bench.load("", "[loss]\ntemperature = 9\n[grid]\nloss.temperature = [1, 2]");
    assert_eq!(rows(&experiment), ["1.0", "2.0"]);
}

#[test]
fn a_stronger_value_wins_over_that_part_of_an_axis_of_sections() {
    let bench = Bench::new();
    let grid = "[grid]\nstudent = [{ hidden_size = 16, layers = 1 }, { hidden_size = 32, layers = 2 }]";
    bench.write("e.toml", &format!("{COMPLETE}\n{grid}"));
    let all = bench.load_file("e.toml", &[], &[]).unwrap();
    assert_eq!(all.axes, ["student.hidden_size", "student.layers"]);
    assert_eq!(rows(&all), ["16/1", "32/2"]);
    assert_eq!(rows(&bench.load_file("e.toml", &["student.layers=3"], &[]).unwrap()), ["16", "32"]);
    let axis = bench.load_file("e.toml", &["grid.student.hidden_size=[64, 128]"], &[]).unwrap();
    assert_eq!(axis.axes, ["student.layers", "student.hidden_size"]);
    assert_eq!(rows(&axis), ["1/64", "1/128", "2/64", "2/128"]);
}

#[test]
fn lists_of_points_replace_lists() {
    let bench = Bench::new();
    let grid = "[grid]\nloss.temperature = [1, 2, 3]\n[[exclude]]\nloss.temperature = 2\n\
                [[zip]]\noptimizer.learning_rate = [0.1, 0.2]\ntrain.steps = [1, 2]";
    bench.write("base.toml", &format!("{COMPLETE}\n{grid}"));
    bench.write("e.toml", "extends = \"base.toml\"\nexclude = []\n[[zip]]\ntrain.batch_size = [4]");
    assert_eq!(bench.load_file("base.toml", &[], &[]).unwrap().points.len(), 4);
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    assert_eq!(rows(&experiment), ["1.0/4", "2.0/4", "3.0/4"]);
}

#[test]
fn seeds_are_short_for_the_axis_of_seeds() {
    let bench = Bench::new();
    let short = bench.load("seeds = { range = [0, 3, 1] }", "[grid]\nloss.alpha = [0, 1]");
    assert_eq!(rows(&short), ["0.0/0", "0.0/1", "0.0/2", "1.0/0", "1.0/1", "1.0/2"]);
    let long = bench.load("", "[grid]\nloss.alpha = [0, 1]\ntrain.seed = [0, 1, 2]");
    assert_eq!(short.points, long.points);
    let one = bench.load_file("e.toml", &["seeds=[7]"], &[]).unwrap();
    assert_eq!(rows(&one), ["0.0/7", "1.0/7"]);
}
