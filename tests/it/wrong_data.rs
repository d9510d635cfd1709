//! Wrong data, tokenizers and templates: each gets an error that says what, where and what to do.

use std::fs;
use std::path::{Path, PathBuf};

use kdx::data::{DataError, prepare, train_on_texts, train_tokenizer};
use kdx::spec::{DataConfig, DataFormat, OnBadRecord, PathList};
use miette::Diagnostic;

/// A directory with a tokenizer, a file of records and settings for both.
struct Workplace {
    dir: tempfile::TempDir,
    config: DataConfig,
    fallback: Vec<PathBuf>,
}

impl Workplace {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = dir.path().join("tokenizer");
        train_on_texts(&["user", "assistant", "a question"], 262).unwrap().write(&tokenizer, false).unwrap();
        let train = dir.path().join("train.jsonl");
        fs::write(&train, GOOD).unwrap();
        let config = DataConfig {
            train: PathList::One(train),
            tokenizer: Some(tokenizer),
            max_length: 64,
            ..DataConfig::default()
        };
        Self { dir, config, fallback: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file of the tokenizer.
    fn tokenizer_file(&self, name: &str, text: &str) {
        fs::write(self.path("tokenizer").join(name), text).unwrap();
    }

    /// The error with its help, on one line.
    fn message(&self) -> String {
        let error = prepare(&self.config, &self.fallback, Some(&self.path("cache"))).expect_err("an error");
        text(&error, self.dir.path())
    }
}

fn text(error: &DataError, root: &Path) -> String {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    assert!(!help.is_empty(), "no help: {error}");
    format!("{error} | {help}").replace(&format!("{}/", root.display()), "")
}

const GOOD: &str =
    r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;

/// What a third line, after two good ones, does under settings.
type Line = (&'static [u8], fn(&mut DataConfig), &'static [&'static str]);

fn any(_: &mut DataConfig) {}

fn fields(config: &mut DataConfig) {
    (config.prompt, config.response) = (Some("question".to_owned()), Some("answer".to_owned()));
}

fn conversations(config: &mut DataConfig) {
    config.format = DataFormat::Conversations;
}

fn plain(config: &mut DataConfig) {
    config.format = DataFormat::Text;
}

fn tokenized(config: &mut DataConfig) {
    config.format = DataFormat::Tokenized;
}

const LINES: &[Line] = &[
    // The bytes of a line.
    (b"{\"messages\": \"\xFF\"}", any, &["invalid UTF-8 at byte 15", "expected a JSON object in UTF-8"]),
    (br#"{"messages": ["#, any, &["not valid JSON at column 14", "EOF", "on_bad_record = \"skip\""]),
    (
        br#"{"messages": []} {}"#,
        any,
        &["not valid JSON at column 18", "trailing", "one JSON object on each line"],
    ),
    (b"[1, 2]", any, &["found an array, expected a JSON object"]),
    (b"null", any, &["found null, expected a JSON object"]),
    // Conversations.
    (br#"{"text": "x"}"#, any, &["the record has no field `messages`, its fields are `text`", "data.format"]),
    (br#"{"message": []}"#, any, &["no field `messages`", "did you mean `message`?"]),
    (br#"{"messages": {}}"#, any, &["`messages` is an object, expected an array"]),
    (
        br#"{"messages": ["hi"]}"#,
        any,
        &["`messages[0]` is a string, expected an object with role and content"],
    ),
    (
        br#"{"messages": [{"content": "x"}]}"#,
        any,
        &["`messages[0]` has no field `role`, its fields are `content`"],
    ),
    (br#"{"messages": [{"role": "user"}]}"#, any, &["`messages[0]` has no field `content`"]),
    (br#"{"messages": [{"role": 1, "content": "x"}]}"#, any, &["`messages[0].role` is 1, expected a string"]),
    (
        br#"{"messages": [{"role": "robot", "content": "x"}]}"#,
        any,
        &["`messages[0].role` is `robot`", "expected `system`, `user`, `human`, `assistant` or `gpt`"],
    ),
    (
        br#"{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": null}]}"#,
        any,
        &["`messages[1].content` is null, expected a string"],
    ),
    (
        br#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}"#,
        any,
        &["`messages[0].content` is an array, expected a string"],
    ),
    (
        br#"{"messages": [{"role": "user", "content": "x"}]}"#,
        any,
        &["`messages` has 1 messages and none by the assistant, expected at least one"],
    ),
    (br#"{"messages": []}"#, any, &["`messages` has 0 messages and none by the assistant"]),
    (
        br#"{"messages": [{"role": "assistant", "content": " \n"}]}"#,
        any,
        &["`messages[0].content` is empty, expected text"],
    ),
    (
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\u{FDD2}\"}]}".as_bytes(),
        any,
        &["the character U+FDD2", "reserved"],
    ),
    (
        br#"{"conversations": [{"from": "human", "text": "x"}]}"#,
        conversations,
        &["`conversations[0]` has no field `content` or `value`, its fields are `from`, `text`"],
    ),
    (
        br#"{"conversations": [{"from": "bing", "value": "x"}]}"#,
        conversations,
        &["`conversations[0].from` is `bing`"],
    ),
    // Named fields.
    (br#"{"question": "x", "anwser": "y"}"#, fields, &["no field `answer`", "did you mean `anwser`?"]),
    (br#"{"question": 7, "answer": "y"}"#, fields, &["`question` is 7, expected a string"]),
    (br#"{"question": "x", "answer": ""}"#, fields, &["`answer` is empty, expected text"]),
    // Text.
    (br#"{"text": ["x"]}"#, plain, &["`text` is an array, expected a string"]),
    (br#"{"text": ""}"#, plain, &["`text` is empty"]),
    (br#"{"content": "x"}"#, plain, &["no field `text`, its fields are `content`"]),
    // Tokens.
    (br#"{"input_ids": [1, 2]}"#, tokenized, &["no field `labels`, its fields are `input_ids`"]),
    (br#"{"input_ids": [], "labels": []}"#, tokenized, &["`input_ids` is empty"]),
    (
        br#"{"input_ids": [1, 2, 3], "labels": [1]}"#,
        tokenized,
        &["`labels` has 1 entries and `input_ids` 3, expected as many"],
    ),
    (
        br#"{"input_ids": [1, -2], "labels": [1, 2]}"#,
        tokenized,
        &["`input_ids[1]` is -2, expected an integer from 0"],
    ),
    (
        br#"{"input_ids": [1, 2.5], "labels": [1, 2]}"#,
        tokenized,
        &["`input_ids[1]` is 2.5, expected an integer"],
    ),
    (
        br#"{"input_ids": [1, 2], "labels": [-1, 2]}"#,
        tokenized,
        &["`labels[0]` is -1", "\u{2212}100 or an integer"],
    ),
    (
        br#"{"input_ids": [1, 4294967296], "labels": [1, 2]}"#,
        tokenized,
        &["`input_ids[1]` is 4294967296, expected an integer from 0 to 2147483647"],
    ),
    (br#"{"input_ids": [1, "2"], "labels": [1, 2]}"#, tokenized, &["`input_ids[1]` is a string"]),
    (
        br#"{"input_ids": "1 2", "labels": [1, 2]}"#,
        tokenized,
        &["`input_ids` is a string, expected an array"],
    ),
];

/// A good line for the settings of a case.
fn good(config: &DataConfig) -> &'static str {
    match (config.format, &config.prompt) {
        (DataFormat::Conversations, _) => {
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#
        }
        (DataFormat::Text, _) => r#"{"text": "a b"}"#,
        (DataFormat::Tokenized, _) => r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#,
        (_, Some(_)) => r#"{"question": "a", "answer": "b"}"#,
        _ => GOOD,
    }
}

#[test]
fn every_bad_line_is_named_with_its_file_number_and_fault() {
    let mut workplace = Workplace::new();
    let original = workplace.config.clone();
    for (line, settings, expected) in LINES {
        workplace.config = original.clone();
        settings(&mut workplace.config);
        let good = good(&workplace.config);
        let bytes = [good.as_bytes(), b"\n\n", line, b"\n", good.as_bytes()].concat();
        fs::write(workplace.path("train.jsonl"), bytes).unwrap();
        let message = workplace.message();
        let shown = String::from_utf8_lossy(line);
        assert!(message.starts_with("train.jsonl:3: "), "{shown}: {message}");
        for part in *expected {
            assert!(message.contains(part), "{shown}: no `{part}` in: {message}");
        }

        workplace.config.on_bad_record = OnBadRecord::Skip;
        let prepared = prepare(&workplace.config, &[], None).unwrap();
        assert_eq!((prepared.train.len(), prepared.skipped), (2, 1), "{shown}");
    }
}

/// A name, what is wrong, and what the error must say.
type Case = (&'static str, fn(&mut Workplace), &'static [&'static str]);

fn with_template(workplace: &mut Workplace, template: &str) {
    let path = workplace.path("chat.jinja");
    fs::write(&path, template).unwrap();
    workplace.config.chat_template = Some(path);
}

const CASES: &[Case] = &[
    // Files.
    (
        "no file is named",
        |w| w.config.train = PathList::None,
        &["`data.train` names no file", "data.train = \"data.jsonl\""],
    ),
    (
        "an empty list for validation",
        |w| w.config.validation = PathList::Many(vec![]),
        &["`data.validation` names no file", "cannot be an empty list"],
    ),
    (
        "a file that is not there",
        |w| w.config.train = PathList::One(w.path("trian.jsonl")),
        &["cannot read trian.jsonl", "No such file", "relative to that file"],
    ),
    (
        "a validation file that is not there",
        |w| w.config.validation = PathList::One(w.path("none.jsonl")),
        &["cannot read none.jsonl"],
    ),
    (
        "an empty file",
        |w| fs::write(w.path("train.jsonl"), "").unwrap(),
        &["no record to use in train.jsonl", "the file is empty"],
    ),
    (
        "a file of blank lines",
        |w| fs::write(w.path("train.jsonl"), "\u{FEFF}\r\n \n").unwrap(),
        &["the file is empty"],
    ),
    (
        "an empty file among others",
        |w| {
            fs::write(w.path("second.jsonl"), "").unwrap();
            w.config.train = PathList::Many(vec![w.path("train.jsonl"), w.path("second.jsonl")]);
        },
        &["no record to use in second.jsonl", "the file is empty"],
    ),
    (
        "records of a form that cannot be told",
        |w| fs::write(w.path("train.jsonl"), "{\"q\": \"a\", \"a\": \"b\"}").unwrap(),
        &["train.jsonl:1: no field shows the form", "found `q`, `a`", "`data.prompt` and `data.response`"],
    ),
    (
        "nothing but bad lines",
        |w| {
            fs::write(w.path("train.jsonl"), "\n[]\n{}\n").unwrap();
            w.config.on_bad_record = OnBadRecord::Skip;
        },
        &[
            "no record to use in train.jsonl",
            "2 lines were skipped, the first because of train.jsonl:2: found an array",
        ],
    ),
    (
        "answers beyond the length",
        |w| w.config.max_length = 5,
        &[
            "no record to use",
            "1 records have no token that counts in their first 5",
            "raise `data.max_length`",
        ],
    ),
    // Settings.
    ("a length of one", |w| w.config.max_length = 1, &["`data.max_length`: found 1, expected at least 2"]),
    (
        "a prompt without a response",
        |w| w.config.prompt = Some("question".to_owned()),
        &["`data.response`: found nothing, expected the name of a field", "need both"],
    ),
    (
        "prompt_response without names",
        |w| w.config.format = DataFormat::PromptResponse,
        &["`data.prompt`: found nothing, expected the name of a field"],
    ),
    (
        "names for a form without them",
        |w| {
            fields(&mut w.config);
            w.config.format = DataFormat::Messages;
        },
        &["`data.prompt`: found a field name", "not `prompt_response`"],
    ),
    (
        "a system message for running text",
        |w| {
            fs::write(w.path("train.jsonl"), "{\"text\": \"a b\"}").unwrap();
            w.config.system = Some("Be brief.".to_owned());
        },
        &["`data.system`: found one for train.jsonl, which has no conversations", "leave `data.system` out"],
    ),
    (
        "a chat template for tokens",
        |w| {
            fs::write(w.path("train.jsonl"), "{\"input_ids\": [1, 2], \"labels\": [1, 2]}").unwrap();
            with_template(w, "{{ messages[0].content }}");
        },
        &["`data.chat_template`: found one for train.jsonl, which has no conversations"],
    ),
    // Tokenizers.
    (
        "no tokenizer",
        |w| w.config.tokenizer = None,
        &["no tokenizer for train.jsonl", "`data.tokenizer` is not set", "kdx tokenizer train"],
    ),
    (
        "no tokenizer beside the models",
        |w| {
            w.config.tokenizer = None;
            w.fallback = vec![w.path("teacher"), w.path("student")];
        },
        &["no tokenizer.json in teacher, student"],
    ),
    (
        "a tokenizer that is not there",
        |w| w.config.tokenizer = Some(w.path("tokeniser")),
        &["cannot read the tokenizer tokeniser", "a directory with a tokenizer.json"],
    ),
    (
        "a directory without tokenizer.json",
        |w| fs::remove_file(w.path("tokenizer/tokenizer.json")).unwrap(),
        &["cannot read the tokenizer tokenizer/tokenizer.json"],
    ),
    (
        "a tokenizer that is no JSON",
        |w| w.tokenizer_file("tokenizer.json", "#"),
        &["tokenizer/tokenizer.json: not a tokenizer"],
    ),
    (
        "a tokenizer that is another JSON",
        |w| w.tokenizer_file("tokenizer.json", "{\"model\": 1}"),
        &["tokenizer.json: not a tokenizer"],
    ),
    (
        "an empty vocabulary",
        |w| {
            let json = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": "u"}}"#;
            w.tokenizer_file("tokenizer.json", json);
            w.tokenizer_file("tokenizer_config.json", "{}");
        },
        &["tokenizer.json: its vocabulary is empty"],
    ),
    (
        "settings that are no JSON",
        |w| w.tokenizer_file("tokenizer_config.json", "{"),
        &["tokenizer/tokenizer_config.json: not valid JSON"],
    ),
    (
        "settings that are no object",
        |w| w.tokenizer_file("tokenizer_config.json", "[]"),
        &["tokenizer_config.json: expected a JSON object"],
    ),
    (
        "a special token that is a number",
        |w| w.tokenizer_file("tokenizer_config.json", "{\"eos_token\": 2}"),
        &["`eos_token` is neither a string nor an object with a string `content`"],
    ),
    (
        "a special token of another tokenizer",
        |w| w.tokenizer_file("tokenizer_config.json", "{\"eos_token\": {\"content\": \"</s>\"}}"),
        &["`eos_token` is `</s>`, which the vocabulary of tokenizer.json lacks", "take both from one place"],
    ),
    (
        "ids of another tokenizer",
        |w| fs::write(w.path("train.jsonl"), "{\"input_ids\": [1, 262], \"labels\": [-100, 2]}").unwrap(),
        &[
            "train.jsonl:1: found the token id 262, expected ids below 260, the size of the tokenizer's vocabulary",
            "another tokenizer",
        ],
    ),
    // Templates.
    (
        "a template that is a number",
        |w| w.tokenizer_file("tokenizer_config.json", "{\"chat_template\": 1}"),
        &["`chat_template` is neither a string nor a list"],
    ),
    (
        "named templates without a default",
        |w| {
            let list = r#"{"chat_template": [{"name": "rag", "template": "a"}, {"name": "tools", "template": "b"}]}"#;
            w.tokenizer_file("tokenizer_config.json", list);
        },
        &["a list without one named `default`; it has `rag`, `tools`", "data.chat_template"],
    ),
    (
        "a template file that is not there",
        |w| w.config.chat_template = Some(w.path("none.jinja")),
        &["cannot read the chat template none.jinja"],
    ),
    (
        "a template with a syntax error",
        |w| with_template(w, "{{ bos_token }}\n{% for m in %}"),
        &["the chat template of chat.jinja has an error in line 2"],
    ),
    (
        "a template in the tokenizer's directory with a syntax error",
        |w| w.tokenizer_file("chat_template.jinja", "{% if %}"),
        &["the chat template of tokenizer/chat_template.jinja has an error in line 1"],
    ),
    (
        "a template that refuses",
        |w| with_template(w, "{{ raise_exception('No questions, please') }}"),
        &["train.jsonl:1: the chat template of chat.jinja refuses the conversation: No questions, please"],
    ),
    (
        "a template with a method that Python lacks too",
        |w| with_template(w, "{% for m in messages %}{{ m.content.shout() }}{% endfor %}"),
        &["train.jsonl:1:", "has no method named shout"],
    ),
    (
        "a template that hides who speaks",
        |w| with_template(w, "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}"),
        &["train.jsonl:1: cannot tell which part", "chat.jinja", "more than once", "{% generation %}"],
    ),
    (
        "a template without the assistant",
        |w| with_template(w, "{{ messages[0].content }}"),
        &["train.jsonl:1: cannot tell which part", "leaves out all that the assistant says"],
    ),
];

#[test]
fn every_wrong_setting_file_tokenizer_and_template_is_explained() {
    for (name, break_it, expected) in CASES {
        let mut workplace = Workplace::new();
        assert_eq!(prepare(&workplace.config, &[], None).unwrap().train.len(), 1);
        break_it(&mut workplace);
        let message = workplace.message();
        for part in *expected {
            assert!(message.contains(part), "{name}: no `{part}` in: {message}");
        }
    }
}

#[test]
fn wrong_texts_for_a_tokenizer_are_explained() {
    let workplace = Workplace::new();
    let train = |name: &str, content: &str, size: usize| {
        let path = workplace.path(name);
        fs::write(&path, content).unwrap();
        text(&train_tokenizer(&[path], None, size).expect_err("an error"), workplace.dir.path())
    };
    let tokens = "{\"input_ids\": [1], \"labels\": [1]}";
    for (message, expected) in [
        (train("a.txt", "text", 100), "a vocabulary of 100 tokens is too small | expected at least 259"),
        (train("b.txt", "", 300), "no record to use in b.txt: the file is empty"),
        (train("c.jsonl", "{\"text\": \"a\"}\n{", 300), "c.jsonl:2: not valid JSON"),
        (train("d.jsonl", tokens, 300), "d.jsonl: the records are tokenized already"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let files = train_on_texts(&["a"], 259).unwrap();
    let error = files.write(&workplace.path("tokenizer"), false).unwrap_err();
    let message = text(&error, workplace.dir.path());
    assert!(message.contains("tokenizer/tokenizer.json is there already"), "{message}");
    assert!(message.contains("--force"), "{message}");
}
