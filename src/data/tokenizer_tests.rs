use std::path::PathBuf;

use proptest::prelude::*;

use super::super::record::Role;
use super::super::template::tests::conversations;
use super::*;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers")
}

/// What `make_tokenizers.py` got from transformers: by tokenizer.
fn expected() -> serde_json::Map<String, Value> {
    serde_json::from_slice(&fs::read(directory().join("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

#[test]
fn ids_and_masks_of_every_kind_of_tokenizer_are_those_of_transformers() {
    let conversations = conversations();
    let mut compared = 0;
    for (name, cases) in expected() {
        let tokenizer = ChatTokenizer::load(&directory().join(&name)).unwrap();
        for (conversation, case) in cases["conversations"].as_object().unwrap() {
            let encoded = tokenizer.encode(Record::Chat(conversations[conversation].clone())).unwrap();
            assert_eq!(encoded.input_ids, numbers(&case["ids"]), "{name}, {conversation}");
            let mask: Vec<u32> = encoded.labels.iter().map(|&label| u32::from(label != IGNORED)).collect();
            assert_eq!(mask, numbers(&case["mask"]), "{name}, {conversation}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 9);
}

#[test]
fn texts_get_the_special_tokens_of_transformers_and_an_end() {
    for (name, cases) in expected() {
        let tokenizer = ChatTokenizer::load(&directory().join(&name)).unwrap();
        let eos = tokenizer.vocabulary().eos.unwrap();
        for case in cases["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let mut ids = numbers(&case["ids"]);
            ids.push(eos);
            assert_eq!(
                tokenizer.encode(Record::Text(text.to_owned())).unwrap().input_ids,
                ids,
                "{name}, {text:?}"
            );
        }
    }
}

#[test]
fn the_default_of_named_templates_is_used_and_a_template_file_goes_before_them() {
    let from = directory().join("trimmed");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(from.join(TOKENIZER_FILE), dir.path().join(TOKENIZER_FILE)).unwrap();
    let template = |config: &str| {
        fs::write(dir.path().join(CONFIG_FILE), config).unwrap();
        TokenizerSource::read(dir.path(), None).unwrap().template
    };
    assert_eq!(template("{}"), DEFAULT_TEMPLATE);
    assert_eq!(template(r#"{"chat_template": "a"}"#), "a");
    let named =
        r#"{"chat_template": [{"name": "rag", "template": "b"}, {"name": "default", "template": "c"}]}"#;
    assert_eq!(template(named), "c");
    assert_eq!(template(r#"{"chat_template": [{"name": "only", "template": "d"}]}"#), "d");
    fs::write(dir.path().join(TEMPLATE_FILE), "e").unwrap();
    assert_eq!(template(named), "e");
    let other = dir.path().join("other.jinja");
    fs::write(&other, "f").unwrap();
    assert_eq!(TokenizerSource::read(dir.path(), Some(&other)).unwrap().template, "f");
}

#[test]
fn padding_is_the_tokenizer_s_own_else_its_end_else_zero() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(directory().join("trimmed").join(TOKENIZER_FILE), dir.path().join(TOKENIZER_FILE)).unwrap();
    for (config, pad) in [
        (r#"{"pad_token": "<|im_start|>", "eos_token": "</s>"}"#, 3),
        (r#"{"eos_token": {"content": "</s>"}, "pad_token": null}"#, 2),
        ("{}", 0),
    ] {
        fs::write(dir.path().join(CONFIG_FILE), config).unwrap();
        assert_eq!(ChatTokenizer::load(dir.path()).unwrap().vocabulary().pad, pad);
    }
}

/// What a person might write: not white space alone, and none at the start.
fn content() -> impl Strategy<Value = String> {
    "[a-z0-9äж家🏠<|>.,?'\"][a-z0-9A-Zéß家 \n\t<|>.,?'\"]{0,30}"
}

proptest! {
    #[test]
    fn what_counts_decodes_to_what_the_assistant_says_and_its_end_mark(
        turns in prop::collection::vec((content(), content()), 1..4),
        system in prop::option::of(content()),
    ) {
        let tokenizer = ChatTokenizer::load(&directory().join("../../toydata/tokenizer")).unwrap();
        let mut messages = Vec::new();
        messages.extend(system.map(|content| Message { role: Role::System, content }));
        for (question, answer) in &turns {
            messages.push(Message { role: Role::User, content: question.clone() });
            messages.push(Message { role: Role::Assistant, content: answer.clone() });
        }
        let encoded = tokenizer.encode(Record::Chat(messages)).unwrap();
        let counted = encoded.labels.iter().filter_map(|&label| u32::try_from(label).ok());
        let counted: Vec<u32> = counted.collect();
        let said: String = turns.iter().map(|(_, answer)| format!("{answer}<|im_end|>")).collect();
        prop_assert_eq!(tokenizer.decode(&counted).unwrap(), said);
    }
}
