//! The JSON Schema of a whole experiment file, for editors and for the checker.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use super::shape::Shapes;
use crate::spec::{CompareConfig, ResourcesConfig, RunConfig, SearchConfig, SlurmConfig};

/// The JSON Schema (draft 2020-12) of an experiment file: what `kdx schema` prints.
pub fn json_schema() -> Value {
    let mut schema = sections();
    let grid = object_of(axis_properties(&schema, axis_of));
    let zip = list_of(object_of(axis_properties(&schema, axis_of)));
    let points = list_of(object_of(axis_properties(&schema, Clone::clone)));
    let mut space = object_of(axis_properties(&schema, distribution_of));
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
                "description": "Add a run with `loss.kind = \"none\"` for each configuration of everything else.",
            }),
        ),
        (
            "seeds",
            with(
                axis_of(&json!({ "type": "integer", "minimum": 0 })),
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
        generator("linspace", 3, "From `a` to `b` in `n` equal steps, both included: `[a, b, n]`.");
    schema["$defs"]["Logspace"] =
        generator("logspace", 3, "From `a` to `b` in `n` equal ratios, both included: `[a, b, n]`.");
    schema["$defs"]["Range"] =
        generator("range", 3, "From `start` by `step`, `stop` left out: `[start, stop, step]`.");
    for (name, key, description) in [
        ("Uniform", "uniform", "Any number from `a` to `b`, all equally likely: `[a, b]`."),
        ("LogUniform", "log_uniform", "Any number from `a` to `b`, its logarithm uniform: `[a, b]`."),
        ("Int", "int", "Any whole number from `a` to `b`, both included: `[a, b]`."),
    ] {
        schema["$defs"][name] = generator(key, 2, description);
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

/// The sections alone, with TOML's types: nothing is null, and no table has unknown keys.
pub(super) fn sections() -> Value {
    let mut run = root_schema::<RunConfig>();
    for (name, section) in [
        ("resources", root_schema::<ResourcesConfig>()),
        ("search", root_schema::<SearchConfig>()),
        ("slurm", root_schema::<SlurmConfig>()),
        ("compare", root_schema::<CompareConfig>()),
    ] {
        let Value::Object(mut section) = section else { continue };
        section.remove("$schema");
        section.remove("title");
        if let Some(Value::Object(definitions)) = section.remove("$defs") {
            for (name, definition) in definitions {
                run["$defs"][name] = definition;
            }
        }
        run["properties"][name] = Value::Object(section);
    }
    tidy(&mut run);
    run
}

fn root_schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

/// Rewrites what serde allows into what TOML can say.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            tidy_object(object);
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn tidy_object(object: &mut Map<String, Value>) {
    // Options and `PathList::None`: a key is left out, never null.
    if let Some(Value::Array(types)) = object.get("type") {
        let mut types: Vec<Value> = types.iter().filter(|name| *name != "null").cloned().collect();
        let only = if types.len() == 1 { types.remove(0) } else { Value::Array(types) };
        object.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        options.retain(|option| option.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (keyword, value) in only {
                object.entry(keyword).or_insert(value);
            }
        }
    }
    match object.get_mut("default") {
        Some(Value::Null) => drop(object.remove("default")),
        Some(Value::Object(defaults)) => defaults.retain(|_, value| !value.is_null()),
        _ => {}
    }
    // Flattened structs cannot deny unknown fields in serde; the schema can.
    if object.get("properties").is_some_and(Value::is_object) && object.get("type") == Some(&json!("object"))
    {
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    // Formats are schemars' names for Rust's types; only the narrow ones say more than the bounds.
    if let Some(Value::String(format)) = object.get("format").cloned() {
        object.remove("format");
        if format == "uint32" {
            object.entry("maximum").or_insert(u32::MAX.into());
        }
    }
}

/// Every dotted key of a run, each with what `shape` makes of its schema; whole sections too.
fn axis_properties(sections: &Value, shape: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in &Shapes::get().run_keys {
        if let Some(schema) = schema_at(sections, key) {
            properties.insert(key.clone(), shape(schema));
        }
    }
    for section in Shapes::get().sections.iter().filter(|section| super::shape::is_run_section(&section.name))
    {
        let reference = schema_at(sections, &section.name).cloned().unwrap_or_default();
        let either = json!({ "anyOf": [shape(&reference), { "type": "object" }] });
        properties.insert(section.name.clone(), either);
    }
    properties
}

/// The schema under a dotted key, without the default, which means nothing for an axis.
fn schema_at<'a>(sections: &'a Value, key: &str) -> Option<&'a Value> {
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
fn axis_of(value: &Value) -> Value {
    let mut item = value.clone();
    let description = item.get("description").cloned();
    if let Value::Object(item) = &mut item {
        item.remove("default");
        item.remove("description");
    }
    let numeric = matches!(value.get("type").and_then(Value::as_str), Some("integer" | "number"));
    let mut options = vec![json!({ "type": "array", "minItems": 1, "items": item })];
    if numeric {
        options.extend(
            ["Linspace", "Logspace", "Range"].map(|name| json!({ "$ref": format!("#/$defs/{name}") })),
        );
    }
    let mut axis = json!({ "anyOf": options });
    if let Some(description) = description {
        axis["description"] = description;
    }
    axis
}

/// A distribution over the values of a key.
fn distribution_of(value: &Value) -> Value {
    let mut item = value.clone();
    let description = item.get("description").cloned();
    if let Value::Object(item) = &mut item {
        item.remove("default");
        item.remove("description");
    }
    let mut options = vec![json!({
        "type": "object", "required": ["choice"], "additionalProperties": false,
        "properties": { "choice": { "type": "array", "minItems": 1, "items": item } },
    })];
    let names: &[&str] = match value.get("type").and_then(Value::as_str) {
        Some("integer") => &["Int"],
        Some("number") => &["Uniform", "LogUniform", "Int"],
        _ => &[],
    };
    options.extend(names.iter().map(|name| json!({ "$ref": format!("#/$defs/{name}") })));
    let mut distribution = json!({ "anyOf": options });
    if let Some(description) = description {
        distribution["description"] = description;
    }
    distribution
}

fn generator(name: &str, numbers: usize, description: &str) -> Value {
    let list =
        json!({ "type": "array", "items": { "type": "number" }, "minItems": numbers, "maxItems": numbers });
    json!({
        "description": description, "type": "object",
        "properties": { name: list }, "required": [name], "additionalProperties": false,
    })
}

fn object_of(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn list_of(item: Value) -> Value {
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
