//! The JSON Schema of an experiment file's sections, from the types that hold them.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

use crate::spec::{CompareConfig, ResourcesConfig, RunConfig, SearchConfig, SlurmConfig};

/// The sections alone, with TOML's types: nothing is null, and no table has unknown keys.
pub(crate) fn describe_sections() -> Value {
    let mut run = generate_schema::<RunConfig>();
    for (name, section) in [
        ("resources", generate_schema::<ResourcesConfig>()),
        ("search", generate_schema::<SearchConfig>()),
        ("slurm", generate_schema::<SlurmConfig>()),
        ("compare", generate_schema::<CompareConfig>()),
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

fn generate_schema<T: JsonSchema>() -> Value {
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
