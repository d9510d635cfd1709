//! Wrong experiment files: each gets one error that says where, what and what instead, none panics.

mod grids;
mod names;
mod rules;
mod search;
mod syntax;
mod values;

use std::fs;
use std::path::Path;

use kdx::experiment::{Problems, Surroundings, load_in};
use miette::{GraphicalReportHandler, GraphicalTheme, NarratableReportHandler};
use proptest::prelude::*;
use tempfile::TempDir;

/// An experiment with nothing wrong; what a row adds begins in line 11.
const RIGHT: &str = r#"[data]
train = "train.jsonl"
validation = "valid.jsonl"
tokenizer = "tokenizer"
[teacher]
hidden_size = 32
layers = 2
[student]
hidden_size = 16
layers = 1
"#;

struct Wrong {
    /// What is wrong.
    name: &'static str,
    /// The file, after a replacement in [`RIGHT`] or as an addition to it.
    text: String,
    /// What the message must say, in every rendering that shows it.
    says: &'static [&'static str],
}

/// A row whose text stands after a right experiment.
fn added(name: &'static str, text: &str, says: &'static [&'static str]) -> Wrong {
    Wrong { name, text: format!("{RIGHT}{text}"), says }
}

/// A row whose text stands in place of a part of a right experiment.
fn replaced(name: &'static str, part: &str, text: &str, says: &'static [&'static str]) -> Wrong {
    assert!(RIGHT.contains(part), "{name}");
    Wrong { name, text: RIGHT.replace(part, text), says }
}

/// A directory with what right experiments name.
fn surroundings() -> (TempDir, Surroundings) {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("train.jsonl", "{}\n"),
        ("valid.jsonl", "{}\n"),
        ("tokenizer/tokenizer.json", "{}"),
        ("model/config.json", "{}"),
        ("base.toml", RIGHT),
        ("back.toml", "extends = \"e.toml\""),
        ("wrong.toml", "[loss]\nalpha = 7"),
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let directory = root.path().to_owned();
    (root, Surroundings { variables: Vec::new(), directory })
}

fn load(text: &[u8], overrides: &[String]) -> Result<usize, Problems> {
    let (root, surroundings) = surroundings();
    fs::write(root.path().join("e.toml"), text).unwrap();
    load_in(Path::new("e.toml"), overrides, &surroundings).map(|experiment| experiment.points.len())
}

/// The problems as a terminal shows them.
fn drawn(problems: &Problems) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(400);
    let mut out = String::new();
    handler.render_report(&mut out, problems).unwrap();
    out
}

/// The problems as a screen reader tells them.
fn told(problems: &Problems) -> String {
    let mut out = String::new();
    NarratableReportHandler::new().render_report(&mut out, problems).unwrap();
    out
}

#[test]
fn the_experiment_that_the_rows_start_from_is_right() {
    assert_eq!(load(RIGHT.as_bytes(), &[]).unwrap(), 1);
}

#[test]
fn every_wrong_experiment_gets_the_error_that_it_deserves() {
    let rows: Vec<Wrong> =
        [names::rows(), values::rows(), grids::rows(), rules::rows(), search::rows(), syntax::rows()]
            .into_iter()
            .flatten()
            .collect();
    assert!(rows.len() >= 100);
    let mut failures = Vec::new();
    for row in rows {
        let problems = match load(row.text.as_bytes(), &[]) {
            Ok(points) => {
                failures.push(format!("{}: no error, {points} points", row.name));
                continue;
            }
            Err(problems) => problems,
        };
        let plain = format!("{problems:#}");
        let (drawn, told) = (drawn(&problems), told(&problems));
        for said in row.says {
            if !plain.contains(said) {
                failures.push(format!("{}: {said:?} is not in\n{plain}", row.name));
            }
            // The place stands at the excerpt's head; a screen reader is told the line alone.
            if !said.contains(".toml:") && !drawn.contains(said) {
                failures.push(format!("{}: {said:?} is not in\n{drawn}", row.name));
            }
            if let Some((file, place)) = said.split_once(".toml:") {
                let line = place.split(':').next().unwrap();
                if !drawn.contains(&format!("{file}.toml:{place}")) || !told.contains(&format!("{file}.toml"))
                {
                    failures.push(format!("{}: {said:?} is not in\n{drawn}\n{told}", row.name));
                }
                if !told.contains(&format!("line {line}")) {
                    failures.push(format!("{}: line {line} is not in\n{told}", row.name));
                }
            }
        }
        // Wrong syntax confuses the parser about what follows; everything else is one problem.
        let is_syntax = row.says.iter().any(|said| said.starts_with("this is not TOML"));
        if problems.as_slice().len() != 1 && !is_syntax {
            failures.push(format!("{}: more than one problem\n{plain}", row.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn flags_and_variables_are_named_in_place_of_a_file() {
    /// Arguments of `--set`, variables, and what the message must say.
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (
            &["loss.temperature=0"],
            &[],
            &["--set loss.temperature=0: ", "`loss.temperature` must be a number greater than 0"],
        ),
        (&["loss.temprature=2"], &[], &["--set loss.temprature=2: ", "did you mean `temperature`?"]),
        (&["loss.temperature"], &[], &["--set loss.temperature: ", "has no value", "--set key=value"]),
        (&["=2"], &[], &["--set =2: ", "is not a key"]),
        (&["a b=2"], &[], &["--set a b=2: ", "`a b` is not a key"]),
        (&["loss=[1, 2"], &[], &["`loss` must be a table", "[1, 2"]),
        (&["grid.loss.alpha=0.5"], &[], &["the axis `loss.alpha` must be a list"]),
        (&["extends=base.toml"], &[], &["`extends` is only for files"]),
        (&["student.heads=3"], &[], &["--set student.heads=3: ", "not divisible", "e.toml:9:15"]),
        (&["data.train=nowhere.jsonl"], &[], &["--set data.train=nowhere.jsonl: ", "does not exist"]),
        (
            &[],
            &[("KDX_LOSS__TEMPERATURE", "hot")],
            &["environment variable KDX_LOSS__TEMPERATURE: ", "found the text \"hot\""],
        ),
        (
            &[],
            &[("KDX_LOSS__TEMPRATURE", "2")],
            &["environment variable KDX_LOSS__TEMPRATURE: ", "did you mean `temperature`?"],
        ),
        (&[], &[("KDX_LOS__ALPHA", "2")], &["environment variable KDX_LOS__ALPHA: ", "did you mean `loss`?"]),
        (&[], &[("KDX___", "2")], &["environment variable KDX___: ", "unknown key"]),
    ];
    for (overrides, variables, says) in rows {
        let (root, mut surroundings) = surroundings();
        fs::write(root.path().join("e.toml"), RIGHT).unwrap();
        surroundings.variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let problems = load_in(Path::new("e.toml"), &overrides, &surroundings).unwrap_err();
        let plain = format!("{problems:#}");
        for said in *says {
            assert!(plain.contains(said), "{said:?} is not in\n{plain}");
        }
        assert_eq!(problems.as_slice().len(), 1, "{plain}");
        let drawn = drawn(&problems);
        let source = variables
            .first()
            .map_or("[--set:1:".to_owned(), |(name, _)| format!("[environment variable {name}:1:"));
        assert!(drawn.contains(&source), "{drawn}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (root, surroundings) = surroundings();
    fs::write(root.path().join("latin.toml"), b"[data]\ntrain = \"\xe9\"").unwrap();
    fs::write(root.path().join("bad name.toml"), RIGHT).unwrap();
    for (path, says) in [
        ("bsae.toml", ["cannot read bsae.toml", "did you mean base.toml?"]),
        ("tokenizer", ["cannot read tokenizer", "irectory"]),
        ("latin.toml", ["cannot read latin.toml", "line 2 is not UTF-8"]),
        ("", ["cannot read", ""]),
        ("bad name.toml", ["bad name.toml:1:1", "cannot be the `name`"]),
    ] {
        let problems = load_in(Path::new(path), &[], &surroundings).unwrap_err();
        let plain = format!("{problems:#}");
        assert!(says.iter().all(|said| plain.contains(said)), "{plain}");
    }
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let (root, surroundings) = surroundings();
    let text = "extends = \"wrong.toml\"\n[data]\ntrian = \"train.jsonl\"\nvalidation = \"nowhere.jsonl\"\n\
                [loss]\ntemperature = 0\nkind = \"jss\"\n[teacher]\nhidden_size = 30\nheads = 4\nlayers = 1\n\
                [student]\nlayers = 0\nhidden_size = 16\n[grid]\nloss.skew = [0.1, 2]\n";
    fs::write(root.path().join("e.toml"), text).unwrap();
    let problems =
        load_in(Path::new("e.toml"), &["train.epochs=none".to_owned()], &surroundings).unwrap_err();
    let found: Vec<String> = problems
        .as_slice()
        .iter()
        .map(|problem| format!("{} {problem}", problem.place().unwrap_or_default()))
        .collect();
    let expected = [
        "e.toml:3:1 unknown key `trian`",
        "e.toml:4:14 `data.validation`: ",
        "e.toml:6:15 `loss.temperature` must be",
        "e.toml:7:8 `loss.kind` is \"jss\"",
        "e.toml:10:9 [teacher]: `hidden_size = 30` is not divisible by `heads = 4`",
        "e.toml:13:10 `student.layers` must be",
        "e.toml:16:19 `loss.skew` must be",
        "wrong.toml:2:9 `loss.alpha` must be",
        "--set train.epochs=none `train.epochs` must be",
    ];
    // Nothing is said about `data.train`: it is there, with a slip.
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_problem_is_drawn_with_its_line() {
    let problems = load(format!("{RIGHT}[loss]\ntemprature = 2 # hot\n").as_bytes(), &[]).unwrap_err();
    insta::assert_snapshot!(drawn(&problems).trim_end(), @r#"
      × 1 problem in e.toml

    Error: 
      × unknown key `temprature` in [loss], did you mean `temperature`?
        ╭─[e.toml:12:1]
     11 │ [loss]
     12 │ temprature = 2 # hot
        · ─────┬────
        ·      ╰── did you mean `temperature`?
        ╰────
    "#);
}

#[test]
fn two_places_of_one_problem_are_drawn_together() {
    let text = RIGHT.replace("layers = 1\n", "layers = 1\nheads = 3\n");
    let problems = load(text.as_bytes(), &[]).unwrap_err();
    insta::assert_snapshot!(drawn(&problems).trim_end(), @r#"
      × 1 problem in e.toml

    Error: 
      × [student]: `hidden_size = 16` is not divisible by `heads = 3`
        ╭─[e.toml:11:9]
      8 │ [student]
      9 │ hidden_size = 16
        ·               ─┬
        ·                ╰── with this
     10 │ layers = 1
     11 │ heads = 3
        ·         ┬
        ·         ╰── `student.heads`
        ╰────
      help: with this `hidden_size`, `heads` can be 1, 2, 4, 8
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Files that were cut, overwritten and stuck together load, or say why not.
    #[test]
    fn no_damage_makes_kdx_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, "\\PC{0,6}|[\\[\\]{}=.\"'\n,#0-9e-]{0,4}"), 1..5),
    ) {
        let mut text = String::from(
            "name = \"x\"\nseeds = [1, 2]\nbaseline = true\nextends = \"base.toml\"\n[loss]\nkind = \"js\"\n\
             temperature = 2.5\n[grid]\n\"loss.alpha\" = { linspace = [0, 1, 3] }\nstudent = [{ layers = 1 }]\n\
             [[zip]]\ntrain.steps = [1, 2]\ntrain.epochs = [3, 4]\n[[include]]\nloss.beta = 0.3\n\
             [[exclude]]\nloss.alpha = 0.5\n[compare.metrics.\"validation/hard_loss\"]\nrelative = 0.1\n"
        );
        for (place, length, with) in cuts {
            let start = text.char_indices().map(|(at, _)| at).nth(place.index(text.chars().count().max(1))).unwrap_or(0);
            let end = text[start..].char_indices().map(|(at, _)| start + at).nth(length).unwrap_or(text.len());
            text.replace_range(start..end, &with);
        }
        if let Err(problems) = load(text.as_bytes(), &[]) {
            prop_assert!(!problems.as_slice().is_empty());
            let drawn = drawn(&problems);
            prop_assert!(drawn.contains("problem"), "{}", drawn);
        }
    }

    /// The same for arguments of `--set`.
    #[test]
    fn no_argument_makes_kdx_panic(argument in "\\PC{0,20}|(grid|loss|student|zip|seeds|\"data\")[.=\\[\\]{}\"'a-z0-9, -]{0,20}") {
        if let Err(problems) = load(RIGHT.as_bytes(), &[argument]) {
            let plain = format!("{problems:#}");
            prop_assert!(plain.contains("problem"), "{}", plain);
        }
    }
}
