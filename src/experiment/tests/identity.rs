//! When two runs are the same run.

use std::collections::HashSet;
use std::fs;

use super::{Bench, COMPLETE};
use crate::store::{RunId, RunRole};

fn ids(bench: &Bench, overrides: &[&str]) -> Vec<RunId> {
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    bench.resolve(&experiment).students.into_iter().map(|(run, _)| run.run_id).collect()
}

fn id(bench: &Bench, overrides: &[&str]) -> RunId {
    let ids = ids(bench, overrides);
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

fn teachers(bench: &Bench, overrides: &[&str]) -> Vec<RunId> {
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    bench.resolve(&experiment).teachers.into_iter().map(|run| run.run_id).collect()
}

fn complete() -> Bench {
    let bench = Bench::new();
    bench.write("e.toml", COMPLETE);
    bench
}

#[test]
fn a_moved_clone_keeps_its_identities() {
    let (here, there) = (complete(), complete());
    assert_ne!(here.path(), there.path());
    assert_eq!(id(&here, &[]), id(&there, &[]));
    assert_eq!(teachers(&here, &[]), teachers(&there, &[]));
    there.write("renamed.jsonl", "{\"text\": \"a\"}\n");
    assert_eq!(id(&here, &[]), id(&there, &["data.train=renamed.jsonl"]));
}

#[test]
fn a_changed_byte_of_any_input_changes_the_identity() {
    let bench = complete();
    let arguments = ["data.validation=valid.jsonl"];
    let mut seen = HashSet::from([id(&bench, &arguments)]);
    for (name, text) in [
        ("train.jsonl", "{\"text\": \"A\"}\n"),
        ("valid.jsonl", "{\"text\": \"B\"}\n"),
        ("tokenizer/tokenizer.json", "[]"),
        ("tokenizer/tokenizer_config.json", "{}"),
        ("tokenizer/chat_template.jinja", "x"),
    ] {
        bench.write(name, text);
        assert!(seen.insert(id(&bench, &arguments)), "{name}");
    }
    bench.write("tokenizer/README.md", "not read");
    bench.write("tokenizer/model.safetensors", "not read for the tokenizer");
    assert!(!seen.insert(id(&bench, &arguments)));
}

#[test]
fn a_model_directory_is_its_weights_its_configuration_and_its_tokenizer() {
    let bench = complete();
    bench.write("model/config.json", "{}");
    bench.write("model/model.safetensors", "w");
    let overrides = ["student={path=\"model\", hidden_size=16, layers=1}"];
    let mut seen = HashSet::from([id(&bench, &overrides)]);
    for (name, text) in [
        ("model/config.json", "{ }"),
        ("model/model.safetensors", "W"),
        ("model/model.safetensors.index.json", "{}"),
        ("model/tokenizer.json", "{}"),
    ] {
        bench.write(name, text);
        assert!(seen.insert(id(&bench, &overrides)), "{name}");
    }
    bench.write("model/notes.txt", "not read");
    assert!(!seen.insert(id(&bench, &overrides)));
}

#[test]
fn what_changes_results_changes_the_identity_and_the_rest_does_not() {
    let bench = complete();
    let plain = id(&bench, &[]);
    for same in [
        "resources.threads=3",
        "resources.per_device=2",
        "compare.confidence=0.9",
        "name=other",
        "loss.temperature=1.5",
        "loss.temperature=15e-1",
        "loss.beta=0.9",
        "student.heads=8",
        "teacher.train.epochs=1",
        "schedule.decay_ratio=0.7",
        "data.train=[\"train.jsonl\"]",
        "optimizer.clip_norm=1e0",
        "teacher.signal=online",
        "teacher.signal=hidden",
        "teacher.cache_budget=1.5",
        "teacher.top_k=9",
        "train.checkpoint_every=1.5",
        "teacher.train.checkpoint_every=0",
    ] {
        assert_eq!(id(&bench, &[same]), plain, "{same}");
    }
    let mut seen = HashSet::from([plain]);
    for different in [
        "loss.temperature=2",
        "loss.alpha_weighs=soft",
        "train.seed=1",
        "train.log_every=2",
        "data.max_length=128",
        "data.shuffle=false",
        "data.train=[\"train.jsonl\", \"train.jsonl\"]",
        "student.heads=4",
        "teacher.hidden_size=64",
        "teacher.train.steps=9",
        "teacher.signal=topk",
        "teacher={hidden_size=32, layers=2, signal=\"topk\", top_k=8}",
        "optimizer.weight_decay=0",
        "schedule.kind=linear",
        "data.validation=valid.jsonl",
    ] {
        assert!(seen.insert(id(&bench, &[different])), "{different}");
    }
}

#[test]
fn the_teacher_depends_on_nothing_of_the_students_training() {
    let bench = complete();
    let plain = teachers(&bench, &[]);
    assert_eq!(plain.len(), 1);
    for same in [
        "train.seed=4",
        "train.steps=7",
        "optimizer.learning_rate=0.1",
        "schedule.kind=constant",
        "student.hidden_size=32",
        "loss.temperature=4",
        "evaluate.every=5",
        "grid.optimizer.learning_rate=[0.1, 0.2]",
        "baseline=true",
    ] {
        assert_eq!(teachers(&bench, &[same]), plain, "{same}");
    }
    for different in
        ["teacher.layers=3", "teacher.train.seed=1", "data.max_length=64", "data.train=valid.jsonl"]
    {
        assert_ne!(teachers(&bench, &[different]), plain, "{different}");
    }
}

#[test]
fn a_teacher_is_trained_on_labels_alone_with_its_own_settings() {
    let bench = complete();
    let overrides = ["teacher.train.steps=9", "train.steps=5", "teacher.optimizer.learning_rate=0.25"];
    let experiment = bench.load_file("e.toml", &overrides, &[]).unwrap();
    let resolved = bench.resolve(&experiment);
    let teacher = &resolved.teachers[0];
    let config = &teacher.config;
    assert_eq!(teacher.role, RunRole::Teacher);
    assert_eq!(config.teacher, None);
    assert_eq!(config.student.size, experiment.points[0].config.teacher.as_ref().unwrap().size);
    assert_eq!((config.train.steps, config.optimizer.learning_rate), (Some(9), 0.25));
    assert_eq!((config.loss.hard_weight(), config.evaluate.every), (1.0, 0));
    assert_eq!(resolved.students[0].1.teacher_run.as_ref(), Some(&teacher.run_id));
    assert_eq!(resolved.students[0].1.role, RunRole::Student);
}

#[test]
fn a_teacher_from_a_directory_is_not_trained() {
    let bench = complete();
    bench.write("teacher/config.json", "{}");
    let text = COMPLETE.replace("hidden_size = 32\nlayers = 2", "path = \"teacher\"");
    bench.write("e.toml", &text);
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    let resolved = bench.resolve(&experiment);
    assert!(resolved.teachers.is_empty() && resolved.students[0].1.teacher_run.is_none());
    let config = bench.path().join("teacher/config.json").to_string_lossy().into_owned();
    assert!(resolved.students[0].1.inputs.contains_key(&config));

    let plain = id(&bench, &[]);
    assert_eq!(id(&bench, &["teacher.signal=hidden"]), plain);
    let few = id(&bench, &["teacher.signal=topk", "teacher.top_k=8"]);
    assert_ne!(few, plain);
    assert_ne!(few, id(&bench, &["teacher.signal=topk"]));
    assert_eq!(
        id(&bench, &["teacher.signal=topk"]),
        id(&bench, &["teacher.signal=topk", "teacher.top_k=64"])
    );
}

#[test]
fn a_teacher_uses_the_tokenizer_of_the_students_checkpoint() {
    let bench = Bench::new();
    bench.write("model/config.json", "{}");
    bench.write("model/tokenizer.json", "{}");
    let text = COMPLETE
        .replace("tokenizer = \"tokenizer\"\n", "")
        .replace("[student]", "[student]\npath = \"model\"");
    bench.write("e.toml", &text);
    let resolved = bench.resolve(&bench.load_file("e.toml", &[], &[]).unwrap());
    assert_eq!(resolved.teachers[0].config.data.tokenizer, Some(bench.path().join("model")));
}

#[test]
fn files_of_equal_content_are_one_run() {
    let bench = complete();
    bench.write("copy.jsonl", "{\"text\": \"a\"}\n");
    let argument = "grid.data.train=[\"train.jsonl\", \"copy.jsonl\", \"valid.jsonl\"]";
    assert_eq!(bench.load_file("e.toml", &[argument], &[]).unwrap().points.len(), 3);
    assert_eq!(ids(&bench, &[argument]).len(), 2);
}

#[test]
fn an_input_that_goes_away_is_an_error_that_names_it() {
    let bench = complete();
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    fs::remove_file(bench.path().join("train.jsonl")).unwrap();
    let error = super::resolve(&experiment, &bench.path().join("cache")).unwrap_err().to_string();
    assert!(error.contains("data.train") && error.contains("train.jsonl"), "{error}");
}

/// The identity is defined by this document: a change to it gives every run a new identity, and must
/// come with a new version.
#[test]
fn the_identity_is_the_hash_of_a_canonical_document() {
    let bench = Bench::new();
    bench.write("train.jsonl", "abc");
    bench.write("tokenizer/tokenizer.json", "abc");
    bench.write(
        "e.toml",
        &format!("{COMPLETE}\n[loss]\nkind = \"none\"")
            .replace("[teacher]\nhidden_size = 32\nlayers = 2\n", ""),
    );
    let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    let document = format!(
        concat!(
            r#"{{"identity_version":1,"role":"student","#,
            r#""data":{{"format":"auto","max_length":512,"on_bad_record":"error","packing":false,"shuffle":true,"#,
            r#""tokenizer":{{"tokenizer.json":"{abc}"}},"train":"{abc}","validation":null}},"#,
            r#""evaluate":{{"batch_size":16,"every":0}},"#,
            r#""loss":{{"alpha":1e0,"alpha_weighs":"hard","beta":5e-1,"kind":"none","skew":1e-1,"temperature":1e0}},"#,
            r#""optimizer":{{"beta1":9e-1,"beta2":9.99e-1,"clip_norm":1e0,"epsilon":1e-8,"learning_rate":5e-4,"#,
            r#""weight_decay":1e-2}},"#,
            r#""schedule":{{"decay_ratio":2e-1,"kind":"cosine","min_ratio":1e-1,"warmup_steps":0}},"#,
            r#""student":{{"heads":8,"hidden_size":16,"initializer_range":2e-2,"intermediate_size":64,"kv_heads":2,"#,
            r#""layers":1,"partial":false,"rms_norm_eps":1e-5,"rope_theta":1e6,"tie_word_embeddings":true}},"#,
            r#""train":{{"accumulation":1,"batch_size":8,"epochs":1,"log_every":1,"precision":"fp32","seed":0}}}}"#,
        ),
        abc = abc
    );
    assert_eq!(id(&bench, &[]).0, blake3::hash(document.as_bytes()).to_hex()[..16]);
}
