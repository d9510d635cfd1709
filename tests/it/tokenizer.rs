//! `kdx tokenizer` and `kdx toydata`, as a user runs them.

use std::fs;
use std::path::Path;
use std::process::Output;

fn kdx(dir: &Path, arguments: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_kdx")).current_dir(dir).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, arguments: &[&str]) -> String {
    let output = kdx(dir, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(dir: &Path, arguments: &[&str]) -> String {
    let output = kdx(dir, arguments);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

const RECORDS: &str = r#"{"question": "What is seven plus five?", "answer": "Seven plus five is twelve."}
{"question": "What is seven plus six?", "answer": "Seven plus six is thirteen."}
"#;

#[test]
fn a_tokenizer_is_trained_on_named_fields_and_shows_what_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("data.jsonl"), RECORDS).unwrap();
    let train = |output: &'static str| {
        [
            "tokenizer",
            "train",
            "--vocab-size",
            "270",
            "--prompt",
            "question",
            "--response",
            "answer",
            "--output",
            output,
        ]
    };
    let with = |arguments: [&'static str; 10], more: &[&'static str]| [&arguments, more].concat();

    let told = succeeds(path, &with(train("one"), &["data.jsonl"]));
    assert!(told.contains("a tokenizer of 270 tokens is in one"), "{told}");
    succeeds(path, &with(train("two"), &["data.jsonl"]));
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(
            fs::read(path.join("one").join(file)).unwrap(),
            fs::read(path.join("two").join(file)).unwrap()
        );
    }
    let error = fails(path, &with(train("one"), &["data.jsonl"]));
    assert!(error.contains("one/tokenizer.json is there already") && error.contains("--force"), "{error}");
    succeeds(path, &with(train("one"), &["data.jsonl", "--force"]));

    let shown = succeeds(path, &["tokenizer", "show", "one", "--text", "What is seven?", "Twelve."]);
    let counting: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("  yes  "))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(counting.first(), Some(&"T"), "{shown}");
    assert_eq!(counting.last(), Some(&"<|im_end|>"), "{shown}");
    let of_a_file =
        ["tokenizer", "show", "one", "--prompt", "question", "--response", "answer", "--file", "data.jsonl"];
    let shown = succeeds(path, &[&of_a_file[..], &["--line", "2"]].concat());
    assert!(shown.contains("of them count in the loss"), "{shown}");
    let error = fails(path, &[&of_a_file[..], &["--line", "9"]].concat());
    assert!(error.contains("line 9 is blank or beyond the end"), "{error}");
    assert!(error.contains("the last record is in line 2"), "{error}");
}

#[test]
fn a_text_without_enough_pairs_gives_a_smaller_tokenizer_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "abc\nabc\n").unwrap();
    let told = succeeds(dir.path(), &["tokenizer", "train", "a.txt", "--output", "t", "--vocab-size", "300"]);
    assert!(
        told.contains("a tokenizer of 261 tokens") && told.contains("smaller than the 300 asked for"),
        "{told}"
    );
}

#[test]
fn toy_data_is_written_once_and_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let size = ["--train", "50", "--validation", "9", "--vocab-size", "300"];
    let make = |more: &[&'static str]| [&["toydata"][..], &size, more].concat();
    let told = succeeds(dir.path(), &make(&["--output", "a"]));
    assert!(
        told.contains("| kind | train | validation |") && told.contains("50 and 9 conversations"),
        "{told}"
    );
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("a/train.jsonl").lines().count(), 50);
    assert_eq!(read("a/validation.jsonl").lines().count(), 9);
    let error = fails(dir.path(), &make(&["--output", "a"]));
    assert!(error.contains("a/train.jsonl is there already"), "{error}");
    succeeds(dir.path(), &make(&["--output", "a", "--seed", "1", "--force"]));
    succeeds(dir.path(), &make(&["--output", "b", "--seed", "1"]));
    assert_eq!(read("a/train.jsonl"), read("b/train.jsonl"));
    assert_eq!(read("a/tokenizer/tokenizer.json"), read("b/tokenizer/tokenizer.json"));
}
