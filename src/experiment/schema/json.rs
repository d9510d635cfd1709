//! The JSON Schema of a whole experiment file, for editors.

use serde_json::{Map, Value, json};

use super::sections::describe_sections;
use super::shape::{Shapes, is_run_section};

/// The JSON Schema (draft 2020-12) of an experiment file: what `kdx schema` prints.
pub fn json_schema() -> Value {
    let mut schema = describe_sections();
    let grid = describe_object(describe_keys(&schema, describe_axis));
    let zip = describe_list(describe_object(describe_keys(&schema, describe_axis)));
    let points = describe_list(describe_object(describe_keys(&schema, Clone::clone)));
    let mut space = describe_object(describe_keys(&schema, describe_distribution));
    space["description"] = "What is drawn at random: dotted keys and their distributions.".into();
    let with = |mut schema: Value, description: &str| {
        schema["description"] = description.into();
        schema
    };
    let mut properties = Map::new();
    for (name, schema) in [
        (
            "name",
            json!({
                "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
                "description": "Name of the experiment; default the file's name. Not taken from a base.",
            }),
        ),
        (
            "extends",
            json!({
                "type": "string",
                "description": "A file that this one builds on, relative to this one; bases can have bases.",
            }),
        ),
        (
            "baseline",
            json!({
                "type": "boolean", "default": false,
                "description": "Add a run with `loss.kind = \"none\"` for each configuration of everything \
                                else.",
            }),
        ),
        (
            "seeds",
            with(
                describe_axis(&json!({ "type": "integer", "minimum": 0 })),
                "Run every point with each of these seeds: short for the axis `train.seed`.",
            ),
        ),
    ] {
        properties.insert(name.to_owned(), schema);
    }
    if let Some(Value::Object(sections)) = schema.get_mut("properties").map(Value::take) {
        properties.extend(sections);
    }
    properties["search"]["properties"]["space"] = space;
    for (name, schema) in [
        (
            "grid",
            with(grid, "The axes: dotted keys and the values that each takes. The runs are the product."),
        ),
        ("zip", with(zip, "Axes that move together: lists of equal length in one table.")),
        ("include", with(points.clone(), "Further points: keys and values over the sections.")),
        ("exclude", with(points, "Points of the product to leave out: all that have these values.")),
    ] {
        properties.insert(name.to_owned(), schema);
    }
    schema["$defs"]["Linspace"] =
        describe_generator("linspace", 3, "From `a` to `b` in `n` equal steps, both included: `[a, b, n]`.");
    schema["$defs"]["Logspace"] =
        describe_generator("logspace", 3, "From `a` to `b` in `n` equal ratios, both included: `[a, b, n]`.");
    schema["$defs"]["Range"] =
        describe_generator("range", 3, "From `start` by `step`, `stop` left out: `[start, stop, step]`.");
    for (name, key, description) in [
        ("Uniform", "uniform", "Any number from `a` to `b`, all equally likely: `[a, b]`."),
        ("LogUniform", "log_uniform", "Any number from `a` to `b`, its logarithm uniform: `[a, b]`."),
        ("Int", "int", "Any whole number from `a` to `b`, both included: `[a, b]`."),
    ] {
        schema["$defs"][name] = describe_generator(key, 2, description);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kdx experiment",
        "description": "A declarative knowledge-distillation experiment.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": schema["$defs"],
    })
}

/// Every dotted key of a run, each with what `shape` makes of its schema; whole sections too.
fn describe_keys(sections: &Value, shape: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in &Shapes::get().run_keys {
        if let Some(schema) = find_schema(sections, key) {
            properties.insert(key.clone(), shape(schema));
        }
    }
    for section in Shapes::get().sections.iter().filter(|section| is_run_section(&section.name)) {
        let reference = find_schema(sections, &section.name).cloned().unwrap_or_default();
        let either = json!({ "anyOf": [shape(&reference), { "type": "object" }] });
        properties.insert(section.name.clone(), either);
    }
    properties
}

