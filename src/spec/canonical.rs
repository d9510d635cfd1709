//! Canonical JSON: equal values have equal bytes. No blanks, sorted keys, one way to write a number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A value that has one text. A type is added here on purpose, or a key of it does not compile.
pub(super) trait Canonical {
    /// Writes the text.
    fn write(&self, out: &mut String);
}

/// Types whose JSON is canonical as it is: whole numbers, switches, texts, words.
macro_rules! as_json {
    ($($type:ty),+ $(,)?) => {
        $(impl $crate::spec::canonical::Canonical for $type {
            fn write(&self, out: &mut String) {
                out.push_str(&serde_json::to_string(self).unwrap_or_default());
            }
        })+
    };
}

as_json!(bool, u32, u64, usize, str, String);
pub(super) use as_json;

/// Shortest digits and an exponent, whatever a JSON writer likes; -0.0 is 0.0.
impl Canonical for f64 {
    fn write(&self, out: &mut String) {
        // A text takes all that is written to it.
        let _ = write!(out, "{:e}", if *self == 0.0 { 0.0 } else { *self });
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut String) {
        match self {
            Some(value) => value.write(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut String) {
        write_list(['[', ']'], self, out, |value, out| value.write(out));
    }
}

impl<T: Canonical> Canonical for BTreeMap<String, T> {
    fn write(&self, out: &mut String) {
        write_list(['{', '}'], self, out, |(key, value), out| {
            key.write(out);
            out.push(':');
            value.write(out);
        });
    }
}

/// An object as canonical JSON, key by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Object(BTreeMap<&'static str, String>);

impl Object {
    /// Sets a key.
    pub(super) fn set(&mut self, key: &'static str, value: &impl Canonical) {
        let mut text = String::new();
        value.write(&mut text);
        self.0.insert(key, text);
    }

    /// Sets a key unless its value is the default.
    pub(super) fn set_unless<T: Canonical + PartialEq>(&mut self, key: &'static str, value: &T, default: &T) {
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
            let mut text = String::new();
            write_list(['[', ']'], objects, &mut text, |object, out| out.push_str(&object.finish()));
            self.0.insert(key, text);
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        let mut text = String::new();
        write_list(['{', '}'], &self.0, &mut text, |(key, value), out| {
            key.write(out);
            out.push(':');
            out.push_str(value);
        });
        text
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
    use super::*;
    use crate::spec::config::LossKind;

    fn text(value: &impl Canonical) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn equal_values_have_equal_texts() {
        let map = BTreeMap::from([("b".to_owned(), vec![1.0, 0.25]), ("a \"é\n".to_owned(), Vec::new())]);
        assert_eq!(text(&map), r#"{"a \"é\n":[],"b":[1e0,2.5e-1]}"#);
        assert_eq!(text(&-0.0), text(&0.0));
        assert_ne!(text(&1e-4), text(&1.0000000000000002e-4));
        assert_eq!(text(&vec![Some(7_usize), None]), "[7,null]");
        assert_eq!(
            (text(&true), text(&LossKind::ForwardKl)),
            ("true".to_owned(), r#""forward_kl""#.to_owned())
        );
    }

    #[test]
    fn a_new_key_with_its_default_changes_no_text() {
        let mut old = Object::default();
        old.set_unless("epochs", &3_usize, &1);
        let mut new = Object::default();
        new.set_unless("only_in_this_test", &0.5, &0.5);
        new.set_unless("epochs", &3_usize, &1);
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
