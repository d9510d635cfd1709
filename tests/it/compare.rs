//! `kdx compare`.

use std::path::Path;

use assert_cmd::Command;
use kdx::compare::{CompareError, Comparison, Overrides, Source, Verdict, compare};
use kdx::report::write;
use kdx::spec::metric::MetricInfo;
use kdx::spec::{Better, CompareConfig, Tolerance};
use kdx::store::Store;
use serde_json::{Value, json};

use crate::support::sweep::{End, Sweep};

/// Two temperatures, some seeds, a baseline; every held-out loss moved by `shift`.
fn sweep(shift: f64, seeds: u64) -> Sweep {
    let mut sweep = Sweep::new("temps", &["loss.temperature", "train.seed"]);
    sweep.shift = shift;
    for seed in 0..seeds {
        for temperature in [1.0, 2.0] {
            let point = [("loss.temperature", json!(temperature)), ("train.seed", json!(seed))];
            sweep.run(&point, End::Finished);
        }
        sweep.run(&[("loss.kind", json!("none")), ("train.seed", json!(seed))], End::Finished);
    }
    sweep
}

fn experiment(sweep: &Sweep) -> Source {
    Source::find("temps", &sweep.store()).unwrap()
}

fn report(sweep: &Sweep) -> std::path::PathBuf {
    let out = sweep.beside("report");
    write(&sweep.store(), "temps", &out).unwrap();
    out
}

fn verdicts(comparison: &Comparison) -> Vec<(Verdict, String, String)> {
    let row =
        |row: &kdx::compare::Row| (row.verdict, row.label.clone(), row.metric.clone().unwrap_or_default());
    comparison.rows.iter().map(row).collect()
}

fn hard_loss(relative: f64) -> Overrides {
    let metrics = vec!["validation/hard_loss".to_owned()];
    Overrides { metrics, relative: Some(relative), ..Overrides::default() }
}

fn only(verdict: Verdict) -> Vec<(Verdict, String, String)> {
    let row = |label: &str| (verdict, label.to_owned(), "validation/hard_loss".to_owned());
    vec![row("temperature 1"), row("temperature 2"), row("labels alone")]
}

#[test]
fn every_kind_of_source_gives_the_same_verdicts() {
    let (base, head) = (sweep(0.0, 3), sweep(0.1, 3));
    let folder = report(&base);
    let sources = [
        experiment(&base),
        Source::find(folder.to_str().unwrap(), &base.store()).unwrap(),
        Source::find(folder.join("runs.parquet").to_str().unwrap(), &base.store()).unwrap(),
        Source::find(folder.join("runs.csv").to_str().unwrap(), &base.store()).unwrap(),
    ];
    for source in &sources {
        let found = compare(source, &experiment(&head), &hard_loss(0.01)).unwrap();
        assert_eq!(verdicts(&found), only(Verdict::Worse), "{source:?}");
        assert!(found.is_failure());
        let row = &found.rows[0];
        let change = row.difference.unwrap();
        assert!((change.mean - 0.1).abs() < 1e-9, "{change:?}");
        assert!(row.reason.ends_with("paired by seed"), "{}", row.reason);
        let back = compare(&experiment(&head), source, &hard_loss(0.01)).unwrap();
        assert_eq!(verdicts(&back), only(Verdict::Better), "{source:?}");
        let same = compare(source, &experiment(&base), &hard_loss(0.0)).unwrap();
        assert_eq!(verdicts(&same), only(Verdict::Same), "{source:?}");
        assert!(!same.is_failure() && same.rows.iter().all(|row| row.reason == "identical"));
    }
}

