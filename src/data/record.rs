//! One line of a JSONL file: the forms that it can have, and what can be wrong with it.

use serde_json::{Map, Value};

use super::problem::RecordProblem;
use crate::spec::{DataConfig, DataFormat};

/// Marks a token that does not count in the loss.
pub const IGNORED: i32 = -100;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The human; also `human`.
    User,
    /// The model; also `gpt`.
    Assistant,
}

impl Role {
    /// The name that chat templates know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "system" => Some(Self::System),
            "user" | "human" => Some(Self::User),
            "assistant" | "gpt" => Some(Self::Assistant),
            _ => None,
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A conversation with at least one turn of the assistant.
    Chat(Vec<Message>),
    /// Running text.
    Text(String),
    /// Tokens made elsewhere; as many labels as ids.
    Tokens {
        /// Ids, not negative.
        input_ids: Vec<u32>,
        /// [`IGNORED`], or an id; nearly always the one beside it.
        labels: Vec<i32>,
    },
}

/// The form of a file's records, with the field names that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// See [`DataFormat::Conversations`].
    Conversations,
    /// See [`DataFormat::Messages`].
    Messages,
    /// See [`DataFormat::PromptResponse`].
    PromptResponse {
        /// The field of the user's text.
        prompt: String,
        /// The field of the assistant's text.
        response: String,
    },
    /// See [`DataFormat::Text`].
    Text,
    /// See [`DataFormat::Tokenized`].
    Tokenized,
}

impl Form {
    /// The form that the settings fix; none where it must be read off a record.
    pub fn fixed(config: &DataConfig) -> Option<Self> {
        let named = || {
            Some(Self::PromptResponse { prompt: config.prompt.clone()?, response: config.response.clone()? })
        };
        match config.format {
            // Whoever names the fields has said what the form is.
            DataFormat::Auto | DataFormat::PromptResponse => named(),
            DataFormat::Conversations => Some(Self::Conversations),
            DataFormat::Messages => Some(Self::Messages),
            DataFormat::Text => Some(Self::Text),
            DataFormat::Tokenized => Some(Self::Tokenized),
        }
    }

    /// The form of a record, by its fields.
    fn of(fields: &Map<String, Value>) -> Option<Self> {
        [
            ("conversations", Self::Conversations),
            ("messages", Self::Messages),
            ("input_ids", Self::Tokenized),
            ("text", Self::Text),
        ]
        .into_iter()
        .find_map(|(field, form)| fields.contains_key(field).then_some(form))
    }
}

/// Reads a line. Without a form, the record shows it; the form that was used is handed back.
pub fn parse(line: &[u8], form: Option<&Form>) -> Result<(Record, Form), RecordProblem> {
    let text =
        std::str::from_utf8(line).map_err(|e| RecordProblem::InvalidUtf8 { byte: e.valid_up_to() + 1 })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        RecordProblem::InvalidJson {
            column: error.column(),
            message: message.strip_suffix(&position).unwrap_or(&message).to_owned(),
        }
    })?;
    let Value::Object(fields) = value else {
        return Err(RecordProblem::NotAnObject { found: kind(&value) });
    };
    let form = match form {
        Some(form) => form.clone(),
        None => Form::of(&fields).ok_or_else(|| RecordProblem::UnknownForm { fields: names(&fields) })?,
    };
    let record = match &form {
        Form::Conversations => messages(&fields, "conversations", &["role", "from"], &["content", "value"])?,
        Form::Messages => messages(&fields, "messages", &["role"], &["content"])?,
        Form::PromptResponse { prompt, response } => Record::Chat(vec![
            Message { role: Role::User, content: text_field(&fields, prompt)? },
            Message { role: Role::Assistant, content: text_field(&fields, response)? },
        ]),
        Form::Text => Record::Text(text_field(&fields, "text")?),
        Form::Tokenized => tokens(&fields)?,
    };
    Ok((record, form))
}

fn messages(
    fields: &Map<String, Value>,
    field: &str,
    role_keys: &[&str],
    content_keys: &[&str],
) -> Result<Record, RecordProblem> {
    let turns = array(fields, field)?;
    let mut messages = Vec::with_capacity(turns.len());
    for (index, turn) in turns.iter().enumerate() {
        let at = format!("{field}[{index}]");
        let Value::Object(turn) = turn else {
            return Err(wrong_type(at, turn, "an object with role and content"));
        };
        let (role_key, role) = one_of(turn, role_keys, &at)?;
        let Value::String(role) = role else {
            return Err(wrong_type(format!("{at}.{role_key}"), role, "a string"));
        };
        let role = Role::parse(role).ok_or_else(|| RecordProblem::UnknownRole {
            field: format!("{at}.{role_key}"),
            role: role.clone(),
        })?;
        let (content_key, content) = one_of(turn, content_keys, &at)?;
        let at = format!("{at}.{content_key}");
        let Value::String(content) = content else { return Err(wrong_type(at, content, "a string")) };
        if role == Role::Assistant && content.trim().is_empty() {
            return Err(RecordProblem::Empty { field: at });
        }
        messages.push(Message { role, content: content.clone() });
    }
    if !messages.iter().any(|m| m.role == Role::Assistant) {
        return Err(RecordProblem::NoAssistant { field: field.to_owned(), messages: messages.len() });
    }
    Ok(Record::Chat(messages))
}

