//! When two runs are the same run.

use std::collections::HashSet;
use std::fs;

use super::{Bench, COMPLETE};
use crate::spec::{ModelSource, Purpose, RunId, RunRecord, Start};

fn ids(bench: &Bench, overrides: &[&str]) -> Vec<RunId> {
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    bench.resolve(&experiment).runs.into_iter().map(|(run, _)| run.run_id).collect()
}

fn id(bench: &Bench, overrides: &[&str]) -> RunId {
    let ids = ids(bench, overrides);
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

fn teachers(bench: &Bench, overrides: &[&str]) -> Vec<RunId> {
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    bench.resolve(&experiment).needs.into_iter().map(|(_, run)| run.run_id).collect()
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
    let (purpose, teacher) = &resolved.needs[0];
    let stage = teacher.spec.stage();
    assert_eq!(*purpose, Purpose::Teacher);
    assert!(stage.teachers.is_empty() && teacher.spec.needs().is_empty());
    assert_eq!(*stage.start.size(), experiment.points[0].config.teacher.as_ref().unwrap().size);
    assert_eq!((stage.train.steps, stage.optimizer.learning_rate), (Some(9), 0.25));
    assert_eq!((stage.loss.hard_weight(), stage.evaluate.every), (1.0, 0));
    assert_eq!(resolved.runs[0].1.spec.needs(), [&teacher.run_id]);
}

#[test]
fn a_teacher_that_is_a_point_too_is_one_run() {
    let bench = complete();
    let overrides = ["loss.kind=none", "student.hidden_size=32", "student.layers=2"];
    let alone = ids(&bench, &overrides);
    assert_eq!(teachers(&bench, &[]), [id_without_teacher(&bench, &overrides)]);
    assert_ne!(alone, teachers(&bench, &[]), "a student that is measured against a teacher is another run");
}

/// The id of the only run, its teacher left out.
fn id_without_teacher(bench: &Bench, overrides: &[&str]) -> RunId {
    let text = COMPLETE.replace("[teacher]\nhidden_size = 32\nlayers = 2\n", "");
    bench.write("alone.toml", &text);
    let experiment = bench.load_file("alone.toml", overrides, &[]).unwrap();
    bench.resolve(&experiment).runs[0].1.run_id.clone()
}

/// The record of the only run of an experiment.
fn record_of(bench: &Bench, overrides: &[&str], stored: &[RunRecord]) -> RunRecord {
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    let mut resolved = super::resolve_with(&experiment, stored).unwrap();
    assert_eq!(resolved.runs.len(), 1);
    resolved.runs.remove(0).1
}

#[test]
fn a_run_of_the_store_is_named_by_its_first_digits_and_counts_by_its_id() {
    let bench = complete();
    let first = record_of(&bench, &[], &[]);
    let text =
        COMPLETE.replace("hidden_size = 16\nlayers = 1", &format!("run = \"{}\"", &first.run_id.0[..6]));
    bench.write("e.toml", &text);
    let stored = [first.clone()];
    let second = record_of(&bench, &[], &stored);
    let stage = second.spec.stage();
    assert_eq!(stage.start.model(), Some(&ModelSource::Run(first.run_id.clone())));
    assert_eq!(second.spec.needs()[0], &first.run_id);
    assert_eq!(second.spec.needs().len(), 2, "and the declared teacher");
    let whole = format!("student.run=\"{}\"", first.run_id);
    assert_eq!(record_of(&bench, &[&whole], &stored).run_id, second.run_id);

    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    let resolved = super::resolve_with(&experiment, &stored).unwrap();
    assert!(resolved.needs.iter().any(|(purpose, run)| *purpose == Purpose::Start && *run == first));
    let error = super::resolve_with(&experiment, &[]).unwrap_err().to_string();
    assert!(error.contains("`student.run`") && error.contains(&first.run_id.0[..6]), "{error}");
}

#[test]
fn a_run_that_starts_from_another_uses_its_tokenizer() {
    let bench = complete();
    let first = record_of(&bench, &[], &[]);
    let text = COMPLETE
        .replace("tokenizer = \"tokenizer\"\n", "")
        .replace("hidden_size = 16\nlayers = 1", &format!("run = \"{}\"", first.run_id))
        .replace("[teacher]\nhidden_size = 32\nlayers = 2\n", "[loss]\nkind = \"none\"\n");
    bench.write("e.toml", &text);
    let second = record_of(&bench, &[], &[first]);
    assert_eq!(second.spec.stage().data.tokenizer, Some(bench.path().join("tokenizer")));
    assert!(matches!(second.spec.stage().start, Start::Model { .. }));
}

#[test]
fn a_record_says_its_own_id() {
    let bench = complete();
    bench.write("model/config.json", "{}");
    bench.write("model/model.safetensors", "w");
    for overrides in
        [&[][..], &["student={path=\"model\", hidden_size=16, layers=1}"], &["data.validation=valid.jsonl"]]
    {
        let mut record = record_of(&bench, overrides, &[]);
        assert_eq!(record.recompute_id().unwrap().as_ref(), Some(&record.run_id), "{overrides:?}");
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
        *record.inputs.values_mut().next().unwrap() = "00".to_owned();
        assert_ne!(record.recompute_id().unwrap().as_ref(), Some(&record.run_id));
        record.inputs.clear();
        assert!(record.recompute_id().is_err());
    }
}

#[test]
fn a_teacher_from_a_directory_is_not_trained() {
    let bench = complete();
    bench.write("teacher/config.json", "{}");
    let text = COMPLETE.replace("hidden_size = 32\nlayers = 2", "path = \"teacher\"");
    bench.write("e.toml", &text);
    let experiment = bench.load_file("e.toml", &[], &[]).unwrap();
    let resolved = bench.resolve(&experiment);
    assert!(resolved.needs.is_empty() && resolved.runs[0].1.spec.needs().is_empty());
    let config = bench.path().join("teacher/config.json").to_string_lossy().into_owned();
    assert!(resolved.runs[0].1.inputs.contains_key(&config));

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
    assert_eq!(resolved.needs[0].1.spec.stage().data.tokenizer, Some(bench.path().join("model")));
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
    let error = super::resolve_with(&experiment, &[]).unwrap_err().to_string();
    assert!(error.contains("data.train") && error.contains("train.jsonl"), "{error}");
}

/// Ids are defined by these documents: a change to one gives every run a new id, and must come with a new
/// version.
#[test]
fn ids_are_hashes_of_canonical_documents() {
    let bench = Bench::new();
    for name in ["train.jsonl", "tokenizer/tokenizer.json", "model/config.json", "model/model.safetensors"] {
        bench.write(name, "abc");
    }
    bench.write("e.toml", COMPLETE);
    let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    let data = format!(r#""data":{{"tokenizer":{{"tokenizer.json":"{abc}"}},"train":["{abc}"]}}"#);
    let size = |width: u32, inner: u32, layers: u32, kv: u32| {
        format!(r#"{{"heads":8,"hidden_size":{width},"initializer_range":2e-2,"intermediate_size":{inner},"#)
            + &format!(r#""kv_heads":{kv},"layers":{layers},"rms_norm_eps":1e-5,"rope_theta":1e6,"#)
            + r#""tie_word_embeddings":true}"#
    };
    let start = format!(r#""start":{{"random":{}}}"#, size(16, 64, 1, 2));
    let labels = r#""loss":{"alpha":1e0,"kind":"none","temperature":1e0}"#;
    let hash = |stage: String| {
        let document = format!(r#"{{"identity_version":2,"train":{{{stage}}}}}"#);
        blake3::hash(document.as_bytes()).to_hex()[..16].to_owned()
    };

    // Labels alone; a teacher that kdx trains; one from a directory; a start of its own.
    let alone = hash(format!("{data},{labels},{start}"));
    assert_eq!(id_without_teacher(&bench, &["loss.kind=none"]).0, alone);
    let teacher = hash(format!(r#"{data},{labels},"start":{{"random":{}}}"#, size(32, 128, 2, 2)));
    assert_eq!(teachers(&bench, &[]), [RunId(teacher.clone())]);
    let taught = hash(format!(r#"{data},{start},"teachers":[{{"run":"{teacher}"}}]"#));
    assert_eq!(id(&bench, &[]).0, taught);
    assert_eq!(taught, "c8856b002323ecfc");

    bench.write("e.toml", &COMPLETE.replace("hidden_size = 32\nlayers = 2", "path = \"model\""));
    let model = format!(r#"{{"config.json":"{abc}","model.safetensors":"{abc}"}}"#);
    let given = hash(format!(r#"{data},{start},"teachers":[{{"content":{model}}}]"#));
    assert_eq!(id(&bench, &[]).0, given);
    let topk = hash(format!(
        r#"{data},{start},"teachers":[{{"content":{model},"signal":"topk","top_k":8}}],"train":{{"seed":3}}"#
    ));
    assert_eq!(id(&bench, &["teacher.signal=topk", "teacher.top_k=8", "train.seed=3"]).0, topk);
}
