//! Tokenizers in the Hugging Face layout: `tokenizer.json`, `tokenizer_config.json`,
//! `chat_template.jinja`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{PostProcessor, PostProcessorWrapper, Tokenizer};

use super::error::DataError;
use super::mask;
use super::record::{IGNORED, Message, Record, RecordProblem};
use super::template::{ChatTemplate, DEFAULT_TEMPLATE};

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// What others must know of a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    /// Rows that a model's embedding needs: the largest id plus one.
    pub size: usize,
    /// The token before a text.
    pub bos: Option<u32>,
    /// The token after a text.
    pub eos: Option<u32>,
    /// The token that fills short rows of a batch: the tokenizer's own, else `eos`, else 0.
    pub pad: u32,
}

/// The files of a tokenizer, read but not yet parsed, which is the slow part.
#[derive(Debug, Clone)]
pub struct TokenizerSource {
    /// The directory of the files.
    pub dir: PathBuf,
    path: PathBuf,
    json: Vec<u8>,
    special_tokens: Vec<(String, String)>,
    template: String,
    template_origin: String,
    has_own_template: bool,
}

impl TokenizerSource {
    /// Reads the files at `path`, a directory or the `tokenizer.json` itself; `chat_template`
    /// replaces the tokenizer's own template.
    ///
    /// # Errors
    /// A file that cannot be read, or a `tokenizer_config.json` that does not hold what it should.
    pub fn read(path: &Path, chat_template: Option<&Path>) -> Result<Self, DataError> {
        let path = if path.is_dir() { path.join(TOKENIZER_FILE) } else { path.to_owned() };
        let dir = path.parent().unwrap_or(Path::new(".")).to_owned();
        let json = fs::read(&path).map_err(|source| DataError::Io {
            action: "read the tokenizer",
            path: path.clone(),
            source,
            help: Some(format!(
                "a tokenizer is a directory with a {TOKENIZER_FILE}; `kdx tokenizer train` makes one"
            )),
        })?;
        let config = Config::read(&dir.join(CONFIG_FILE))?;
        let template_file = dir.join(TEMPLATE_FILE);
        let (template, template_origin, has_own_template) = if let Some(file) = chat_template {
            (read_text(file)?, file.display().to_string(), true)
        } else if template_file.is_file() {
            (read_text(&template_file)?, template_file.display().to_string(), true)
        } else if let Some(template) = config.template {
            (template, dir.join(CONFIG_FILE).display().to_string(), true)
        } else {
            (DEFAULT_TEMPLATE.to_owned(), "kdx (the default)".to_owned(), false)
        };
        let special_tokens = config.special_tokens;
        Ok(Self { dir, path, json, special_tokens, template, template_origin, has_own_template })
    }

    /// Reads the first tokenizer that `directories` hold; none if there is none.
    ///
    /// # Errors
    /// As [`TokenizerSource::read`].
    pub fn find(directories: &[PathBuf], chat_template: Option<&Path>) -> Result<Option<Self>, DataError> {
        let found = directories.iter().find(|dir| dir.join(TOKENIZER_FILE).is_file());
        found.map(|dir| Self::read(dir, chat_template)).transpose()
    }

    /// Hashes all that decides which tokens a conversation becomes.
    pub(super) fn update_digest(&self, hasher: &mut blake3::Hasher) {
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(&self.json);
        part(self.template.as_bytes());
        for (name, token) in &self.special_tokens {
            part(name.as_bytes());
            part(token.as_bytes());
        }
    }
}

/// A tokenizer with its chat template.
#[derive(Debug)]
pub struct ChatTokenizer {
    tokenizer: Tokenizer,
    /// Taken out of the tokenizer: for conversations the template writes the special tokens, and
    /// some of these processors trim the offsets that the mask needs.
    post_processor: Option<PostProcessorWrapper>,
    template: ChatTemplate,
    special_tokens: Vec<String>,
    vocabulary: Vocabulary,
}

/// The tokens of a record before truncation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// The id where the token counts in the loss, [`IGNORED`] where it does not.
    pub labels: Vec<i32>,
}

