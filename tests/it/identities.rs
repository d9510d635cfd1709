//! Which keys of an experiment file decide what a run is.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::path::Path;

use kdx::experiment::json_schema;
use kdx::spec::{Content, Contents, RunConfig, RunId, RunSpec, Stage};
use serde_json::{Value, json};

/// Keys that change nothing of what a run comes to.
const NEUTRAL: [&str; 4] =
    ["teacher.cache_budget", "train.checkpoint_every", "evaluate.keep_best", "teacher.signal"];

/// A path stands for its content.
struct Paths;

impl Contents for Paths {
    type Error = Infallible;

    fn content(&mut self, key: &'static str, path: &Path) -> Result<Content, Infallible> {
        Ok(Content::File(format!("{key} {}", path.display())))
    }
}

fn id(config: &Value) -> RunId {
    let config: RunConfig = serde_json::from_value(config.clone()).expect("a configuration");
    let (start, teacher) = (config.student.run.clone(), config.teacher.as_ref().and_then(|t| t.run.clone()));
    let stage = Stage::new(&config, start.map(RunId), teacher.map(RunId));
    RunSpec::train(stage).id(&mut Paths).expect("an id")
}

/// A definition that the schema refers to, or the schema itself.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    match reference.and_then(|reference| reference.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

/// The dotted keys of a section, with the schema of each.
fn keys<'a>(root: &'a Value, name: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    let target = resolved(root, schema);
    match target["properties"].as_object() {
        Some(properties) => {
            for (key, property) in properties {
                keys(root, &format!("{name}.{key}"), property, found);
            }
        }
        None => found.push((name.to_owned(), target)),
    }
}

/// A value of the schema that is not the one that is there.
fn another(schema: &Value, now: &Value) -> Value {
    let words = |schema: &Value| -> Vec<Value> {
        let single =
            schema["oneOf"].as_array().into_iter().flatten().filter_map(|one| one.get("const")).cloned();
        let listed =
            schema["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["enum"].as_array());
        single.chain(schema["enum"].as_array().into_iter().chain(listed).flatten().cloned()).collect()
    };
    let words = words(schema);
    if !words.is_empty() {
        return words.into_iter().find(|word| word != now).expect("another word");
    }
    match schema["type"].as_str() {
        Some("integer") => json!(now.as_u64().unwrap_or(3) + 1),
        Some("number") => json!(if now == &json!(0.25) { 0.75 } else { 0.25 }),
        Some("boolean") => json!(!now.as_bool().unwrap_or(false)),
        _ => json!("other"),
    }
}

fn set(config: &mut Value, key: &str, value: Value) {
    let mut place = config;
    for name in key.split('.') {
        place = &mut place[name];
    }
    *place = value;
}

fn get<'a>(config: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(config, |value, name| &value[name])
}

#[test]
fn every_key_that_counts_changes_the_id_and_no_other_does() {
    let schema = json_schema();
    let mut found = Vec::new();
    for section in ["data", "teacher", "student", "loss", "optimizer", "schedule", "train", "evaluate"] {
        keys(&schema, section, &schema["properties"][section], &mut found);
    }
    assert!(found.len() > 50, "{}", found.len());
    // A teacher from a directory, of whom some logits are kept; a student of declared sizes.
    let base = json!({
        "data": { "train": "train.jsonl" },
        "teacher": { "path": "teacher", "signal": "topk" },
        "student": { "hidden_size": 16, "layers": 1 },
    });
    let base = serde_json::to_value(serde_json::from_value::<RunConfig>(base).unwrap()).unwrap();
    let plain = id(&base);
    let mut seen: HashMap<RunId, String> = HashMap::from([(plain.clone(), "the base".to_owned())]);
    let mut silent = BTreeSet::new();
    for (key, schema) in &found {
        // What a declared teacher is made of is in the id of the run that trains it.
        let of_the_teachers_run = key.starts_with("teacher.")
            && !["path", "run", "signal", "top_k", "cache_budget"].contains(&&key["teacher.".len()..]);
        if of_the_teachers_run {
            continue;
        }
        let mut changed = base.clone();
        set(&mut changed, key, another(schema, get(&base, key)));
        match key.as_str() {
            // One source at a time.
            "teacher.run" => set(&mut changed, "teacher.path", Value::Null),
            // The exact signals are one.
            "teacher.signal" => {
                set(&mut changed, key, json!("online"));
                let online = id(&changed);
                set(&mut changed, key, json!("hidden"));
                assert_eq!(id(&changed), online);
                continue;
            }
            // It counts for a start from a model.
            "student.partial" => {
                set(&mut changed, "student.path", json!("student"));
                let mut whole = changed.clone();
                set(&mut whole, key, json!(false));
                assert_ne!(id(&changed), id(&whole));
                continue;
            }
            _ => {}
        }
        let changed = id(&changed);
        if changed == plain {
            silent.insert(key.clone());
        } else if let Some(other) = seen.insert(changed, key.clone()) {
            panic!("{key} and {other} give the same id");
        }
    }
    let neutral: BTreeSet<String> =
        NEUTRAL.iter().filter(|key| **key != "teacher.signal").map(|&key| key.to_owned()).collect();
    assert_eq!(silent, neutral);
}
