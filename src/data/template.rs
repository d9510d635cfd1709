//! Chat templates: how a conversation becomes one text.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::error::DataError;
use super::pycompat;
use super::record::Message;

/// The template of tokenizers that have none: each turn between `<|im_start|>role` and
/// `<|im_end|>`.
pub const DEFAULT_TEMPLATE: &str = "\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
";

/// Stand around what a `{% generation %}` block writes. Noncharacters: no text has them.
pub(super) const GENERATION_START: char = '\u{FDD0}';
/// See [`GENERATION_START`].
pub(super) const GENERATION_END: char = '\u{FDD1}';
/// Stands for a message's content, to find where a template puts it.
pub(super) const PROBE: char = '\u{FDD2}';

const NAME: &str = "chat";
const GENERATION_FILTER: &str = "kdx_generation";

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    marks_generation: bool,
}

impl ChatTemplate {
    /// Compiles a template as `transformers` does: `trim_blocks`, `lstrip_blocks`, loop controls,
    /// `raise_exception`, `strftime_now`, `tojson`, Python's methods, and the special tokens as
    /// variables (`bos_token`, `eos_token`, …).
    ///
    /// # Errors
    /// [`DataError::Template`] with the line, if the source is no template.
    pub fn new(source: &str, origin: &str, special_tokens: &[(String, String)]) -> Result<Self, DataError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let failed = |error: &Error| DataError::Template {
            origin: origin.to_owned(),
            line: error.line().unwrap_or(1),
            reason: reason(error),
        };
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment.set_unknown_method_callback(|_, value, name, args| pycompat::method(value, name, args));
        environment.add_function("raise_exception", |message: &str| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
        });
        environment.add_function("strftime_now", pycompat::strftime_now);
        environment.add_filter("tojson", to_json);
        environment
            .add_filter(GENERATION_FILTER, |text: &str| format!("{GENERATION_START}{text}{GENERATION_END}"));
        for (name, token) in special_tokens {
            environment.add_global(name.clone(), token.clone());
        }
        for name in ["tools", "documents"] {
            environment.add_global(name, ());
        }

        let (source, marks_generation) = with_generation_filter(source);
        environment.add_template_owned(NAME, source).map_err(|error| failed(&error))?;
        Ok(Self { environment, origin: origin.to_owned(), marks_generation })
    }

    /// The file that the template comes from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the template says itself what the assistant writes, by `{% generation %}`.
    pub(super) fn marks_generation(&self) -> bool {
        self.marks_generation
    }

    /// The text of a conversation, with generation marks where the template has them.
    pub(super) fn render(&self, messages: &[Value], add_generation_prompt: bool) -> Result<String, String> {
        let context = Value::from_pairs([
            ("messages", Value::from(messages.to_vec())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ]);
        self.environment.get_template(NAME).and_then(|t| t.render(context)).map_err(|e| reason(&e))
    }
}

/// A message as templates see it.
pub(super) fn message_value(role: &str, content: &str) -> Value {
    Value::from_pairs([("role", role), ("content", content)])
}

/// Messages as templates see them.
pub(super) fn message_values(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(|m| message_value(m.role.as_str(), &m.content)).collect()
}

fn reason(error: &Error) -> String {
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// `tojson` with the arguments that change what the texts of a conversation look like.
fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent = arguments.get::<Option<usize>>("indent")?;
    if arguments.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii=True is not supported"));
    }
    arguments.assert_all_used()?;
    let mut out = String::new();
    pycompat::to_json(value, indent, 0, &mut out)?;
    Ok(out)
}

