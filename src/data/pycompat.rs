//! The parts of Python that chat templates lean on: methods of strings, lists and dictionaries,
//! `json.dumps` and `strftime`.
//!
//! Chat templates are written for Jinja inside `transformers`, where every value is a Python
//! object. The engine here knows Jinja's filters and tests; this file adds the rest.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, Value};

/// The day that `strftime_now` shows. Some templates write today's date into the system message;
/// the same data must give the same tokens on every day. It is the date that Llama 3's template
/// falls back to when there is no clock.
const NOW: Moment = Moment { year: 2024, month: 7, day: 26, weekday: 5, day_of_year: 208 };

/// Methods that values have in Python.
pub(super) fn method(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), name, args),
        ValueKind::Map => map_method(value, name, args),
        ValueKind::Seq => sequence_method(value, name, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let none = |result: String| from_args::<()>(args).map(|()| Value::from(result));
    let all = |test: fn(char) -> bool| {
        from_args::<()>(args).map(|()| Value::from(!text.is_empty() && text.chars().all(test)))
    };
    match name {
        "strip" => strip(text, args, true, true),
        "lstrip" => strip(text, args, true, false),
        "rstrip" => strip(text, args, false, true),
        "startswith" => affix(args, |affix| text.starts_with(affix)),
        "endswith" => affix(args, |affix| text.ends_with(affix)),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => {
            from_args::<()>(args)?;
            Ok(text.lines().map(Value::from).collect())
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (before, after) = match name {
                "partition" => text.split_once(separator).map_or((text, None), |(b, a)| (b, Some(a))),
                _ => text.rsplit_once(separator).map_or(("", Some(text)), |(b, a)| (b, Some(a))),
            };
            let found = if text.contains(separator) { separator } else { "" };
            Ok([before, found, after.unwrap_or_default()].into_iter().map(Value::from).collect())
        }
        "replace" => {
            let (from, to, count): (&str, &str, Option<i64>) = from_args(args)?;
            Ok(match count.and_then(|count| usize::try_from(count).ok()) {
                Some(count) => text.replacen(from, to, count).into(),
                None => text.replace(from, to).into(),
            })
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let items: Vec<String> = items.try_iter()?.map(|item| item.to_string()).collect();
            Ok(items.join(text).into())
        }
        "find" | "rfind" | "index" => {
            let (part,): (&str,) = from_args(args)?;
            let byte = if name == "rfind" { text.rfind(part) } else { text.find(part) };
            match byte {
                Some(byte) => Ok(Value::from(text[..byte].chars().count())),
                None if name == "index" => {
                    Err(Error::new(ErrorKind::InvalidOperation, "substring not found"))
                }
                None => Ok(Value::from(-1)),
            }
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Ok(Value::from(text.matches(part).count()))
        }
        "upper" => none(text.to_uppercase()),
        "lower" => none(text.to_lowercase()),
        "capitalize" => none(capitalize(text)),
        "title" => none(text.split_inclusive(|c: char| !c.is_alphabetic()).map(capitalize).collect()),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => none(String::new()).map(|_| {
            Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }),
        "islower" => none(String::new()).map(|_| {
            Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn map_method(map: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" => {
            from_args::<()>(args)?;
            Ok(map.try_iter()?.collect())
        }
        "values" => {
            from_args::<()>(args)?;
            map.try_iter()?.map(|key| map.get_item(&key)).collect()
        }
        "items" => {
            from_args::<()>(args)?;
            let pair = |key: Value| Ok([key.clone(), map.get_item(&key)?].into_iter().collect::<Value>());
            map.try_iter()?.map(pair).collect()
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn sequence_method(sequence: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "count" => {
            let (item,): (&Value,) = from_args(args)?;
            Ok(Value::from(sequence.try_iter()?.filter(|other| other == item).count()))
        }
        "index" => {
            let (item,): (&Value,) = from_args(args)?;
            sequence
                .try_iter()?
                .position(|other| other == *item)
                .map(Value::from)
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{item} is not in the list")))
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn strip(text: &str, args: &[Value], left: bool, right: bool) -> Result<Value, Error> {
    let (characters,): (Option<&str>,) = from_args(args)?;
    let strips = |c: char| characters.map_or(c.is_whitespace(), |set| set.contains(c));
    let text = if left { text.trim_start_matches(strips) } else { text };
    Ok(if right { text.trim_end_matches(strips) } else { text }.into())
}

/// `startswith` and `endswith` take one string or several.
fn affix(args: &[Value], has: impl Fn(&str) -> bool) -> Result<Value, Error> {
    let (affixes,): (&Value,) = from_args(args)?;
    let found = match affixes.as_str() {
        Some(affix) => has(affix),
        None => affixes.try_iter()?.any(|affix| affix.as_str().is_some_and(&has)),
    };
    Ok(Value::from(found))
}

fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, limit): (Option<&Value>, Option<i64>) = from_args(args)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let separator = match separator {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(value.as_str().filter(|s| !s.is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "the separator must be a string that is not empty")
        })?),
    };
    let parts: Vec<&str> = match separator {
        Some(separator) if from_right => {
            let mut parts: Vec<&str> = text.rsplitn(limit.saturating_add(1), separator).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(limit.saturating_add(1), separator).collect(),
        None => split_whitespace(text, limit, from_right),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Python's split without a separator: runs of white space separate, and none is kept at the ends.
fn split_whitespace(text: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && parts.len() < limit {
        let cut = if from_right { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(cut) = cut else { break };
        if from_right {
            parts.push(rest[cut..].trim_start());
            rest = rest[..cut].trim_end();
        } else {
            parts.push(&rest[..cut]);
            rest = rest[cut..].trim_start();
        }
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    if from_right {
        parts.reverse();
    }
    parts
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters.as_str().to_lowercase().chars()).collect()
    })
}

/// `tojson` as `transformers` has it: `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn to_json(
    value: &Value,
    indent: Option<usize>,
    level: usize,
    out: &mut String,
) -> Result<(), Error> {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    let separate = |out: &mut String, first: bool| {
        if !first {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
    };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => json_string(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                separate(out, empty);
                empty = false;
                line(out, level + 1);
                to_json(&item, indent, level + 1, out)?;
            }
            if !empty {
                line(out, level);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            let mut empty = true;
            for key in value.try_iter()? {
                separate(out, empty);
                empty = false;
                line(out, level + 1);
                json_string(&key.to_string(), out);
                out.push_str(": ");
                to_json(&value.get_item(&key)?, indent, level + 1, out)?;
            }
            if !empty {
                line(out, level);
            }
            out.push('}');
        }
        other => {
            let message = format!("a value of type {other} has no JSON form");
            return Err(Error::new(ErrorKind::BadSerialization, message));
        }
    }
    Ok(())
}

fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Moment {
    year: u32,
    month: usize,
    day: u32,
    /// From Sunday = 0.
    weekday: usize,
    day_of_year: u32,
}

/// `strftime_now(format)` at [`NOW`], midnight.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (day, month) = (DAYS[NOW.weekday], MONTHS[NOW.month - 1]);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = rest.next();
        let bare = code == Some('-');
        if bare {
            code = rest.next();
        }
        let number = |n: u32| if bare { n.to_string() } else { format!("{n:02}") };
        match code {
            Some('Y') => out.push_str(&NOW.year.to_string()),
            Some('y') => out.push_str(&number(NOW.year % 100)),
            Some('m') => out.push_str(&number(NOW.month as u32)),
            Some('d') => out.push_str(&number(NOW.day)),
            Some('j') => out.push_str(&NOW.day_of_year.to_string()),
            Some('B') => out.push_str(month),
            Some('b' | 'h') => out.push_str(&month[..3]),
            Some('A') => out.push_str(day),
            Some('a') => out.push_str(&day[..3]),
            Some('F') => out.push_str(&format!("{}-{:02}-{:02}", NOW.year, NOW.month, NOW.day)),
            Some('H' | 'M' | 'S') => out.push_str(&number(0)),
            Some('I') => out.push_str("12"),
            Some('p') => out.push_str("AM"),
            Some('%') => out.push('%'),
            other => {
                let code = other.map_or_else(String::new, |c| c.to_string());
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now: `%{code}` is not known"),
                ));
            }
        }
    }
    Ok(out)
}