/// The schema under a dotted key, without the default, which means nothing for an axis.
fn find_schema<'a>(sections: &'a Value, key: &str) -> Option<&'a Value> {
    let mut schema = sections;
    for name in key.split('.') {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            schema = sections.get("$defs")?.get(target.rsplit('/').next()?)?;
        }
        schema = schema.get("properties")?.get(name)?;
    }
    Some(schema)
}

/// A list of values, or a rule that makes one.
fn describe_axis(value: &Value) -> Value {
    describe_either(value, |item, kind| {
        let names: &[&str] =
            if matches!(kind, "integer" | "number") { &["Linspace", "Logspace", "Range"] } else { &[] };
        (json!({ "type": "array", "minItems": 1, "items": item }), names)
    })
}

/// A distribution over the values of a key.
fn describe_distribution(value: &Value) -> Value {
    describe_either(value, |item, kind| {
        let choice = json!({
            "type": "object", "required": ["choice"], "additionalProperties": false,
            "properties": { "choice": { "type": "array", "minItems": 1, "items": item } },
        });
        let names: &[&str] = match kind {
            "integer" => &["Int"],
            "number" => &["Uniform", "LogUniform", "Int"],
            _ => &[],
        };
        (choice, names)
    })
}

/// A list of values, or what one of several definitions makes: both from the schema of a value and its type.
/// The description of the value is that of the whole.
fn describe_either(
    value: &Value,
    forms: impl FnOnce(Value, &str) -> (Value, &'static [&'static str]),
) -> Value {
    let mut item = value.clone();
    let description = item.get("description").cloned();
    if let Value::Object(item) = &mut item {
        item.remove("default");
        item.remove("description");
    }
    let (list, names) = forms(item, value.get("type").and_then(Value::as_str).unwrap_or_default());
    let references = names.iter().map(|name| json!({ "$ref": format!("#/$defs/{name}") }));
    let options: Vec<Value> = [list].into_iter().chain(references).collect();
    let mut either = json!({ "anyOf": options });
    if let Some(description) = description {
        either["description"] = description;
    }
    either
}

fn describe_generator(name: &str, numbers: usize, description: &str) -> Value {
    let list =
        json!({ "type": "array", "items": { "type": "number" }, "minItems": numbers, "maxItems": numbers });
    json!({
        "description": description, "type": "object",
        "properties": { name: list }, "required": [name], "additionalProperties": false,
    })
}

fn describe_object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn describe_list(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_null_and_no_table_is_open() {
        fn visit(schema: &Value, path: &str) {
            match schema {
                Value::Null => panic!("{path} is null"),
                Value::String(text) => assert_ne!(text, "null", "{path}"),
                Value::Array(items) => items.iter().for_each(|item| visit(item, path)),
                Value::Object(object) => {
                    if object.get("properties").is_some_and(Value::is_object) && object.contains_key("type") {
                        assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{path}");
                    }
                    object.iter().for_each(|(key, value)| visit(value, &format!("{path}/{key}")));
                }
                _ => {}
            }
        }
        visit(&json_schema(), "");
    }

    #[test]
    fn every_reference_has_its_definition() {
        fn visit(schema: &Value, definitions: &Value) {
            match schema {
                Value::Array(items) => items.iter().for_each(|item| visit(item, definitions)),
                Value::Object(object) => {
                    if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                        let name = target.strip_prefix("#/$defs/").unwrap();
                        assert!(definitions.get(name).is_some(), "{target}");
                    }
                    object.values().for_each(|value| visit(value, definitions));
                }
                _ => {}
            }
        }
        let schema = json_schema();
        visit(&schema, &schema["$defs"]);
    }

    #[test]
    fn the_flattened_sizes_are_keys_of_teacher_and_student() {
        let schema = json_schema();
        for model in ["TeacherConfig", "StudentConfig"] {
            let properties = &schema["$defs"][model]["properties"];
            assert!(properties.get("path").is_some() && properties.get("hidden_size").is_some(), "{model}");
        }
        assert!(schema["properties"]["grid"]["properties"].get("student.hidden_size").is_some());
        assert!(schema["properties"]["grid"]["properties"].get("teacher.train.steps").is_some());
        assert!(schema["properties"]["grid"]["properties"].get("resources.threads").is_none());
    }
}