#[test]
fn head_sets_the_tolerances_and_options_replace_them() {
    let (base, mut head) = (sweep(0.0, 1), sweep(0.05, 1));
    let lax = Tolerance { relative: 0.0, absolute: 0.06, better: Some(Better::Lower) };
    let metrics = [("validation/hard_loss".to_owned(), lax)].into_iter().collect();
    head.compare(CompareConfig { metrics, confidence: 0.9 });
    // Writing a run writes the plan.
    head.run(&[("loss.temperature", json!(4.0)), ("train.seed", json!(0))], End::Planned);
    let from_store = compare(&experiment(&base), &experiment(&head), &Overrides::default()).unwrap();
    assert_eq!(from_store.confidence, 0.9);
    assert_eq!(verdicts(&from_store), only(Verdict::Same));
    assert_eq!(from_store.rows[0].reason, "1 seed: no test possible");
    let folder = Source::Report(report(&head));
    let from_report = compare(&experiment(&base), &folder, &Overrides::default()).unwrap();
    assert_eq!(from_report.metrics, from_store.metrics);

    let strict = Overrides { absolute: Some(0.01), confidence: Some(0.99), ..Overrides::default() };
    let found = compare(&experiment(&base), &folder, &strict).unwrap();
    assert_eq!((verdicts(&found), found.confidence), (only(Verdict::Worse), 0.99));
    let backwards = Overrides { better: Some(Better::Higher), ..strict };
    let found = compare(&experiment(&base), &folder, &backwards).unwrap();
    assert_eq!(verdicts(&found), only(Verdict::Better));
    // A metric without a tolerance: none, in the direction that its name tells.
    let speed = Overrides { metrics: vec!["validation/accuracy".to_owned()], ..Overrides::default() };
    let found = compare(&experiment(&base), &folder, &speed).unwrap();
    assert!(found.rows.iter().all(|row| row.verdict == Verdict::Worse), "{found:?}");
}

/// The direction of a metric is what is asked for, else what its tolerance says, else what is known of it.
#[test]
fn metrics_are_compared_by_name_in_their_own_direction() {
    let with_reward = |shift: f64| {
        let mut sweep = Sweep::new("temps", &["loss.temperature"]);
        sweep.shift = shift;
        let better = Some(Better::Higher);
        sweep.own_metric = Some(("reward", MetricInfo { better, ..MetricInfo::default() }));
        sweep.run(&[("loss.temperature", json!(2.0))], End::Finished);
        sweep
    };
    let (base, head) = (with_reward(0.0), with_reward(0.1));
    let named = |name: &str| Overrides { metrics: vec![name.to_owned()], ..Overrides::default() };
    let found = |base: &Source, head: &Source, name: &str| {
        let found = compare(base, head, &named(name)).unwrap();
        let [row] = &found.rows[..] else { panic!("{found:?}") };
        (row.verdict, row.metric.clone().unwrap(), found.metrics[0].better)
    };
    let reward = (Verdict::Worse, "validation/reward".to_owned(), Better::Higher);
    assert_eq!(found(&experiment(&base), &experiment(&head), "reward"), reward);
    let folders = [Source::Report(report(&base)), Source::Report(report(&head))];
    assert_eq!(found(&folders[0], &folders[1], "validation/reward"), reward);
    let accuracy = (Verdict::Worse, "validation/accuracy".to_owned(), Better::Higher);
    assert_eq!(found(&folders[0], &folders[1], "accuracy"), accuracy);
    let perplexity = (Verdict::Worse, "validation/perplexity".to_owned(), Better::Lower);
    assert_eq!(found(&folders[0], &folders[1], "perplexity"), perplexity);

    // A table alone does not say what its columns mean.
    let table = Source::Table(report(&base).join("runs.csv"));
    let alone = base.beside("alone.csv");
    std::fs::copy(report(&base).join("runs.csv"), &alone).unwrap();
    assert_eq!(found(&table, &table, "reward").0, Verdict::Same);
    let alone = Source::Table(alone);
    let error = compare(&alone, &alone, &named("reward")).unwrap_err();
    assert!(matches!(error, CompareError::NoDirection { .. }), "{error}");
    let told = Overrides { better: Some(Better::Higher), ..named("reward") };
    assert_eq!(compare(&alone, &experiment(&head), &told).unwrap().rows[0].verdict, Verdict::Worse);
    let error = compare(&alone, &alone, &named("hardloss")).unwrap_err();
    let CompareError::NoColumn { advice, .. } = error else { panic!("{error}") };
    assert!(advice.starts_with("did you mean `validation/hard_loss`?"), "{advice}");

    let mut told = with_reward(0.1);
    let tolerance = Tolerance { absolute: 0.2, ..Tolerance::default() };
    let metrics = [("accuracy".to_owned(), tolerance)].into_iter().collect();
    told.compare(CompareConfig { metrics, ..CompareConfig::default() });
    told.run(&[("loss.temperature", json!(2.0))], End::Finished);
    let found = compare(&experiment(&base), &experiment(&told), &Overrides::default()).unwrap();
    let metric = &found.metrics[0];
    assert_eq!(
        (metric.name.as_str(), metric.absolute, metric.better),
        ("validation/accuracy", 0.2, Better::Higher)
    );
}