impl ChatTokenizer {
    /// Reads the tokenizer at `path`, a directory or a `tokenizer.json`, with its own template.
    ///
    /// # Errors
    /// See [`TokenizerSource::read`] and [`ChatTokenizer::new`].
    pub fn load(path: &Path) -> Result<Self, DataError> {
        Self::new(&TokenizerSource::read(path, None)?)
    }

    /// Parses the files.
    ///
    /// # Errors
    /// A `tokenizer.json` or a template that cannot be used, special tokens that the vocabulary
    /// lacks.
    pub fn new(source: &TokenizerSource) -> Result<Self, DataError> {
        let broken = |problem: String| DataError::Tokenizer {
            path: source.path.clone(),
            problem,
            help: format!(
                "expected the {TOKENIZER_FILE} of the tokenizers library; download or save it again"
            ),
        };
        let mut tokenizer = Tokenizer::from_bytes(&source.json)
            .map_err(|error| broken(format!("not a tokenizer: {error}")))?;
        let post_processor = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| broken(error.to_string()))?;

        let largest = tokenizer.get_vocab(true).into_values().max();
        let size = largest.ok_or_else(|| broken("its vocabulary is empty".to_owned()))? as usize + 1;
        let id = |name: &str| -> Result<Option<u32>, DataError> {
            let Some((_, token)) = source.special_tokens.iter().find(|(key, _)| key == name) else {
                return Ok(None);
            };
            let missing = || DataError::Tokenizer {
                path: source.dir.join(CONFIG_FILE),
                problem: format!("`{name}` is `{token}`, which the vocabulary of {TOKENIZER_FILE} lacks"),
                help: "the two files belong to different tokenizers: take both from one place".to_owned(),
            };
            tokenizer.token_to_id(token).map(Some).ok_or_else(missing)
        };
        let (bos, eos, pad) = (id("bos_token")?, id("eos_token")?, id("pad_token")?);
        let vocabulary = Vocabulary { size, bos, eos, pad: pad.or(eos).unwrap_or(0) };

        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let mut special_tokens: Vec<String> =
            added.values().filter(|token| token.special).map(|token| token.content.clone()).collect();
        special_tokens.extend(source.special_tokens.iter().map(|(_, token)| token.clone()));
        special_tokens.sort();
        special_tokens.dedup();

        if !source.has_own_template && tokenizer.token_to_id("<|im_end|>").is_none() {
            tracing::warn!(
                "{} has no chat template and no token `<|im_end|>`: the default template's marks become \
                 several tokens each",
                source.dir.display()
            );
        }
        let template = ChatTemplate::new(&source.template, &source.template_origin, &source.special_tokens)?;
        Ok(Self { tokenizer, post_processor, template, special_tokens, vocabulary })
    }

    /// Sizes and special ids.
    pub fn vocabulary(&self) -> Vocabulary {
        self.vocabulary
    }

    /// The token of an id, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The text of tokens; special tokens are part of it.
    ///
    /// # Errors
    /// What the tokenizer's decoder says.
    pub fn decode(&self, ids: &[u32]) -> Result<String, RecordProblem> {
        self.tokenizer.decode(ids, false).map_err(tokenizer_problem)
    }

    /// Tokens and labels of a record, not truncated.
    ///
    /// # Errors
    /// What is wrong with the record for this tokenizer and template.
    pub fn encode(&self, record: Record) -> Result<Encoded, RecordProblem> {
        match record {
            Record::Chat(messages) => self.encode_chat(&messages),
            Record::Text(text) => self.encode_text(&text),
            Record::Tokens { input_ids, labels } => Ok(Encoded { input_ids, labels }),
        }
    }

    fn encode_chat(&self, messages: &[Message]) -> Result<Encoded, RecordProblem> {
        let masked = mask::render(&self.template, messages, &self.special_tokens)?;
        // The template writes all special tokens itself, so none are added.
        let encoding = self.tokenizer.encode(masked.text.as_str(), false).map_err(tokenizer_problem)?;
        let labels = mask::labels(encoding.get_ids(), encoding.get_offsets(), &masked.spans);
        if labels.iter().all(|&label| label == IGNORED) {
            let reason = "no token of the assistant's part is left by the tokenizer".to_owned();
            return Err(RecordProblem::Mask { origin: self.template.origin().to_owned(), reason });
        }
        Ok(Encoded { input_ids: encoding.get_ids().to_vec(), labels })
    }

    /// Running text: every token counts, and the end of the text is part of it.
    fn encode_text(&self, text: &str) -> Result<Encoded, RecordProblem> {
        let mut encoding = self.tokenizer.encode(text, false).map_err(tokenizer_problem)?;
        if let Some(processor) = &self.post_processor {
            encoding = processor.process(encoding, None, true).map_err(tokenizer_problem)?;
        }
        let mut input_ids = encoding.get_ids().to_vec();
        if let Some(eos) = self.vocabulary.eos.filter(|eos| input_ids.last() != Some(eos)) {
            input_ids.push(eos);
        }
        let labels = input_ids.iter().map(|id| id.cast_signed()).collect();
        Ok(Encoded { input_ids, labels })
    }
}

