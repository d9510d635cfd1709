//! `kdx report`.

use std::fs::File;
use std::path::Path;

use kdx::report::{Manifest, write};
use kdx::spec::Better;
use kdx::spec::metric::MetricInfo;
use kdx::store::Store;
use polars::prelude::*;
use polars_io::prelude::{CsvReadOptions, ParquetReader, SerReader};
use serde_json::json;

use crate::support::sweep::{End, Sweep, files, grid, one_axis, sizes};

fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}

fn csv(path: &Path) -> DataFrame {
    let options = CsvReadOptions::default().with_infer_schema_length(None);
    options.into_reader_with_file_handle(File::open(path).unwrap()).finish().unwrap()
}

fn names(frame: &DataFrame) -> Vec<String> {
    frame.get_column_names().into_iter().map(ToString::to_string).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_runs_table_has_the_promised_columns_with_types_and_values() {
    let mut sweep = Sweep::new("two", &["loss.temperature"]);
    let finished = sweep.run(&[("loss.temperature", json!(2.0))], End::Finished);
    sweep.run(&[("loss.temperature", json!(4.0))], End::Diverged);
    sweep.run(&[("loss.temperature", json!(8.0))], End::Planned);
    let out = sweep.beside("report");
    write(&sweep.store(), "two", &out).unwrap();
    let runs = parquet(&out.join("runs.parquet"));
    let columns = names(&runs);

    assert_eq!(columns[..5], ["run_id", "experiment", "status", "attempt", "seed"]);
    let figures = [
        "validation/hard_loss",
        "validation/soft_loss",
        "validation/agreement",
        "validation/accuracy",
        "validation/perplexity",
        "parameters",
        "tokens",
        "tokens_per_second",
        "wall_seconds",
    ];
    let first = columns.iter().position(|c| c == figures[0]).unwrap();
    assert_eq!(columns[first..first + figures.len()], figures);
    let keys = &columns[5..first];
    assert!(keys.iter().all(|key| key.contains('.')), "{keys:?}");
    for key in
        ["loss.temperature", "loss.kind", "teacher.hidden_size", "optimizer.learning_rate", "train.seed"]
    {
        assert!(keys.iter().any(|k| k == key), "{key} in {keys:?}");
    }

    let dtype = |name: &str| runs.column(name).unwrap().dtype().clone();
    assert_eq!(dtype("loss.temperature"), DataType::Float64);
    assert_eq!(dtype("student.hidden_size"), DataType::Int64);
    assert_eq!(dtype("data.shuffle"), DataType::Boolean);
    assert_eq!(dtype("loss.kind"), DataType::String);
    assert_eq!(dtype("seed"), DataType::UInt64);

    let value = |name: &str, row: usize| runs.column(name).unwrap().get(row).unwrap().into_static();
    let summary = finished.summary().unwrap().unwrap();
    let validation = summary.validation.unwrap();
    assert_eq!(value("status", 0), AnyValue::StringOwned("finished".into()));
    assert_eq!(value("validation/hard_loss", 0), AnyValue::Float64(validation.value("hard_loss").unwrap()));
    assert_eq!(value("validation/agreement", 0), AnyValue::Float64(validation.value("agreement").unwrap()));
    assert_eq!(value("parameters", 0), AnyValue::UInt64(summary.parameters));
    assert_eq!(value("point", 0), AnyValue::StringOwned("{\"loss.temperature\":2.0}".into()));
    // A diverged student has no result, but its size and its cause.
    assert_eq!(value("validation/hard_loss", 1), AnyValue::Null);
    assert_eq!(value("parameters", 1), AnyValue::UInt64(summary.parameters));
    assert!(value("reason", 1).to_string().contains("no longer finite"));
    // Of a run that nobody has tried, the point is known.
    assert_eq!(value("status", 2), AnyValue::StringOwned("planned".into()));
    assert_eq!(value("loss.temperature", 2), AnyValue::Float64(8.0));
    assert_eq!(value("attempt", 2), AnyValue::Null);

    let text = csv(&out.join("runs.csv"));
    assert_eq!((text.shape(), names(&text)), (runs.shape(), columns));
}

#[test]
fn the_metrics_table_holds_every_measurement_in_order() {
    let mut sweep = Sweep::new("one", &["loss.temperature"]);
    let run = sweep.run(&[("loss.temperature", json!(2.0))], End::Finished);
    let out = sweep.beside("report");
    write(&sweep.store(), "one", &out).unwrap();
    let metrics = parquet(&out.join("metrics.parquet"));
    let expected = [
        "run_id",
        "step",
        "epoch",
        "split",
        "learning_rate",
        "loss",
        "grad_norm",
        "tokens",
        "hard_loss",
        "soft_loss",
        "agreement",
        "accuracy",
        "perplexity",
    ];
    assert_eq!(names(&metrics), expected);
    let rows = run.metrics().unwrap();
    assert_eq!(metrics.height(), rows.len());
    let losses: Vec<f64> = metrics.column("hard_loss").unwrap().f64().unwrap().iter().flatten().collect();
    assert_eq!(losses, rows.iter().map(|row| row.value("hard_loss").unwrap()).collect::<Vec<_>>());
    let steps: Vec<u64> = metrics.column("step").unwrap().u64().unwrap().iter().flatten().collect();
    assert_eq!(steps, rows.iter().map(|row| row.step).collect::<Vec<_>>());
    assert_eq!(csv(&out.join("metrics.csv")).shape(), metrics.shape());
}

/// A metric that only the runs know: its columns, its plot and its unit are there by its name.
#[test]
fn a_metric_that_is_not_registered_is_in_tables_plots_and_pages() {
    let mut sweep = Sweep::new("own", &["loss.temperature"]);
    let points = MetricInfo {
        unit: "points".into(),
        better: Some(Better::Higher),
        description: "what the judge gave".into(),
    };
    sweep.own_metric = Some(("reward", points.clone()));
    let run = sweep.run(&[("loss.temperature", json!(2.0))], End::Finished);
    sweep.own_metric = None;
    sweep.run(&[("loss.temperature", json!(4.0))], End::Finished);
    let out = sweep.beside("report");
    let written = write(&sweep.store(), "own", &out).unwrap();

    let rewards = |frame: &DataFrame, column: &str| -> Vec<Option<f64>> {
        frame.column(column).unwrap().f64().unwrap().iter().collect()
    };
    let reward = run.summary().unwrap().unwrap().validation.unwrap().value("reward");
    assert_eq!(rewards(&parquet(&out.join("runs.parquet")), "validation/reward"), [reward, None]);
    let found = rewards(&parquet(&out.join("metrics.parquet")), "reward");
    let of_run = run.metrics().unwrap();
    assert_eq!(found[..of_run.len()], of_run.iter().map(|row| row.value("reward")).collect::<Vec<_>>());
    assert_eq!(found[of_run.len()..].iter().flatten().count(), 0);
    assert!(found.iter().flatten().count() == 3, "{found:?}");

    assert!(written.files.contains(&"plots/learning_curves_reward.svg".to_owned()), "{:?}", written.files);
    let page = read(&out.join("index.html"));
    assert!(page.contains("held out, what the judge gave; points; higher is better"));
    assert!(read(&out.join("summary.md")).contains(&format!("reward {:.3}", reward.unwrap())));
    assert_eq!(Manifest::read(&out).unwrap().unwrap().metrics, [("reward".to_owned(), points)].into());
}

#[test]
fn a_report_on_a_whole_grid_tells_what_was_found_and_what_went_wrong() {
    let sweep = grid();
    let out = sweep.beside("report");
    let written = write(&sweep.store(), "temps", &out).unwrap();
    assert_eq!(
        written.counts,
        [
            ("finished", 106),
            ("planned", 1),
            ("interrupted", 1),
            ("diverged", 1),
            ("failed", 1),
            ("damaged", 1)
        ]
    );
    let [(damaged, reason)] = &written.damaged[..] else { panic!("{:?}", written.damaged) };
    assert!(reason.contains("summary.json is damaged"), "{reason}");

    let plots: Vec<&str> =
        written.files.iter().filter_map(|f| f.strip_prefix("plots/")?.strip_suffix(".svg")).collect();
    assert_eq!(
        plots,
        [
            "distilled_against_baseline",
            "axis_loss.temperature",
            "axis_loss.alpha",
            "axis_loss.kind",
            "heatmap_loss.temperature_loss.alpha",
            "heatmap_loss.temperature_loss.kind",
            "heatmap_loss.alpha_loss.kind",
            "learning_curves",
            "learning_curves_agreement",
            "learning_curves_accuracy",
        ]
    );
    for plot in plots {
        let svg = read(&out.join(format!("plots/{plot}.svg")));
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{plot}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{plot}");
        let png = std::fs::read(out.join(format!("plots/{plot}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000, "{plot}");
    }

    let summary = read(&out.join("summary.md"));
    // Computed from the same store by hand: see the sweep's own figures.
    let best = "forward\\_kl, temperature 2, alpha 0.5 has the lowest held-out hard loss";
    for text in [
        best,
        "106 of 111 runs finished; 1 planned, 1 interrupted, 1 diverged, 1 failed and 1 damaged",
        "Distilling beats labels alone by",
        "the best of 36 distilled configurations",
        "3 seeds, 95\u{a0}% interval paired by seed",
        "Agreement with the teacher:",
        "out of memory \\| the worker was killed (signal 9)",
        damaged,
    ] {
        assert!(summary.contains(text), "{text:?} in {summary}");
    }
    let page = read(&out.join("index.html"));
    for text in ["<h1>temps</h1>", "id=\"failures\"", "out of memory | the worker was killed", damaged] {
        assert!(page.contains(text), "{text:?}");
    }
    assert!(!page.contains("NaN"));
}

/// The mean difference and its interval over three paired seeds, worked out here from the files.
#[test]
fn the_gain_over_labels_alone_is_the_paired_difference() {
    let mut sweep = Sweep::new("gain", &["loss.kind", "train.seed"]);
    let mut losses = std::collections::BTreeMap::<&str, Vec<f64>>::new();
    for kind in ["forward_kl", "none"] {
        for seed in 0..3 {
            let run = sweep.run(&[("loss.kind", json!(kind)), ("train.seed", json!(seed))], End::Finished);
            losses
                .entry(kind)
                .or_default()
                .push(run.summary().unwrap().unwrap().validation.unwrap().value("hard_loss").unwrap());
        }
    }
    let gains: Vec<f64> = losses["none"].iter().zip(&losses["forward_kl"]).map(|(a, d)| a - d).collect();
    let mean = gains.iter().sum::<f64>() / 3.0;
    let std = (gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    // Student's t, two degrees of freedom, 97.5 %.
    let margin = 4.302652729749462 * std / 3f64.sqrt();
    let out = sweep.beside("report");
    write(&sweep.store(), "gain", &out).unwrap();
    let summary = read(&out.join("summary.md"));
    let digits = (1.0 - margin.log10().floor()).clamp(2.0, 4.0) as usize;
    let expected = format!("beats labels alone by {mean:.digits$} ± {margin:.digits$} nats");
    assert!(summary.contains(&expected), "{expected} in {summary}");
}

#[test]
fn small_and_odd_experiments_get_reports_too() {
    let seeds_only = {
        let mut sweep = Sweep::new("seeds", &["train.seed"]);
        for seed in 0..3 {
            sweep.run(&[("train.seed", json!(seed))], End::Finished);
        }
        sweep
    };
    let no_axis = {
        let mut sweep = Sweep::new("plain", &[]);
        sweep.run(&[], End::Finished);
        sweep
    };
    let nothing_finished = {
        let mut sweep = Sweep::new("early", &["loss.temperature"]);
        sweep.run(&[("loss.temperature", json!(1.0))], End::Failed);
        sweep.run(&[("loss.temperature", json!(2.0))], End::Running);
        sweep.run(&[("loss.temperature", json!(4.0))], End::Planned);
        sweep
    };
    let only_planned = {
        let mut sweep = Sweep::new("planned", &["loss.temperature"]);
        sweep.run(&[("loss.temperature", json!(1.0))], End::Planned);
        sweep
    };
    let rates = one_axis("rates", "optimizer.learning_rate", &[json!(1e-4), json!(1e-3)]);
    let files_axis =
        one_axis("files", "data.train", &[json!("/a/x.jsonl"), json!(["/a/x.jsonl", "/a/y.jsonl"])]);
    for (sweep, name, says) in [
        (seeds_only, "seeds", "The only configuration has the lowest held-out hard loss"),
        (no_axis, "plain", "1 seed, so no interval"),
        (nothing_finished, "early", "There is nothing to compare yet"),
        (only_planned, "planned", "0 of 1 run finished; 1 planned"),
        (rates, "rates", "learning rate 1e-"),
        (files_axis, "files", "data train"),
        (sizes(), "sizes", "beats labels alone for 4 of 4 students"),
    ] {
        let out = sweep.beside("report");
        write(&sweep.store(), name, &out).unwrap();
        let summary = read(&out.join("summary.md"));
        assert!(summary.contains(says), "{says:?} in {summary}");
        let page = read(&out.join("index.html"));
        assert!(page.ends_with("</html>\n") && !page.contains("NaN"), "{name}");
    }
}

#[test]
fn nothing_in_a_name_or_a_value_becomes_markup() {
    let name = "<b>odd & \"quoted\" | name";
    let mut sweep = Sweep::new(name, &["data.system"]);
    let hostile = "<script>alert('x')</script>";
    for value in [hostile, "a|b `c` [d](javascript:alert(1))", "</svg></title><img src=x onerror=alert(1)>"] {
        sweep.run(&[("data.system", json!(value))], End::Finished);
    }
    let out = sweep.beside("report");
    write(&sweep.store(), name, &out).unwrap();
    let page = read(&out.join("index.html"));
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b>"), "{page}");
    assert!(page.contains("&lt;script&gt;alert("));
    // Ours, and no other.
    assert_eq!(page.matches("<script").count(), 1);
    for (file, content) in files(&out).iter().filter(|(file, _)| file.ends_with(".svg")) {
        let svg = String::from_utf8(content.clone()).unwrap();
        assert!(!svg.contains("<script") && !svg.contains("<img"), "{file}");
        assert_eq!(svg.matches("</svg>").count(), 1, "{file}");
    }
    let summary = read(&out.join("summary.md"));
    assert!(!summary.contains("<script>") && summary.contains("a\\|b"), "{summary}");
    let row = summary.lines().find(|line| line.contains("a\\|b") && line.starts_with('|')).unwrap();
    let head = summary.lines().find(|line| line.starts_with("| \\# |")).unwrap();
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    assert_eq!(bars(row), bars(head), "{row}");
}

#[test]
fn the_page_needs_nothing_beside_it() {
    let sweep = one_axis("page", "loss.temperature", &[json!(1.0), json!(2.0), json!(4.0)]);
    let out = sweep.beside("report");
    write(&sweep.store(), "page", &out).unwrap();
    let page = read(&out.join("index.html"));
    assert!(
        !page.contains(" src=")
            && !page.contains("<link")
            && !page.contains("@import")
            && !page.contains("url(")
    );
    for address in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let is_own = address.starts_with('#') || out.join(address).is_file();
        assert!(is_own, "{address}");
    }
    // The one address in it names a format.
    assert!(page.match_indices("http").all(|(at, _)| {
        page[at..].starts_with("http://www.w3.org/2000/svg") || page[at..].starts_with("http-equiv")
    }));
    for table in ["id=\"configurations\"", "id=\"all-runs\"", "<caption>", "scope=\"col\"", "role=\"img\""] {
        assert!(page.contains(table), "{table}");
    }
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let sweep = grid();
    let (first, second) = (sweep.beside("first"), sweep.beside("second"));
    write(&sweep.store(), "temps", &first).unwrap();
    write(&sweep.store(), "temps", &second).unwrap();
    let (first, second) = (files(&first), files(&second));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        assert!(*bytes == second[name], "{name} differs");
    }
}

#[test]
fn a_second_report_removes_what_only_the_first_had_and_nothing_else() {
    let mut sweep = Sweep::new("again", &["loss.temperature", "loss.alpha"]);
    for (temperature, alpha) in [(1.0, 0.2), (2.0, 0.2), (1.0, 0.5), (2.0, 0.5)] {
        sweep.run(&[("loss.temperature", json!(temperature)), ("loss.alpha", json!(alpha))], End::Finished);
    }
    let out = sweep.beside("report");
    write(&sweep.store(), "again", &out).unwrap();
    assert!(out.join("plots/axis_loss.alpha.svg").is_file());
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    std::fs::write(out.join("plots/drawn_by_hand.png"), "mine").unwrap();
    let outside = sweep.beside("precious.svg");
    std::fs::write(&outside, "mine").unwrap();
    // A manifest that was tampered with leads nowhere.
    let mut manifest = Manifest::read(&out).unwrap().unwrap();
    let others = ["plots/../../precious.svg", "../precious.svg", "notes.txt"];
    manifest.files.extend(others.map(|name| (name.to_owned(), String::new())));
    manifest.write(&out).unwrap();

    sweep.plan_nothing();
    sweep.run(&[("loss.temperature", json!(1.0)), ("loss.alpha", json!(0.2))], End::Finished);
    sweep.run(&[("loss.temperature", json!(2.0)), ("loss.alpha", json!(0.2))], End::Finished);
    let written = write(&sweep.store(), "again", &out).unwrap();
    assert!(!out.join("plots/axis_loss.alpha.svg").exists());
    assert!(!out.join("plots/heatmap_loss.temperature_loss.alpha.png").exists());
    for kept in [out.join("notes.txt"), out.join("plots/drawn_by_hand.png"), outside] {
        assert_eq!(read(&kept), "mine");
    }
    let mut files = written.files;
    files.sort();
    assert_eq!(Manifest::read(&out).unwrap().unwrap().files.into_keys().collect::<Vec<_>>(), files);
}

#[test]
fn a_damaged_run_is_named_whatever_of_it_is_damaged() {
    for (file, content) in [
        ("run.json", Some("{")),
        ("run.json", None),
        ("status.json", Some("[]")),
        ("status.json", Some("{\"format_version\": 99}")),
        ("summary.json", None),
        ("metrics.jsonl", Some("{\"step\": true}\n")),
        ("metrics.jsonl", Some("\u{0}\u{0}\n")),
    ] {
        let mut sweep = one_axis("hurt", "loss.temperature", &[json!(1.0), json!(2.0)]);
        let dir = sweep.run(&[("loss.temperature", json!(4.0))], End::Finished);
        match content {
            Some(content) => std::fs::write(dir.path().join(file), content).unwrap(),
            None => std::fs::remove_file(dir.path().join(file)).unwrap(),
        }
        let out = sweep.beside("report");
        let written = write(&sweep.store(), "hurt", &out).unwrap();
        assert_eq!(written.counts, [("finished", 2), ("damaged", 1)], "{file} {content:?}");
        let (run, reason) = &written.damaged[0];
        assert!(dir.path().ends_with(run) && reason.contains(run.as_str()), "{reason}");
        assert!(read(&out.join("summary.md")).contains(run.as_str()), "{file}");
    }
}

#[test]
fn what_cannot_be_reported_gets_an_error_that_says_what_to_do() {
    let sweep = one_axis("known", "loss.temperature", &[json!(1.0)]);
    let store = sweep.store();
    let (file, out) = (sweep.beside("file"), sweep.beside("report"));
    std::fs::write(&file, "").unwrap();
    let mut empty = Sweep::new("empty", &[]);
    empty.plan_nothing();
    let in_the_way = sweep.beside("in_the_way");
    std::fs::create_dir_all(in_the_way.join("runs.parquet")).unwrap();
    let broken = Sweep::new("broken", &[]);
    std::fs::create_dir_all(broken.root().join("experiments")).unwrap();
    std::fs::write(broken.root().join("experiments/broken.json"), "{ \"format_version\": 1").unwrap();
    for (store, name, out, expected) in [
        (&store, "unknown", out.clone(), ["no experiment `unknown`", "it has: known"]),
        (&store, "../known", out.clone(), ["no experiment `../known`", "it has: known"]),
        (&store, "", out.clone(), ["no experiment ``", "it has: known"]),
        (&Store::new("/nowhere"), "x", out.clone(), ["no experiment `x`", "nothing was swept into it yet"]),
        (&empty.store(), "empty", out.clone(), ["`empty` has no runs", "kdx sweep"]),
        (&store, "known", file.clone(), ["cannot write the report to", "--output"]),
        (&store, "known", file.join("below"), ["cannot write the report to", "--output"]),
        (&store, "known", in_the_way, ["cannot write the report to", "--output"]),
        (&broken.store(), "broken", out, ["broken.json is damaged", "EOF while parsing"]),
    ] {
        let error = write(store, name, &out).unwrap_err();
        let text = format!("{:?}", miette::Report::new(error));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[test]
fn an_experiment_is_found_by_its_name_or_its_file() {
    let sweep = one_axis("known", "loss.temperature", &[json!(1.0)]);
    let store = sweep.store();
    let find = |argument: &str| kdx::report::experiment_name(&store, argument).unwrap();
    assert_eq!(find("known"), "known");
    assert_eq!(find("experiments/known.toml"), "known");
    assert_eq!(find("other"), "other");
    // The file may give the experiment another name than its own.
    let file = sweep.beside("file.toml");
    std::fs::write(&file, "").unwrap();
    let mut record = store.experiment("known").unwrap();
    record.source = file.to_str().unwrap().to_owned();
    store.write_experiment(&record).unwrap();
    assert_eq!(find(file.to_str().unwrap()), "known");
}

#[test]
fn a_planned_run_borrows_the_configuration_of_its_sibling_seeds() {
    let mut sweep = Sweep::new("late", &["loss.temperature", "train.seed"]);
    let at = |seed: u64| [("loss.temperature", json!(2.0)), ("train.seed", json!(seed))];
    sweep.run(&at(0), End::Finished);
    sweep.run(&at(1), End::Planned);
    // A baseline makes the loss kind differ between runs although it is no axis.
    sweep.run(&[("loss.kind", json!("none")), ("train.seed", json!(0))], End::Finished);
    let out = sweep.beside("report");
    write(&sweep.store(), "late", &out).unwrap();
    let runs = parquet(&out.join("runs.parquet"));
    let kinds: Vec<_> = runs.column("loss.kind").unwrap().str().unwrap().iter().collect();
    assert_eq!(kinds, [Some("forward_kl"), Some("forward_kl"), Some("none")]);
    let seeds: Vec<_> = runs.column("seed").unwrap().u64().unwrap().iter().collect();
    assert_eq!(seeds, [Some(0), Some(1), Some(0)]);
    assert!(read(&out.join("summary.md")).contains("1 of 2"), "one of two seeds is finished");
}

#[test]
fn the_teacher_has_a_row_of_its_own() {
    let mut sweep = one_axis("taught", "loss.temperature", &[json!(1.0)]);
    sweep.set("teacher", json!({"path": "/models/<big>"}));
    sweep.run(&[("loss.temperature", json!(2.0))], End::Finished);
    let out = sweep.beside("report");
    write(&sweep.store(), "taught", &out).unwrap();
    let summary = read(&out.join("summary.md"));
    let rows: Vec<&str> = summary.lines().skip_while(|line| *line != "## Teachers").collect();
    assert!(rows.iter().any(|row| row.contains("trained by kdx, run 7eac4e70 | finished | 3.41 M | 0.930")));
    assert!(rows.iter().any(|row| row.contains("/models/\\<big\\> | given | 3.41 M | 0.930")), "{rows:?}");
    let experiment = sweep.store().experiment("taught").unwrap();
    assert_eq!(experiment.needs.len(), 1);
}

/// `logit_mse` has no temperature, and an alpha of 1 makes no baseline where one is declared.
#[test]
fn settings_that_mean_nothing_are_neither_named_nor_averaged() {
    let mut sweep = Sweep::new("mixed", &["loss.kind", "loss.temperature", "loss.alpha"]);
    for (kind, temperature, alpha) in [
        ("js", 1.0, 0.5),
        ("js", 4.0, 0.5),
        ("js", 1.0, 1.0),
        ("js", 4.0, 1.0),
        ("logit_mse", 1.0, 0.5),
        ("none", 1.0, 1.0),
    ] {
        let point = [
            ("loss.kind", json!(kind)),
            ("loss.temperature", json!(temperature)),
            ("loss.alpha", json!(alpha)),
        ];
        sweep.run(&point, End::Finished);
    }
    let out = sweep.beside("report");
    write(&sweep.store(), "mixed", &out).unwrap();
    let runs = parquet(&out.join("runs.parquet"));
    let baselines: Vec<_> = runs.column("baseline").unwrap().bool().unwrap().iter().flatten().collect();
    assert_eq!(baselines, [false, false, false, false, false, true]);
    let summary = read(&out.join("summary.md"));
    for label in ["| js, temperature 4, alpha 1 |", "| logit\\_mse, alpha 0.5 |", "| labels alone |"] {
        assert!(summary.contains(label), "{label} in {summary}");
    }
    let row = |kind: &str| {
        summary.lines().find(|line| line.contains(kind) && line.contains("%")).unwrap().to_owned()
    };
    assert!(row("| logit\\_mse |").contains("| logit\\_mse | – | 0.5 |"), "{}", row("| logit\\_mse |"));
    assert!(row("| labels alone |").contains("| labels alone | – | – |"), "{}", row("| labels alone |"));
}

/// Not a check: writes reports for people to look at, into the folder that KDX_LOOK names.
#[test]
#[ignore = "writes reports to look at"]
fn reports_to_look_at() {
    let out = std::env::var("KDX_LOOK").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let show = |sweep: &Sweep, name: &str| {
        write(&sweep.store(), name, &Path::new(&out).join(name)).unwrap();
    };
    show(&grid(), "temps");
    show(&sizes(), "sizes");
    show(&one_axis("two", "loss.temperature", &[json!(1.0), json!(4.0)]), "two");
    show(&one_axis("rates", "optimizer.learning_rate", &[json!(1e-4), json!(3e-4), json!(1e-3)]), "rates");
    let kinds = ["forward_kl", "reverse_kl", "js", "skew_forward_kl", "skew_reverse_kl", "tvd", "logit_mse"];
    show(&one_axis("kinds", "loss.kind", &kinds.map(|k| json!(k))), "kinds");
    show(&one_axis("one", "loss.temperature", &[json!(2.0)]), "one");
    let mut none = Sweep::new("unfinished", &["loss.temperature"]);
    none.run(&[("loss.temperature", json!(1.0))], End::Failed);
    none.run(&[("loss.temperature", json!(2.0))], End::Running);
    none.run(&[("loss.temperature", json!(4.0))], End::Planned);
    show(&none, "unfinished");
}
