//! Dotted keys, as `loss.temperature`, and the values under them.

use serde_json::{Map, Value};

/// The key of a name in a table; the empty path is the top of the file.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The section that a key is in.
pub(crate) fn section_of(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// Whether a key is `section` or lies in it.
pub(crate) fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The value under a key.
pub(crate) fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(value, |value, name| value.get(name))
}

/// Sets the value under a key, and the tables on the way.
pub(crate) fn set(value: &mut Value, key: &str, new: Value) {
    let mut place = value;
    for name in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    *place = new;
}