#[test]
fn where_files_lie_does_not_matter_but_which_files_they_are_does() {
    let at = |folder: &str, shift: f64| {
        let mut sweep = Sweep::new("temps", &["teacher.path"]);
        sweep.shift = shift;
        sweep.set("data.train", json!(format!("{folder}/train.jsonl")));
        for teacher in ["small", "large"] {
            sweep.set("teacher", json!({}));
            sweep.run(&[("teacher.path", json!(format!("{folder}/{teacher}")))], End::Finished);
        }
        sweep
    };
    let (base, head) = (at("/home/me/data", 0.0), at("/ci/checkout", 0.0));
    let found = compare(&experiment(&base), &experiment(&head), &hard_loss(0.05)).unwrap();
    let labels: Vec<&str> = found.rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["teacher path small", "teacher path large"]);
    assert_eq!(found.notes, [] as [&str; 0]);
}

#[test]
fn what_one_side_lacks_is_missing_or_new() {
    let (base, mut head) = (sweep(0.0, 2), Sweep::new("temps", &["loss.temperature", "train.seed"]));
    for seed in 0..2 {
        let at = |temperature: f64| [("loss.temperature", json!(temperature)), ("train.seed", json!(seed))];
        head.run(&at(1.0), End::Finished);
        head.run(&at(2.0), if seed == 0 { End::Finished } else { End::Failed });
        head.run(&at(4.0), End::Finished);
    }
    let found = compare(&experiment(&base), &experiment(&head), &hard_loss(0.05)).unwrap();
    let rows: Vec<_> =
        found.rows.iter().map(|row| (row.verdict, row.label.as_str(), row.reason.as_str())).collect();
    assert_eq!(
        rows,
        [
            (Verdict::Missing, "temperature 2", "1 of 2 runs not finished in head: failed"),
            (Verdict::Missing, "labels alone", "not in head"),
            (Verdict::New, "temperature 4", "not in base"),
            (Verdict::Same, "temperature 1", "identical"),
            (Verdict::Same, "temperature 2", "1 seed: no test possible"),
        ]
    );
    assert!(found.is_failure());
}

#[test]
fn a_run_that_nobody_has_tried_is_missing_under_its_own_name() {
    let (base, mut head) = (sweep(0.0, 1), Sweep::new("temps", &["loss.temperature", "train.seed"]));
    head.run(&[("loss.temperature", json!(1.0)), ("train.seed", json!(0))], End::Finished);
    head.run(&[("loss.temperature", json!(2.0)), ("train.seed", json!(0))], End::Planned);
    let found = compare(&experiment(&base), &experiment(&head), &hard_loss(0.05)).unwrap();
    let missing: Vec<_> = found.rows.iter().filter(|row| row.verdict == Verdict::Missing).collect();
    assert_eq!(
        (missing[0].label.as_str(), missing[0].reason.as_str()),
        ("temperature 2", "1 of 1 runs not finished in head: planned")
    );
}

#[test]
fn a_key_that_differs_everywhere_keeps_the_sides_apart_until_it_is_ignored() {
    let base = sweep(0.0, 2);
    let mut head = Sweep::new("temps", &["loss.temperature", "train.seed"]);
    head.set("optimizer.learning_rate", json!(1e-3));
    head.run(&[("loss.temperature", json!(2.0)), ("train.seed", json!(0))], End::Finished);
    let error = compare(&experiment(&base), &experiment(&head), &hard_loss(0.1)).unwrap_err();
    let CompareError::NothingInCommon { advice, .. } = &error else { panic!("{error:?}") };
    assert!(advice.contains("`optimizer.learning_rate` (5e-4 in base, 1e-3 in head)"), "{advice}");
    let ignored = vec!["optimizer.learning_rate".to_owned(), "loss.typo".to_owned()];
    let found =
        compare(&experiment(&base), &experiment(&head), &Overrides { ignored, ..hard_loss(0.1) }).unwrap();
    assert!(found.rows.iter().any(|row| row.verdict == Verdict::Same && row.label == "temperature 2"));
    assert_eq!(
        found.notes,
        ["`loss.typo` is no configuration key of either side: ignoring it changes nothing"]
    );
}

#[test]
fn a_key_that_only_one_side_knows_is_not_used_unless_it_varies_there() {
    let base = sweep(0.0, 1);
    let with_layers = |layers: &[usize]| {
        let mut head = Sweep::new("temps", &["loss.temperature", "train.seed"]);
        for n in layers {
            head.set("student.intermediate_size", json!(n));
            head.run(&[("loss.temperature", json!(2.0)), ("train.seed", json!(0))], End::Finished);
        }
        head
    };
    let found = compare(&experiment(&base), &experiment(&with_layers(&[64])), &hard_loss(0.1)).unwrap();
    assert!(found.rows.iter().any(|row| row.verdict == Verdict::Same && row.label == "temperature 2"));
    assert_eq!(found.notes, ["`student.intermediate_size` is only in temps: not used for pairing"]);
    let error =
        compare(&experiment(&base), &experiment(&with_layers(&[64, 128])), &hard_loss(0.1)).unwrap_err();
    assert!(matches!(error, CompareError::NothingInCommon { .. }), "{error:?}");
}

