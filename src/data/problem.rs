//! What can be wrong with one record, in words.

use thiserror::Error;

/// What is wrong with one record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordProblem {
    /// Not UTF-8.
    #[error("invalid UTF-8 at byte {byte} of the line, expected a JSON object in UTF-8")]
    InvalidUtf8 {
        /// The byte of the line, from 1.
        byte: usize,
    },
    /// Not JSON.
    #[error("not valid JSON at column {column}: {message}; expected one JSON object on each line")]
    InvalidJson {
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// JSON, but no record.
    #[error("found {found}, expected a JSON object")]
    NotAnObject {
        /// What is there.
        found: &'static str,
    },
    /// The form cannot be read off the fields.
    #[error(
        "no field shows the form of the record: found {fields}, expected `conversations`, `messages`, `text` \
         or `input_ids`"
    )]
    UnknownForm {
        /// What is there.
        fields: String,
    },
    /// A field is not there.
    #[error("{object} has no field `{field}`, its fields are {fields}")]
    MissingField {
        /// The record, or a part of it.
        object: String,
        /// The field that is missing.
        field: String,
        /// What is there.
        fields: String,
        /// A field with nearly that name.
        nearest: Option<String>,
    },
    /// A field holds something else.
    #[error("`{field}` is {found}, expected {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A field is there, with nothing in it to learn from.
    #[error("`{field}` is empty, expected text")]
    Empty {
        /// The field.
        field: String,
    },
    /// A role of another system.
    #[error("`{field}` is `{role}`, expected `system`, `user`, `human`, `assistant` or `gpt`")]
    UnknownRole {
        /// The field.
        field: String,
        /// What is there.
        role: String,
    },
    /// Nothing to learn.
    #[error("`{field}` has {messages} messages and none by the assistant, expected at least one")]
    NoAssistant {
        /// The field.
        field: String,
        /// Number of messages.
        messages: usize,
    },
    /// Labels do not belong to the ids.
    #[error("`labels` has {labels} entries and `input_ids` {input_ids}, expected as many")]
    LengthMismatch {
        /// Number of ids.
        input_ids: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A character that kdx uses to find the assistant's words in what a template writes.
    #[error("a message has the character U+{code:04X}, which stands for no text and is reserved")]
    ReservedCharacter {
        /// The code point.
        code: u32,
    },
    /// The chat template refused the conversation.
    #[error("the chat template of {origin} refuses the conversation: {reason}")]
    Template {
        /// Where the template comes from.
        origin: String,
        /// What it says.
        reason: String,
    },
    /// The assistant's words cannot be told from the others.
    #[error(
        "cannot tell which part of the text that the chat template of {origin} writes is the assistant's: \
         {reason}"
    )]
    Mask {
        /// Where the template comes from.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// The tokenizer failed.
    #[error("the tokenizer fails: {reason}")]
    Tokenizer {
        /// What it says.
        reason: String,
    },
}

impl RecordProblem {
    /// What to do about it.
    pub fn help(&self) -> String {
        const SKIP: &str = "correct the line, or leave such lines out with `data.on_bad_record = \"skip\"`";
        match self {
            Self::UnknownForm { .. } => "for question and answer under other names, set `data.prompt` and \
                 `data.response` to the names of the fields"
                .to_owned(),
            Self::MissingField { nearest: Some(nearest), .. } => {
                format!(
                    "did you mean `{nearest}`? Otherwise set `data.format`, `data.prompt` and \
                     `data.response` to fit the file"
                )
            }
            Self::MissingField { .. } => format!(
                "{SKIP}; if all lines are like this, set `data.format` (or `data.prompt` and \
                 `data.response`) to fit the file"
            ),
            Self::Template { .. } => {
                format!("{SKIP}; another template can be set with `data.chat_template = \"FILE.jinja\"`")
            }
            Self::Mask { .. } => {
                "put `{% generation %}` and `{% endgeneration %}` around what the assistant says in \
                 the template, or use another one: `data.chat_template = \"FILE.jinja\"`"
                    .to_owned()
            }
            _ => SKIP.to_owned(),
        }
    }
}
