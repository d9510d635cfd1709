//! Checks declared values against the schema, and converts what is right to JSON.

use serde_json::{Map, Number, Value};

use crate::experiment::key;
use crate::experiment::read::document::{Entry, Kind, Node};
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::schema::shape::{Bounds, Field, Shape, Shapes, is_run_section};
use crate::experiment::suggest;

/// Keys at the top of a file that are no sections.
pub(crate) const TOP_KEYS: [&str; 8] =
    ["name", "extends", "baseline", "seeds", "grid", "zip", "include", "exclude"];

/// The entries of a table that are right, as JSON; the others are reported.
pub(crate) fn read_table(
    entries: &[Entry],
    fields: &[Field],
    path: &str,
    report: &mut Report,
) -> Map<String, Value> {
    let mut object = Map::new();
    for entry in entries {
        match fields.iter().find(|field| field.name == entry.name) {
            Some(field) => {
                let key = key::join(path, &entry.name);
                if let Some(value) = read_value(&entry.node, field, &key, report) {
                    object.insert(entry.name.clone(), value);
                }
            }
            None => report_unknown_key(entry, fields.iter().map(|field| field.name.as_str()), path, report),
        }
    }
    object
}

/// A value as JSON, or none where it is wrong, which is reported.
pub(crate) fn read_value(node: &Node, field: &Field, key: &str, report: &mut Report) -> Option<Value> {
    let value = read_shaped(node, &field.shape, key, report);
    if value.is_none() {
        report.push(describe_misfit(node, field, key));
        report.taint(key);
    }
    value
}

/// A value as JSON if it has a shape. Only what is wrong inside tables is reported.
fn read_shaped(node: &Node, shape: &Shape, key: &str, report: &mut Report) -> Option<Value> {
    match (shape, &node.kind) {
        (Shape::Table(fields), Kind::Table(entries)) => {
            Some(Value::Object(read_table(entries, fields, key, report)))
        }
        (Shape::Map(shape), Kind::Table(entries)) => {
            let mut object = Map::new();
            for entry in entries {
                let field =
                    Field { name: String::new(), description: String::new(), shape: (**shape).clone() };
                let key = key::join(key, &entry.name);
                if let Some(value) = read_value(&entry.node, &field, &key, report) {
                    object.insert(entry.name.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        (Shape::List(shape), Kind::List(items)) => items
            .iter()
            .map(|item| read_shaped(item, shape, key, report))
            .collect::<Option<_>>()
            .map(Value::Array),
        (Shape::Text, Kind::Text(text)) => Some(text.as_str().into()),
        (Shape::Boolean, Kind::Boolean(value)) => Some((*value).into()),
        (Shape::Choice(words), Kind::Text(text)) if words.contains(text) => Some(text.as_str().into()),
        (Shape::Number(bounds), Kind::Integer(number)) => convert_number(*number as f64, *bounds),
        (Shape::Number(bounds), Kind::Float(number)) => convert_number(*number, *bounds),
        (Shape::Whole(bounds), Kind::Integer(number)) => convert_whole(*number, *bounds),
        (Shape::Any(shapes), _) => shapes.iter().find_map(|shape| read_shaped(node, shape, key, report)),
        _ => None,
    }
}

/// A number as JSON, if it is finite and within the bounds.
fn convert_number(number: f64, bounds: Bounds) -> Option<Value> {
    Number::from_f64(number).map(Value::Number).filter(|_| bounds.hold(number))
}

/// A whole number as JSON, if it is within the bounds and fits into 64 bits.
fn convert_whole(number: i128, bounds: Bounds) -> Option<Value> {
    if !bounds.hold(number as f64) {
        return None;
    }
    u64::try_from(number).map(Value::from).or_else(|_| i64::try_from(number).map(Value::from)).ok()
}

/// A value that is not what it should be.
fn describe_misfit(node: &Node, field: &Field, key: &str) -> Draft {
    let expected = field.shape.to_string();
    if let (Shape::Choice(words), Kind::Text(text)) = (&field.shape, &node.kind)
        && let Some(word) = suggest::find_nearest(text, words.iter().map(String::as_str))
    {
        let message = format!("`{key}` is {text:?}, did you mean `{word}`?");
        return Draft::new(node.at, message)
            .label(format!("did you mean `{word}`?"))
            .help(format!("`{key}` is {expected}"));
    }
    let message = format!("`{key}` must be {expected}, found {}", node.in_words());
    let label = if expected.len() <= 60 { format!("expected {expected}") } else { "not allowed".to_owned() };
    Draft::new(node.at, message).label(label).help(advise(node, field, key))
}

/// What to write in place of a value that is not what it should be.
fn advise(node: &Node, field: &Field, key: &str) -> String {
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
        (_, Kind::List(_)) if is_run_section(key::section_of(key)) => {
            format!("to try several values, write them under [grid]: \"{key}\" = [ … ]")
        }
        _ if field.description.is_empty() => format!("`{key}` is {}", field.shape),
        _ => format!("`{key}`: {}", field.description),
    }
}

/// Reports a key that its table does not have.
pub(crate) fn report_unknown_key<'a>(
    entry: &Entry,
    siblings: impl Iterator<Item = &'a str> + Clone,
    path: &str,
    report: &mut Report,
) {
    let name = &entry.name;
    let place = if path.is_empty() { "at the top of the file".to_owned() } else { format!("in [{path}]") };
    let message = format!("unknown key `{name}` {place}");
    if let Some(near) = suggest::find_nearest(name, siblings.clone()) {
        report.taint(key::join(path, near));
        let draft = Draft::new(entry.name_at, format!("{message}, did you mean `{near}`?"));
        return report.push(draft.label(format!("did you mean `{near}`?")));
    }
    let tables = find_nearest_tables_with(name, path);
    if !tables.is_empty() {
        tables.iter().for_each(|table| report.taint(key::join(table, name)));
        let belongs = say_where_it_belongs(&tables);
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
fn find_nearest_tables_with(name: &str, path: &str) -> Vec<String> {
    if TOP_KEYS.contains(&name) {
        return vec![String::new()];
    }
    let tables = Shapes::get().find_tables_with(name);
    let section = key::section_of(path);
    let near = |table: &&String| !section.is_empty() && key::is_within(table, section);
    let shallow = |table: &&String| !table.contains('.');
    let mut chosen: Vec<String> = tables.iter().filter(near).cloned().collect();
    if chosen.is_empty() {
        chosen = tables.iter().filter(shallow).cloned().collect();
    }
    if chosen.is_empty() { tables } else { chosen }
}

fn say_where_it_belongs(tables: &[String]) -> String {
    if tables.iter().any(String::is_empty) {
        return "belongs at the top of the file, before the first section".to_owned();
    }
    let tables: Vec<String> = tables.iter().map(|table| format!("[{table}]")).collect();
    format!("belongs in {}", tables.join(" or "))
}