#[test]
fn a_damaged_run_is_named_and_missing() {
    let base = sweep(0.0, 1);
    let mut head = sweep(0.0, 1);
    let dir = head.run(&[("loss.temperature", json!(2.0)), ("train.seed", json!(1))], End::Damaged);
    let found = compare(&experiment(&base), &experiment(&head), &hard_loss(0.1)).unwrap();
    assert!(found.rows[0].reason.contains("damaged"), "{:?}", found.rows[0]);
    let run = dir.path().file_name().unwrap().to_str().unwrap();
    assert!(found.notes[0].contains(run), "{:?}", found.notes);
}

fn kdx(store: &Store, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdx"));
    command.arg("--store").arg(store.root()).arg("compare").args(arguments).env_remove("KDX_STORE").assert()
}

#[test]
fn exit_codes_tell_ci_what_happened() {
    let (base, head) = (sweep(0.0, 3), sweep(0.1, 3));
    let folder = report(&base);
    let folder = folder.to_str().unwrap();
    let output = |arguments: &[&str], code: i32| {
        let assert = kdx(&head.store(), arguments).code(code);
        let output = assert.get_output();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    let (text, _) = output(&[folder, "temps"], 1);
    assert!(
        text.contains("worse    temperature 1  validation/hard_loss") && !text.contains('\x1b'),
        "{text}"
    );
    assert!(text.contains("worse than") && text.contains("6 worse"), "{text}");
    let (text, _) = output(&["temps", folder], 0);
    assert!(text.contains("is no worse than temps: 6 better"), "{text}");
    let (text, _) = output(&[folder, "temps", "--metric", "validation/hard_loss", "--absolute", "0.2"], 0);
    assert!(text.contains("3 same"), "{text}");
    let (_, error) = output(&[folder, "nightly"], 2);
    assert!(error.contains("`nightly` is no experiment"), "{error}");
    let (_, error) = output(&[folder, "temps", "--relative", "-1"], 2);
    assert!(!error.is_empty());

    let (json, _) = output(&[folder, "temps", "--json"], 1);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["format_version"], &json["ok"]), (&json!(1), &json!(false)));
    assert_eq!(json["counts"], json!({"worse": 6}));
    let row = &json["rows"][0];
    assert_eq!((&row["verdict"], &row["metric"]), (&json!("worse"), &json!("validation/agreement")));
    assert_eq!(row["configuration"]["loss.temperature"], json!("1"));
    assert_eq!((&row["base"]["n"], &row["difference"]["tested"]["test"]), (&json!(3), &json!("paired")));

    let (markdown, _) = output(&[folder, "temps", "--markdown"], 1);
    assert!(markdown.starts_with("### ❌ temps is worse than"), "{markdown}");
    assert!(markdown.contains("| **worse** | temperature 1 | validation/hard\\_loss |"), "{markdown}");
}

