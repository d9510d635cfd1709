//! Canonical JSON: equal values have equal bytes. No blanks, sorted keys, one way to write a number.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// An object as canonical JSON, key by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object(BTreeMap<&'static str, String>);

impl Object {
    /// Sets a key.
    pub(super) fn set(&mut self, key: &'static str, value: &impl Serialize) {
        let mut text = String::new();
        write(&serde_json::to_value(value).unwrap_or_default(), &mut text);
        self.0.insert(key, text);
    }

    /// Sets a key unless its value is the default.
    pub(super) fn set_unless<T: Serialize + PartialEq>(&mut self, key: &'static str, value: &T, default: &T) {
        if value != default {
            self.set(key, value);
        }
    }

    /// Sets a key to an object unless that is empty.
    pub(super) fn set_object(&mut self, key: &'static str, object: Self) {
        if !object.0.is_empty() {
            self.0.insert(key, object.finish());
        }
    }

    /// Sets a key to a list of objects unless that is empty.
    pub(super) fn set_list(&mut self, key: &'static str, objects: Vec<Self>) {
        if !objects.is_empty() {
            let texts: Vec<String> = objects.into_iter().map(Self::finish).collect();
            self.0.insert(key, format!("[{}]", texts.join(",")));
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        let mut text = String::from("{");
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&Value::from(*key).to_string());
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

/// Writes a value.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            write_list(['{', '}'], entries, out, |(key, value), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            });
        }
        Value::Array(items) => write_list(['[', ']'], items, out, write),
        // Shortest digits and an exponent, whatever the JSON writer likes; -0.0 is 0.0.
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            out.push_str(&format!("{:e}", if number == 0.0 { 0.0 } else { number }));
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_list<T>(
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    mut write: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: Value) -> String {
        let mut out = String::new();
        write(&value, &mut out);
        out
    }

    #[test]
    fn equal_values_have_equal_texts() {
        assert_eq!(
            text(json!({"b": [1, 2.0, null], "a": {"y": true, "x": "é\n"}})),
            "{\"a\":{\"x\":\"é\\n\",\"y\":true},\"b\":[1,2e0,null]}"
        );
        assert_eq!(text(json!(-0.0)), text(json!(0.0)));
        assert_ne!(text(json!(1e-4)), text(json!(1.0000000000000002e-4)));
    }

    #[test]
    fn a_new_key_with_its_default_changes_no_text() {
        let mut old = Object::default();
        old.set_unless("epochs", &3, &1);
        let mut new = Object::default();
        new.set_unless("only_in_this_test", &0.5, &0.5);
        new.set_unless("epochs", &3, &1);
        assert_eq!(old, new);
        new.set_unless("only_in_this_test", &0.25, &0.5);
        assert_eq!(new.finish(), "{\"epochs\":3,\"only_in_this_test\":2.5e-1}");
    }

    #[test]
    fn empty_objects_and_lists_are_left_out() {
        let mut object = Object::default();
        object.set_object("a", Object::default());
        object.set_list("b", Vec::new());
        assert_eq!(object.clone().finish(), "{}");
        object.set_list("b", vec![Object::default()]);
        assert_eq!(object.finish(), "{\"b\":[{}]}");
    }
}