fn tokens(fields: &Map<String, Value>) -> Result<Record, RecordProblem> {
    let ids = array(fields, "input_ids")?;
    let labels = array(fields, "labels")?;
    if ids.is_empty() {
        return Err(RecordProblem::Empty { field: "input_ids".to_owned() });
    }
    if ids.len() != labels.len() {
        return Err(RecordProblem::LengthMismatch { input_ids: ids.len(), labels: labels.len() });
    }
    let input_ids = numbers(ids, "input_ids", 0, "an integer from 0 to 2147483647")?;
    let labels = numbers(labels, "labels", IGNORED, "−100 or an integer from 0 to 2147483647")?;
    Ok(Record::Tokens { input_ids: input_ids.into_iter().map(i32::cast_unsigned).collect(), labels })
}

/// Integers that are not negative, or `special`.
fn numbers(
    items: &[Value],
    field: &str,
    special: i32,
    expected: &'static str,
) -> Result<Vec<i32>, RecordProblem> {
    let number = |(index, item): (usize, &Value)| {
        item.as_i64()
            .and_then(|n| i32::try_from(n).ok())
            .filter(|&n| n >= 0 || n == special)
            .ok_or_else(|| wrong_type(format!("{field}[{index}]"), item, expected))
    };
    items.iter().enumerate().map(number).collect()
}

fn text_field(fields: &Map<String, Value>, field: &str) -> Result<String, RecordProblem> {
    match fields.get(field) {
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(RecordProblem::Empty { field: field.to_owned() })
        }
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(wrong_type(field.to_owned(), other, "a string")),
        None => Err(missing(fields, field, "")),
    }
}

fn array<'a>(fields: &'a Map<String, Value>, field: &str) -> Result<&'a [Value], RecordProblem> {
    match fields.get(field) {
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong_type(field.to_owned(), other, "an array")),
        None => Err(missing(fields, field, "")),
    }
}

/// The first of `keys` that an object has.
fn one_of<'a, 'k>(
    fields: &'a Map<String, Value>,
    keys: &[&'k str],
    at: &str,
) -> Result<(&'k str, &'a Value), RecordProblem> {
    keys.iter()
        .find_map(|&key| fields.get(key).map(|value| (key, value)))
        .ok_or_else(|| missing(fields, &keys.join("` or `"), at))
}

fn missing(fields: &Map<String, Value>, field: &str, at: &str) -> RecordProblem {
    let nearest = fields
        .keys()
        .map(|name| (strsim::jaro_winkler(name, field), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone());
    RecordProblem::MissingField {
        object: if at.is_empty() { "the record".to_owned() } else { format!("`{at}`") },
        field: field.to_owned(),
        fields: names(fields),
        nearest,
    }
}

fn wrong_type(field: String, found: &Value, expected: &'static str) -> RecordProblem {
    let found = match found {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    };
    RecordProblem::WrongType { field, found, expected }
}

fn names(fields: &Map<String, Value>) -> String {
    if fields.is_empty() {
        return "none".to_owned();
    }
    fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forms() -> Vec<Option<Form>> {
        let fields = Form::PromptResponse { prompt: "text".to_owned(), response: "content".to_owned() };
        let named = [Form::Conversations, Form::Messages, fields, Form::Text, Form::Tokenized];
        named.into_iter().map(Some).chain([None]).collect()
    }

    /// JSON that is nearly a record: its field names, with all sorts of values.
    fn nearly_records() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "user|assistant|system|gpt|\\PC{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let name = "conversations|messages|text|input_ids|labels|role|content|from|value";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..64)) {
            for form in forms() {
                let _ = parse(&line, form.as_ref());
            }
        }

        #[test]
        fn what_is_nearly_a_record_is_one_or_an_error_with_help(value in nearly_records()) {
            for form in forms() {
                match parse(value.to_string().as_bytes(), form.as_ref()) {
                    Ok((Record::Tokens { input_ids, labels }, _)) => {
                        prop_assert_eq!(input_ids.len(), labels.len());
                        prop_assert!(labels.iter().all(|&label| label >= 0 || label == IGNORED));
                    }
                    Ok((Record::Chat(messages), _)) => {
                        prop_assert!(messages.iter().any(|m| m.role == Role::Assistant));
                    }
                    Ok((Record::Text(text), _)) => prop_assert!(!text.is_empty()),
                    Err(problem) => {
                        prop_assert!(!problem.to_string().is_empty() && !problem.help().is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn the_form_is_read_off_the_fields() {
        for (line, form) in [
            (r#"{"conversations": [{"from": "gpt", "value": "x"}]}"#, Form::Conversations),
            (r#"{"messages": [{"role": "assistant", "content": "x"}], "text": "y"}"#, Form::Messages),
            (r#"{"text": "x"}"#, Form::Text),
            (r#"{"input_ids": [1], "labels": [1], "text": "x"}"#, Form::Tokenized),
        ] {
            assert_eq!(parse(line.as_bytes(), None).unwrap().1, form);
        }
    }
}