#[test]
fn what_cannot_be_compared_gets_an_error_that_says_what_to_do() {
    let good = sweep(0.0, 1);
    let folder = report(&good);
    let at = |name: &str, content: &[u8]| {
        let path = good.beside(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let parquet = std::fs::read(folder.join("runs.parquet")).unwrap();
    let cut = at("cut.parquet", &parquet[..parquet.len() / 2]);
    let text = at("text.parquet", b"no parquet at all");
    let nothing = at("nothing.csv", b"");
    let narrow = at("narrow.csv", b"run_id,status\na,finished\n");
    let words =
        at("words.csv", b"seed,status,validation/hard_loss,validation/agreement\n0,finished,low,high\n");
    let headings = at("headings.csv", b"seed,status,validation/hard_loss,validation/agreement\n");
    let early = at("early.csv", b"seed,status,validation/hard_loss,validation/agreement\n0,running,,\n");
    let other = at(
        "other.csv",
        b"seed,status,loss.temperature,validation/hard_loss,validation/agreement\n0,finished,99,1.0,0.5\n",
    );
    let empty_folder = good.beside("empty");
    std::fs::create_dir(&empty_folder).unwrap();
    let bad_manifest = good.beside("bad_manifest");
    std::fs::create_dir(&bad_manifest).unwrap();
    std::fs::write(bad_manifest.join("runs.parquet"), &parquet).unwrap();
    std::fs::write(bad_manifest.join("experiment.json"), "{}").unwrap();
    let mut empty = Sweep::new("temps", &[]);
    empty.plan_nothing();

    let good_folder = folder.to_str().unwrap();
    for (base, head, expected) in [
        ("nightly", good_folder, ["`nightly` is no experiment", "the store has: temps"]),
        ("/nowhere/runs.parquet", good_folder, ["is no experiment", "the store has: temps"]),
        (empty_folder.to_str().unwrap(), good_folder, ["has no runs.parquet", "kdx report"]),
        (&cut, good_folder, ["cannot read", "cut.parquet"]),
        (&text, good_folder, ["cannot read", "text.parquet"]),
        (&nothing, good_folder, ["cannot read", "nothing.csv"]),
        (&narrow, good_folder, ["has no column `seed`, `validation/agreement`", "it has: run_id, status"]),
        (&words, good_folder, ["column `validation/agreement` of", "not numbers"]),
        (&headings, good_folder, ["headings.csv has no runs", "kdx sweep"]),
        (&early, good_folder, ["has no finished run with `validation/agreement`", "kdx ls"]),
        (&other, good_folder, ["have no configuration in common", "`loss.temperature` (99 in base"]),
        (bad_manifest.to_str().unwrap(), good_folder, ["experiment.json is damaged", "format_version"]),
        (good_folder, &cut, ["cannot read", "cut.parquet"]),
        (good_folder, &narrow, ["has no column `seed`", "it has: run_id, status"]),
    ] {
        let assert = kdx(&good.store(), &[base, head]).code(2);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
        for part in expected {
            assert!(error.contains(part), "{part:?} in {error}");
        }
        assert!(!error.contains("panicked"), "{error}");
    }
    let assert = kdx(&empty.store(), &[good_folder, "temps"]).code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("`temps` has no runs"));
    for (option, value, says) in [
        ("--relative=-0.5", "", "--relative is -0.5"),
        ("--absolute=nan", "", "--absolute is NaN"),
        ("--confidence=1", "", "the confidence is 1"),
        ("--metric", "validation/typo", "has no column `validation/typo`"),
        ("--metric", "loss.kind", "not numbers"),
    ] {
        let arguments: Vec<&str> =
            [good_folder, "temps", option, value].into_iter().filter(|a| !a.is_empty()).collect();
        let assert = kdx(&good.store(), &arguments).code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(says), "{says:?} in {error}");
    }
}

#[test]
fn a_flipped_bit_in_a_report_is_noticed_wherever_it_is() {
    let good = sweep(0.0, 1);
    let folder = report(&good);
    let path = folder.join("runs.parquet");
    let parquet = std::fs::read(&path).unwrap();
    for place in (0..parquet.len()).step_by(parquet.len() / 50) {
        let mut flipped = parquet.clone();
        flipped[place] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        for source in [Source::Report(folder.clone()), Source::Table(path.clone())] {
            let error = compare(&source, &experiment(&good), &Overrides::default()).unwrap_err();
            assert!(matches!(error, CompareError::Unreadable { .. }), "{error:?}");
        }
    }
    std::fs::write(&path, &parquet).unwrap();
    compare(&Source::Report(folder), &experiment(&good), &Overrides::default()).unwrap();
}

/// `kdx report` from the command line, as people call it.
#[test]
fn the_report_command_says_what_it_wrote() {
    let mut sweep = sweep(0.0, 1);
    let dir = sweep.run(&[("loss.temperature", json!(4.0)), ("train.seed", json!(0))], End::Damaged);
    let kdx = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdx"));
        command
            .current_dir(sweep.beside(""))
            .env("KDX_STORE", sweep.root())
            .arg("report")
            .args(arguments)
            .assert()
    };
    let assert = kdx(&["temps"]).success();
    let output = assert.get_output();
    let (text, warnings) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(
        text.contains("temps: 3 finished, 1 damaged") && text.contains("reports/temps/index.html"),
        "{text}"
    );
    assert!(warnings.contains(dir.path().file_name().unwrap().to_str().unwrap()), "{warnings}");
    assert!(sweep.beside("reports/temps/runs.parquet").is_file());
    kdx(&["temps", "--output", "elsewhere"]).success();
    assert!(Path::new(&sweep.beside("elsewhere/index.html")).is_file());
    let assert = kdx(&["nightly"]).code(1);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("no experiment `nightly`"));
}