fn tokenizer_problem(error: tokenizers::Error) -> RecordProblem {
    RecordProblem::Tokenizer { reason: error.to_string() }
}

fn read_text(path: &Path) -> Result<String, DataError> {
    fs::read_to_string(path).map_err(DataError::io("read the chat template", path))
}

/// What kdx uses of a `tokenizer_config.json`.
#[derive(Debug, Default)]
struct Config {
    special_tokens: Vec<(String, String)>,
    template: Option<String>,
}

impl Config {
    /// Reads the file; empty where there is none, since a bare `tokenizer.json` is a tokenizer too.
    fn read(path: &Path) -> Result<Self, DataError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(DataError::io("read", path)(error)),
        };
        let broken = |problem: String, help: &str| DataError::Tokenizer {
            path: path.to_owned(),
            problem,
            help: help.to_owned(),
        };
        let value: Value = serde_json::from_slice(&text).map_err(|error| {
            broken(format!("not valid JSON: {error}"), "download or save the tokenizer again")
        })?;
        let Value::Object(fields) = value else {
            return Err(broken("expected a JSON object".to_owned(), "download or save the tokenizer again"));
        };

        let mut special_tokens = Vec::new();
        for name in
            ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
        {
            let token = match fields.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Object(token)) => token.get("content"),
                other => other,
            };
            let Some(Value::String(token)) = token else {
                let problem = format!("`{name}` is neither a string nor an object with a string `content`");
                return Err(broken(problem, "write the token as a string, or null where there is none"));
            };
            special_tokens.push((name.to_owned(), token.clone()));
        }

        let template = match fields.get("chat_template") {
            None | Some(Value::Null) => None,
            Some(Value::String(template)) => Some(template.clone()),
            Some(Value::Array(templates)) => Some(named_template(templates).map_err(|names| {
                broken(
                    format!("`chat_template` is a list without one named `default`; it has {names}"),
                    "write the one to use into a file, and set `data.chat_template = \"FILE.jinja\"`",
                )
            })?),
            Some(_) => {
                return Err(broken(
                    "`chat_template` is neither a string nor a list of named templates".to_owned(),
                    "write the template as a string, or set `data.chat_template = \"FILE.jinja\"`",
                ));
            }
        };
        Ok(Self { special_tokens, template })
    }
}

/// The template named `default`, or the only one; otherwise the names there are.
fn named_template(templates: &[Value]) -> Result<String, String> {
    let text = |template: &Value, key: &str| template.get(key).and_then(Value::as_str).map(str::to_owned);
    let default = templates.iter().find(|t| text(t, "name").as_deref() == Some("default"));
    let only = if let [only] = templates { Some(only) } else { None };
    default.or(only).and_then(|t| text(t, "template")).ok_or_else(|| {
        let names: Vec<String> =
            templates.iter().filter_map(|t| text(t, "name")).map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "no names".to_owned() } else { names.join(", ") }
    })
}
