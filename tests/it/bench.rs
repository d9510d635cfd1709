//! `kdx bench`, as a user runs it: what it reports and refuses, never how fast it was.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{close, kdx};

const SMALL: [&str; 7] =
    ["--student=16x1", "--teacher=32x1", "--vocab=64", "--batch=1", "--seq=8", "--seconds=0.1", "--warmup=1"];

/// Measures a small step, with these options over those above.
fn bench(options: &[&str]) -> Output {
    let key = |option: &str| option.split('=').next().map(str::to_owned);
    let kept = SMALL.into_iter().filter(|small| !options.iter().any(|option| key(option) == key(small)));
    Command::new(kdx()).arg("bench").args(kept).args(options).output().unwrap()
}

#[track_caller]
pub fn report(options: &[&str]) -> Value {
    let output = bench(&[options, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
pub fn number(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number.is_finite() && number >= 0.0, "{number}");
    number
}

fn part<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["parts"].as_array().unwrap().iter().find(|part| part["part"] == name).unwrap()
}

#[test]
fn a_report_says_what_was_measured_and_adds_up() {
    let report =
        report(&["--precision=fp32", "--device=cpu", "--signal=online", "--loss=js", "--alpha=0.25"]);
    let student = serde_json::json!({
        "hidden_size": 16, "layers": 1, "heads": 8, "kv_heads": 2, "intermediate_size": 64, "parameters": 4784,
    });
    assert_eq!(report["student"], student);
    assert_eq!(report["teacher"]["hidden_size"], 32);
    for (key, value) in [("precision", "fp32"), ("device", "cpu"), ("signal", "online")] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!((&report["loss"]["kind"], &report["loss"]["alpha"]), (&"js".into(), &0.25.into()));
    for (key, value) in
        [("format_version", 2), ("vocab_size", 64), ("batch", 1), ("sequence", 8), ("tokens_per_step", 8)]
    {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(report["warmup_steps"], 1);
    assert!(number(&report["steps"]) >= 3.0 && number(&report["threads"]) >= 1.0);
    assert!(number(&report["peak_memory_mib"]) > 1.0);

    for key in ["tokens_per_second", "step_seconds"] {
        let [low, median, high] = ["p10", "median", "p90"].map(|name| number(&report[key][name]));
        assert!(0.0 < low && low <= median && median <= high, "{key}: {low} {median} {high}");
    }
    let step = number(&report["mean_step_seconds"]);
    let [low, high] = ["p10", "p90"].map(|name| number(&report["step_seconds"][name]));
    assert!((low..=high).contains(&step), "{step} between {low} and {high}");
    let sum = |key: &str| -> f64 {
        report["parts"].as_array().unwrap().iter().map(|part| part[key].as_f64().unwrap_or(0.0)).sum()
    };
    assert_eq!((&report["synchronized"], &report["steps_per_reading"]), (&false.into(), &1.into()));
    assert_eq!(
        report["part_steps"], report["steps"],
        "the processor has done a part when its last call returns"
    );
    assert_eq!(report["part_step_seconds"], report["mean_step_seconds"]);
    close("seconds of all parts", sum("seconds"), step, 1e-9);
    close("shares of all parts", sum("share"), 1.0, 1e-9);
    close("microseconds of a token", sum("microseconds_per_token"), step * 1e6 / 8.0, 1e-9);
    close("operations of all parts", sum("gflop"), number(&report["gflop"]), 1e-9);
    close("speed", number(&report["gflop_per_second"]), number(&report["gflop"]) / step, 1e-9);

    let fastest = number(&report["matrix_product"]["fp32"]);
    assert!(fastest > 0.0 && number(&report["matrix_product"]["bf16"]) > 0.0);
    for name in ["teacher", "student_forward", "loss", "backward"] {
        let part = part(&report, name);
        let speed = number(&part["gflop"]) / number(&part["seconds"]);
        close(name, number(&part["gflop_per_second"]), speed, 1e-9);
        close(name, number(&part["of_matrix_product"]), speed / fastest, 1e-9);
        let bandwidth = number(&part["gbyte"]) / number(&part["seconds"]);
        close(name, number(&part["gbyte_per_second"]), bandwidth, 1e-9);
        let most = number(&report["memory_bandwidth"]);
        close(name, number(&part["of_memory_bandwidth"]), bandwidth / most, 1e-9);
    }
    assert_eq!((&report["burn_product"], &report["device_memory"]), (&Value::Null, &Value::Null));
    // 7 of 8 rows count: three products with the student's head, one with the teacher's.
    let heads = 2.0 * 7.0 * 64.0 * (3.0 * 16.0 + 32.0) / 1e9;
    close("operations of the loss", number(&part(&report, "loss")["gflop"]), heads, 1e-9);
    // Eight numbers a parameter.
    close("bytes", number(&part(&report, "optimizer")["gbyte"]), 32.0 * 4784.0 / 1e9, 1e-9);
    assert_eq!(part(&report, "rest")["gbyte"], Value::Null);
    for name in ["optimizer", "rest"] {
        assert!(number(&part(&report, name)["seconds"]) > 0.0);
        assert_eq!(part(&report, name)["gflop"], Value::Null);
    }
}

#[test]
fn with_hidden_states_that_are_there_the_teacher_does_nothing() {
    let online = report(&[]);
    let hidden = report(&["--signal=hidden"]);
    assert_eq!(hidden["signal"], "hidden");
    assert_eq!(part(&hidden, "teacher")["gflop"], Value::Null);
    assert_eq!(part(&hidden, "loss")["gflop"], part(&online, "loss")["gflop"], "its head is applied");
    let saved = number(&online["gflop"]) - number(&hidden["gflop"]);
    close("saved", saved, number(&part(&online, "teacher")["gflop"]), 1e-9);

    let baseline = report(&["--loss=none"]);
    assert_eq!((&baseline["teacher"], &baseline["signal"]), (&Value::Null, &Value::Null));
    assert!(number(&part(&baseline, "loss")["gflop"]) < number(&part(&hidden, "loss")["gflop"]));
}

#[test]
fn without_ceilings_nothing_is_held_against_them() {
    let report = report(&["--no-ceilings"]);
    for key in ["matrix_product", "of_matrix_product", "memory_bandwidth"] {
        assert_eq!(report[key], Value::Null, "{key}");
    }
    let loss = part(&report, "loss");
    assert!(number(&loss["gflop_per_second"]) > 0.0 && number(&loss["gbyte_per_second"]) > 0.0);
    assert_eq!((&loss["of_matrix_product"], &loss["of_memory_bandwidth"]), (&Value::Null, &Value::Null));
    let text = String::from_utf8(bench(&["--no-ceilings"]).stdout).unwrap();
    assert!(!text.contains("matrix product:"), "{text}");
}

#[test]
fn the_table_names_every_part() {
    let output = bench(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("student 16x1 (4784), teacher 32x1 (17.0 k), online, vocabulary 64, batch 1 × 8")
    );
    for word in ["student forward", "optimizer", "tokens/s", "matrix product:", "memory: ", "peak memory:"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn options_that_no_step_can_have_are_refused() {
    for (option, words) in [
        ("--student=17x1", ["--student 17x1", "the width must be even"]),
        ("--student=0x1", ["--student 0x1", "`hidden_size` is 0"]),
        ("--teacher=32x0", ["--teacher 32x0", "`layers` is 0"]),
        ("--teacher=32", ["--teacher", "as 512x1"]),
        ("--student=99999999998x9999999", ["--student 99999999998x9999999", "more than kdx will allocate"]),
        ("--student=100000x5", ["MiB of memory", "choose smaller sizes"]),
        ("--vocab=0", ["--student 16x1", "`vocab_size` is 0"]),
        ("--batch=0", ["`--batch` is 0", "at least 1"]),
        ("--batch=999999999999", ["`--batch` is 999999999999", "2^31"]),
        ("--seq=1", ["`--seq` is 1", "at least 2"]),
        ("--temperature=0", ["`--temperature` is 0", "above 0"]),
        ("--alpha=1.5", ["`--alpha` is 1.5", "from 0 to 1"]),
        ("--log-every=0", ["`--log-every` is 0", "at least 1"]),
        ("--seconds=-1", ["`--seconds` is -1", "not negative"]),
        ("--precision=fp8", ["--precision", "`fp32`"]),
        ("--device=tpu", ["--device", "unknown device `tpu`"]),
        ("--signal=topk", ["--signal", "`hidden`"]),
        ("--loss=kl", ["--loss", "`forward_kl`"]),
    ] {
        let output = bench(&[option]);
        // Lines of a message break where the terminal ends.
        let error = String::from_utf8_lossy(&output.stderr);
        let error = error.split_whitespace().filter(|&word| word != "│").collect::<Vec<_>>().join(" ");
        assert!(!output.status.success() && output.stdout.is_empty(), "{option}");
        assert!(!error.contains("panicked"), "{option}: {error}");
        for word in words {
            assert!(error.contains(word), "{option}: {word} in {error}");
        }
    }
    let unknown = Command::new(kdx()).env("KDX_CPU", "sse9").arg("bench").output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("KDX_CPU=sse9"));
}