/// Turns `{% generation %} … {% endgeneration %}`, an extension of `transformers`, into a filter
/// block of the same shape, so that trimming of white space stays as it was. Also says whether
/// there was any.
fn with_generation_filter(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut found = false;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let inside = &rest[start + 2..start + length];
        let signs: &[char] = &['-', '+'];
        let tag = inside.trim_start_matches(signs).trim_end_matches(signs).trim();
        let replacement = match tag {
            "generation" => Some(format!("filter {GENERATION_FILTER}")),
            "endgeneration" => Some("endfilter".to_owned()),
            _ => None,
        };
        out.push_str(&rest[..start + 2]);
        match replacement {
            Some(replacement) => {
                found = true;
                let sign =
                    |c: Option<char>| c.filter(|c| signs.contains(c)).map(String::from).unwrap_or_default();
                out.push_str(&sign(inside.chars().next()));
                out.push_str(&format!(" {replacement} "));
                out.push_str(&sign(inside.chars().next_back()));
            }
            None => out.push_str(inside),
        }
        out.push_str("%}");
        rest = &rest[start + length + 2..];
    }
    out.push_str(rest);
    (out, found)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::Role;

    const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates");

    pub(crate) fn special_tokens() -> Vec<(String, String)> {
        [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(n, t)| (n.to_owned(), t.to_owned())).to_vec()
    }

    /// A template of `tests/templates`.
    pub(crate) fn template(name: &str) -> ChatTemplate {
        let path = format!("{DIRECTORY}/{name}.jinja");
        let source = std::fs::read_to_string(&path).unwrap();
        ChatTemplate::new(&source, &path, &special_tokens()).unwrap()
    }

    /// The conversations of `tests/templates`.
    pub(crate) fn conversations() -> BTreeMap<String, Vec<Message>> {
        let text = std::fs::read_to_string(format!("{DIRECTORY}/conversations.json")).unwrap();
        let turns: BTreeMap<String, Vec<BTreeMap<String, String>>> = serde_json::from_str(&text).unwrap();
        let message = |turn: &BTreeMap<String, String>| Message {
            role: match turn["role"].as_str() {
                "system" => Role::System,
                "user" => Role::User,
                _ => Role::Assistant,
            },
            content: turn["content"].clone(),
        };
        turns.iter().map(|(name, turns)| (name.clone(), turns.iter().map(message).collect())).collect()
    }

    /// What `make_expected.py` got from transformers: by template, conversation and kind of text.
    fn expected() -> BTreeMap<String, BTreeMap<String, BTreeMap<String, serde_json::Value>>> {
        let text = std::fs::read_to_string(format!("{DIRECTORY}/expected.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn templates_write_what_transformers_writes() {
        let conversations = conversations();
        let mut compared = 0;
        for (name, cases) in expected() {
            let template = template(&name);
            for (conversation, texts) in cases {
                let values = message_values(&conversations[&conversation]);
                for (kind, prompt) in [("text", false), ("prompt", true)] {
                    let marks = [GENERATION_START, GENERATION_END];
                    let ours = template.render(&values, prompt).map(|text| text.replace(marks, ""));
                    let at = format!("{name}, {conversation}, {kind}");
                    match &texts[kind] {
                        serde_json::Value::String(text) => assert_eq!(ours.as_ref(), Ok(text), "{at}"),
                        error => {
                            let error = error["error"].as_str().unwrap();
                            let ours = ours.expect_err(&at);
                            assert!(ours.contains(error), "{at}: {ours:?} for {error:?}");
                        }
                    }
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 9 * 9 * 2);
    }

    #[test]
    fn the_default_template_is_chatml() {
        let template = ChatTemplate::new(DEFAULT_TEMPLATE, "default", &[]).unwrap();
        let values = message_values(&conversations()["system"]);
        let expected = "<|im_start|>system\nBe brief.<|im_end|>\n\
            <|im_start|>user\nWhich day follows Monday?<|im_end|>\n\
            <|im_start|>assistant\nTuesday.<|im_end|>\n";
        assert_eq!(template.render(&values, false).unwrap(), expected);
        let prompt = template.render(&values, true).unwrap();
        assert_eq!(prompt, format!("{expected}<|im_start|>assistant\n"));
    }

    #[test]
    fn a_wrong_template_is_an_error_with_its_line() {
        let error = ChatTemplate::new("{{ bos_token }}\n{% for m in messages %}\n{% end", "a.jinja", &[]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("chat template of a.jinja"), "{error}");
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn generation_tags_keep_their_white_space_control() {
        let (source, found) = with_generation_filter("{%- generation -%}a{% endgeneration +%}{% if x %}");
        assert!(found);
        assert_eq!(source, "{%- filter kdx_generation -%}a{% endfilter +%}{% if x %}");
        let (source, found) = with_generation_filter("{% if generation %}{%");
        assert!(!found);
        assert_eq!(source, "{% if generation %}{%");
    }
}
