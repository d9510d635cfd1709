//! `docs/experiment-files.md` describes what kdx does: its examples load, its tables are complete.

use std::fs;
use std::path::Path;

use kdx::experiment::{Experiment, Surroundings, json_schema, load_in};
use serde_json::Value;
use tempfile::TempDir;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiment-files.md");
    fs::read_to_string(path).unwrap()
}

/// The TOML examples, in order.
fn examples(document: &str) -> Vec<&str> {
    document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Loads every example: those that name their file as it stands, the others over the first's sections.
fn load_all() -> Vec<Experiment> {
    let root = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("toydata/train.jsonl", "{}\n");
    write("toydata/validation.jsonl", "{}\n");
    write("toydata/tokenizer/tokenizer.json", "{}");
    let surroundings = Surroundings { variables: Vec::new(), directory: root.path().to_owned() };
    let document = document();
    let examples = examples(&document);
    write("experiments/sections.toml", examples[0].split("[grid]").next().unwrap());
    let mut experiments = Vec::new();
    for (number, example) in examples.into_iter().enumerate() {
        let named = example.lines().next().unwrap().strip_prefix("# ");
        let (name, text) = match named {
            Some(name) => (name.to_owned(), example.to_owned()),
            None => (format!("experiments/{number}.toml"), format!("extends = \"sections.toml\"\n{example}")),
        };
        write(&name, &text);
        let experiment = load_in(Path::new(&name), &[], &surroundings);
        experiments.push(experiment.unwrap_or_else(|problems| panic!("{example}\n{problems:#}")));
    }
    experiments
}

#[test]
fn the_examples_load_and_have_as_many_points_as_the_text_says() {
    let experiments = load_all();
    let points: Vec<usize> = experiments.iter().map(|experiment| experiment.points.len()).collect();
    // 2·3·2; one alpha and two temperatures for two kinds; 2·5·5·3; a zip; 3 + 2 + 1 + 1 with three
    // seeds; 20 samples with two seeds; tolerances alone.
    assert_eq!(points, [12, 4, 150, 2, 21, 40, 1]);
    for experiment in experiments {
        assert!(experiment.warnings.is_empty(), "{}", experiment.warnings[0]);
    }
}

#[test]
fn the_default_tolerances_are_the_ones_that_are_shown() {
    let shown = load_all().pop().unwrap().compare;
    assert_eq!(shown, kdx::spec::CompareConfig::default());
}

#[test]
fn every_key_is_in_its_table_with_its_default_and_description() {
    let document = document();
    let schema = json_schema();
    let resolved = |property: &Value| {
        let reference = property.get("$ref").and_then(Value::as_str);
        reference.map(|reference| schema["$defs"][reference.rsplit('/').next().unwrap()].clone())
    };
    let models = ["TeacherConfig", "StudentConfig"].map(|name| &schema["$defs"][name]["properties"]);
    let mut checked = 0;
    for section in [
        "data",
        "teacher",
        "student",
        "loss",
        "optimizer",
        "schedule",
        "train",
        "evaluate",
        "resources",
        "search",
        "slurm",
        "compare",
    ] {
        let property = &schema["properties"][section];
        let target = resolved(property).unwrap_or_else(|| property.clone());
        for (key, property) in target["properties"].as_object().unwrap() {
            let is_size = !["path", "run"].contains(&key.as_str())
                && models.iter().all(|m| m.get(key).is_some())
                && matches!(section, "teacher" | "student");
            let is_section = resolved(property).is_some_and(|target| target["type"] == "object");
            if is_section {
                assert!(document.contains(&format!("[{section}.{key}]")), "{section}.{key}");
                continue;
            }
            let heading = if is_size { "### Sizes".to_owned() } else { format!("### `[{section}]`") };
            let chapter = document.split(&heading).nth(1).unwrap().split("\n#").next().unwrap();
            let row = chapter.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("{section}.{key} is in no table"));
            let description = property["description"].as_str().unwrap().replace('\n', " ");
            assert!(row.ends_with(&format!("| {description} |")), "{section}.{key}: {description}\n{row}");
            match property.get("default") {
                Some(Value::Object(_)) => {}
                Some(default) => assert!(row.contains(&format!("| `{default}` |")), "{default}\n{row}"),
                None => assert!(row.contains("| – |"), "{row}"),
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}
