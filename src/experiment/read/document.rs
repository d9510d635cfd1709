//! A TOML document with the place of every key and value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::experiment::read::problem::Draft;
use crate::experiment::read::source::At;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub at: At,
    pub kind: Kind,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Time(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value, in the file's order.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub name: String,
    pub name_at: At,
    pub node: Node,
}

impl Node {
    /// The entries of a table.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under a dotted key, and the place of the last name of the key.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
        let entry = self.entries()?.iter().find(|entry| entry.name == name)?;
        match rest {
            Some(rest) => entry.node.find(rest),
            None => Some(entry),
        }
    }

    /// A number that is no infinity.
    pub fn finite_number(&self) -> Option<f64> {
        match self.kind {
            Kind::Integer(number) => Some(number as f64),
            Kind::Float(number) if number.is_finite() => Some(number),
            _ => None,
        }
    }

    /// What it is, for "found …".
    pub fn in_words(&self) -> String {
        match &self.kind {
            Kind::Text(text) => format!("the text {text:?}"),
            Kind::Integer(number) => number.to_string(),
            Kind::Float(number) => format!("{number:?}"),
            Kind::Boolean(value) => value.to_string(),
            Kind::Time(text) => format!("the time {text}"),
            Kind::List(_) => "a list".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
        }
    }
}

/// Parses a whole document. What is wrong with its syntax is returned beside what could be read.
pub(crate) fn parse(text: &str, source: usize) -> (Node, Vec<Draft>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut drafts: Vec<Draft> =
        errors.into_iter().map(|error| describe_syntax_error(&error, text, source)).collect();
    let whole = At { source, start: 0, end: 0 };
    let entries = convert_table(table.get_ref(), source, 0, &mut drafts);
    (Node { at: whole, kind: Kind::Table(entries) }, drafts)
}

/// Parses a single value that stands at `offset` of a source.
pub(crate) fn parse_value(text: &str, source: usize, offset: usize) -> Result<Node, toml::de::Error> {
    let value = DeValue::parse(text)?;
    let mut drafts = Vec::new();
    let node = convert(&value, source, offset, &mut drafts);
    // A number that no integer type holds is left to be text, and refused as such.
    if drafts.is_empty() { Ok(node) } else { Ok(make_text_node(text, source, offset)) }
}

/// A text that stands without quotes at `offset` of a source.
pub(crate) fn make_text_node(text: &str, source: usize, offset: usize) -> Node {
    Node { at: At { source, start: offset, end: offset + text.len() }, kind: Kind::Text(text.to_owned()) }
}

fn describe_syntax_error(error: &toml::de::Error, text: &str, source: usize) -> Draft {
    let span = error.span().unwrap_or(0..0);
    let end = text.len();
    let start = span.start.min(end);
    let at = At { source, start, end: span.end.clamp(start, end) };
    let draft = Draft::new(at, format!("this is not TOML: {}", error.message())).label(error.message());
    // The parser guesses what a bare word was to become, as "invalid boolean" for `forward_kl`.
    let found = text.get(at.start..at.end).unwrap_or_default();
    let is_word = found.starts_with(|first: char| first.is_alphabetic()) && !found.contains(['=', '\n']);
    let before = text[..start].rsplit('\n').next().unwrap_or_default();
    if is_word && before.contains('=') && before.trim_end().ends_with(['=', '[', ',']) {
        let lower = found.to_lowercase();
        let meant = if matches!(lower.as_str(), "true" | "false") { lower } else { format!("{found:?}") };
        let message = format!("this is not TOML: text must be in quotes, found {found}");
        return Draft::new(at, message).label("no quotes").help(format!("write {meant}"));
    }
    draft
}

fn convert_table(table: &DeTable<'_>, source: usize, offset: usize, drafts: &mut Vec<Draft>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().to_string(),
            name_at: locate(name, source, offset),
            node: convert(value, source, offset, drafts),
        })
        .collect();
    entries.sort_by_key(|entry| entry.name_at);
    entries
}

fn convert(value: &Spanned<DeValue<'_>>, source: usize, offset: usize, drafts: &mut Vec<Draft>) -> Node {
    let at = locate(value, source, offset);
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Kind::Integer(number),
            Err(_) => {
                drafts.push(Draft::new(at, format!("the number {number} is too large")).label("too large"));
                Kind::Integer(0)
            }
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Kind::Float(number),
            Err(_) => {
                drafts.push(Draft::new(at, format!("{number} is not a number")).label("not a number"));
                Kind::Float(0.0)
            }
        },
        DeValue::Boolean(value) => Kind::Boolean(*value),
        DeValue::Datetime(time) => Kind::Time(time.to_string()),
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|item| convert(item, source, offset, drafts)).collect())
        }
        DeValue::Table(table) => Kind::Table(convert_table(table, source, offset, drafts)),
    };
    Node { at, kind }
}

fn locate<T>(spanned: &Spanned<T>, source: usize, offset: usize) -> At {
    let span = spanned.span();
    At { source, start: offset + span.start, end: offset + span.end }
}
