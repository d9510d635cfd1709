//! Checks declared values against the schema, and converts what is right to JSON.

use serde_json::{Map, Number, Value};

use super::document::{Entry, Kind, Node};
use super::problem::{Draft, Report, is_within};
use super::shape::{Bounds, Field, Shape, Shapes, is_run_section};
use super::suggest;

/// Keys at the top of a file that are no sections.
pub(super) const TOP_KEYS: [&str; 8] =
    ["name", "extends", "baseline", "seeds", "grid", "zip", "include", "exclude"];

/// The entries of a table that are right, as JSON; the others are reported.
pub(super) fn table(
    entries: &[Entry],
    fields: &[Field],
    path: &str,
    report: &mut Report,
) -> Map<String, Value> {
    let mut object = Map::new();
    for entry in entries {
        match fields.iter().find(|field| field.name == entry.name) {
            Some(field) => {
                let key = joined(path, &entry.name);
                if let Some(value) = value(&entry.node, field, &key, report) {
                    object.insert(entry.name.clone(), value);
                }
            }
            None => unknown_key(entry, fields.iter().map(|field| field.name.as_str()), path, report),
        }
    }
    object
}

/// A value as JSON, or none where it is wrong, which is reported.
pub(super) fn value(node: &Node, field: &Field, key: &str, report: &mut Report) -> Option<Value> {
    let value = shaped(node, &field.shape, key, report);
    if value.is_none() {
        report.push(misfit(node, field, key));
        report.taint(key);
    }
    value
}

