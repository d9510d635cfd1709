//! A configuration as columns: one per dotted key.

use polars::prelude::*;
use serde_json::{Map, Value};

/// The leaves of a JSON object by dotted key, in its order. Lists stay whole; an empty object has
/// no leaves.
pub fn flatten(object: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    push(object, "", &mut leaves);
    leaves
}

fn push(object: &Map<String, Value>, prefix: &str, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in object {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => push(inner, &key, leaves),
            other => leaves.push((key, other.clone())),
        }
    }
}

/// The keys of all rows, each once: the sections in the order in which they first come, and within
/// a section the keys in the order in which they first come.
pub fn union_of_keys<'a>(rows: impl Iterator<Item = &'a [(String, Value)]>) -> Vec<String> {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (key, _) in rows.flatten() {
        if !seen.insert(key.as_str()) {
            continue;
        }
        let section = key.split_once('.').map_or(key.as_str(), |(section, _)| section);
        match sections.iter_mut().find(|(name, _)| name == section) {
            Some((_, keys)) => keys.push(key.clone()),
            None => sections.push((section.to_owned(), vec![key.clone()])),
        }
    }
    sections.into_iter().flat_map(|(_, keys)| keys).collect()
}

/// A column of one type from values of JSON: switches, integers, numbers (integers among fractions
/// become fractions), or text, where lists and mixtures are written as JSON.
pub fn column(name: &str, values: &[Option<&Value>]) -> Column {
    let set = || values.iter().flatten().filter(|v| !v.is_null());
    let name = PlSmallStr::from(name);
    if set().count() == 0 {
        return Column::full_null(name, values.len(), &DataType::String);
    }
    if set().all(|v| v.is_boolean()) {
        return Column::new(name, values.iter().map(|v| v.and_then(Value::as_bool)).collect::<Vec<_>>());
    }
    if set().all(|v| v.is_i64()) {
        return Column::new(name, values.iter().map(|v| v.and_then(Value::as_i64)).collect::<Vec<_>>());
    }
    if set().all(|v| v.is_u64()) {
        return Column::new(name, values.iter().map(|v| v.and_then(Value::as_u64)).collect::<Vec<_>>());
    }
    if set().all(|v| v.is_number()) {
        return Column::new(name, values.iter().map(|v| v.and_then(Value::as_f64)).collect::<Vec<_>>());
    }
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Column::new(name, values.iter().map(|v| v.and_then(text)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(value: Value) -> Vec<(String, Value)> {
        flatten(value.as_object().unwrap())
    }

    #[test]
    fn nested_keys_become_dotted_ones_and_lists_stay_whole() {
        let leaves = rows(json!({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": null, "f": {}}));
        assert_eq!(
            leaves,
            [
                ("a.b.c".to_owned(), json!(1)),
                ("a.d".to_owned(), json!([1, 2])),
                ("e".to_owned(), Value::Null)
            ]
        );
    }

    #[test]
    fn keys_that_only_later_rows_have_join_their_section() {
        let first = rows(json!({"a": {"x": 1}, "b": {"y": 1}}));
        let second = rows(json!({"a": {"x": 1, "z": 1}, "b": {"y": 2}}));
        assert_eq!(union_of_keys([&first[..], &second[..]].into_iter()), ["a.x", "a.z", "b.y"]);
    }

    #[test]
    fn types_are_kept_and_widened_only_where_they_must_be() {
        let of = |values: &[Value]| column("c", &values.iter().map(Some).collect::<Vec<_>>());
        assert_eq!(of(&[json!(true), Value::Null]).dtype(), &DataType::Boolean);
        assert_eq!(of(&[json!(1), json!(-2)]).dtype(), &DataType::Int64);
        assert_eq!(of(&[json!(u64::MAX), json!(3)]).dtype(), &DataType::UInt64);
        assert_eq!(of(&[json!(1), json!(0.5)]).dtype(), &DataType::Float64);
        assert_eq!(of(&[json!("a"), json!("b")]).dtype(), &DataType::String);
        assert_eq!(of(&[Value::Null]).dtype(), &DataType::String);
        let lists = of(&[json!(["a", "b"]), json!("c")]);
        assert_eq!(lists.get(0).unwrap(), AnyValue::String("[\"a\",\"b\"]"));
        assert_eq!(lists.get(1).unwrap(), AnyValue::String("c"));
    }
}