/// A dotted key.
pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A value as JSON if it has a shape. Only what is wrong inside tables is reported.
fn shaped(node: &Node, shape: &Shape, key: &str, report: &mut Report) -> Option<Value> {
    match (shape, &node.kind) {
        (Shape::Table(fields), Kind::Table(entries)) => {
            Some(Value::Object(table(entries, fields, key, report)))
        }
        (Shape::Map(shape), Kind::Table(entries)) => {
            let mut object = Map::new();
            for entry in entries {
                let field =
                    Field { name: String::new(), description: String::new(), shape: (**shape).clone() };
                let key = joined(key, &entry.name);
                if let Some(value) = value(&entry.node, &field, &key, report) {
                    object.insert(entry.name.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        (Shape::List(shape), Kind::List(items)) => {
            items.iter().map(|item| shaped(item, shape, key, report)).collect::<Option<_>>().map(Value::Array)
        }
        (Shape::Text, Kind::Text(text)) => Some(text.as_str().into()),
        (Shape::Boolean, Kind::Boolean(value)) => Some((*value).into()),
        (Shape::Choice(words), Kind::Text(text)) if words.contains(text) => Some(text.as_str().into()),
        (Shape::Number(bounds), Kind::Integer(number)) => number_in(*number as f64, *bounds),
        (Shape::Number(bounds), Kind::Float(number)) => number_in(*number, *bounds),
        (Shape::Whole(bounds), Kind::Integer(number)) => whole_in(*number, *bounds),
        (Shape::Any(shapes), _) => shapes.iter().find_map(|shape| shaped(node, shape, key, report)),
        _ => None,
    }
}

/// A number as JSON, if it is finite and within the bounds.
fn number_in(number: f64, bounds: Bounds) -> Option<Value> {
    Number::from_f64(number).map(Value::Number).filter(|_| bounds.hold(number))
}

/// A whole number as JSON, if it is within the bounds and fits into 64 bits.
fn whole_in(number: i128, bounds: Bounds) -> Option<Value> {
    if !bounds.hold(number as f64) {
        return None;
    }
    u64::try_from(number).map(Value::from).or_else(|_| i64::try_from(number).map(Value::from)).ok()
}

/// A value that is not what it should be.
fn misfit(node: &Node, field: &Field, key: &str) -> Draft {
    let expected = field.shape.to_string();
    if let (Shape::Choice(words), Kind::Text(text)) = (&field.shape, &node.kind)
        && let Some(word) = suggest::nearest(text, words.iter().map(String::as_str))
    {
        let message = format!("`{key}` is {text:?}, did you mean `{word}`?");
        return Draft::new(node.at, message)
            .label(format!("did you mean `{word}`?"))
            .help(format!("`{key}` is {expected}"));
    }
    let message = format!("`{key}` must be {expected}, found {}", node.in_words());
    let label = if expected.len() <= 60 { format!("expected {expected}") } else { "not allowed".to_owned() };
    Draft::new(node.at, message).label(label).help(advice(node, field, key))
}

/// What to write in place of a value that is not what it should be.
fn advice(node: &Node, field: &Field, key: &str) -> String {
    let numeric = matches!(field.shape, Shape::Number(_) | Shape::Whole(_));
    match (&field.shape, &node.kind) {
        (_, Kind::Text(text)) if numeric && text.parse::<f64>().is_ok() => {
            format!("write the number without quotes: {text}")
        }
        (Shape::Boolean, Kind::Text(text)) if matches!(text.as_str(), "true" | "false") => {
            format!("write the word without quotes: {text}")
        }
        (Shape::Table(fields), _) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("[{key}] is a section, with the keys {}", names.join(", "))
        }
        (_, Kind::List(_)) if is_run_section(key.split('.').next().unwrap_or(key)) => {
            format!("to try several values, write them under [grid]: \"{key}\" = [ … ]")
        }
        _ if field.description.is_empty() => format!("`{key}` is {}", field.shape),
        _ => format!("`{key}`: {}", field.description),
    }
}

/// A key that its table does not have.
pub(super) fn unknown_key<'a>(
    entry: &Entry,
    siblings: impl Iterator<Item = &'a str> + Clone,
    path: &str,
    report: &mut Report,
) {
    let name = &entry.name;
    let place = if path.is_empty() { "at the top of the file".to_owned() } else { format!("in [{path}]") };
    let message = format!("unknown key `{name}` {place}");
    if let Some(near) = suggest::nearest(name, siblings.clone()) {
        report.taint(joined(path, near));
        let draft = Draft::new(entry.name_at, format!("{message}, did you mean `{near}`?"));
        return report.push(draft.label(format!("did you mean `{near}`?")));
    }
    let homes = homes_of(name, path);
    if !homes.is_empty() {
        homes.iter().for_each(|home| report.taint(joined(home, name)));
        let belongs = belongs(&homes);
        let draft = Draft::new(entry.name_at, format!("{message}: `{name}` {belongs}"));
        return report.push(draft.label(belongs));
    }
    if !path.is_empty() {
        report.taint(path);
    }
    let known: Vec<&str> = siblings.collect();
    let help = format!("the keys {place} are {}", known.join(", "));
    report.push(Draft::new(entry.name_at, message).label("unknown key").help(help));
}

/// The tables that have a key of this name: those nearest to where it stands.
fn homes_of(name: &str, path: &str) -> Vec<String> {
    if TOP_KEYS.contains(&name) {
        return vec![String::new()];
    }
    let homes = Shapes::get().homes_of(name);
    let section = path.split('.').next().unwrap_or_default();
    let near = |home: &&String| !section.is_empty() && is_within(home, section);
    let shallow = |home: &&String| !home.contains('.');
    let mut chosen: Vec<String> = homes.iter().filter(near).cloned().collect();
    if chosen.is_empty() {
        chosen = homes.iter().filter(shallow).cloned().collect();
    }
    if chosen.is_empty() { homes } else { chosen }
}

fn belongs(homes: &[String]) -> String {
    if homes.iter().any(String::is_empty) {
        return "belongs at the top of the file, before the first section".to_owned();
    }
    let homes: Vec<String> = homes.iter().map(|home| format!("[{home}]")).collect();
    format!("belongs in {}", homes.join(" or "))
}
