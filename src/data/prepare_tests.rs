use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::record::IGNORED;
use super::super::train_tokenizer::train_on_texts;
use super::*;
use crate::spec::OnBadRecord;

/// A directory with a tokenizer that was trained on the sentences of the tests.
fn workplace() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["user", "assistant", "system", "\n", "What is it?", "It is seven.", "Be brief."];
    train_on_texts(&texts, 300).unwrap().write(&dir.path().join("tokenizer"), false).unwrap();
    dir
}

fn chat(question: &str, answer: &str) -> String {
    serde_json::json!({"messages": [
        {"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
    .to_string()
}

fn config(dir: &Path, lines: &[String]) -> DataConfig {
    let path = dir.join("train.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    DataConfig {
        train: PathList::One(path),
        tokenizer: Some(dir.join("tokenizer")),
        max_length: 64,
        ..DataConfig::default()
    }
}

fn ten(dir: &Path) -> DataConfig {
    config(dir, &(0..10).map(|n| chat("What is it?", &format!("It is {n}."))).collect::<Vec<_>>())
}

fn targets(tokenizer: &ChatTokenizer, data: &Dataset, index: usize) -> String {
    let sequence = &data.sequences[index];
    let counted: Vec<u32> = sequence.labels.iter().filter_map(|&l| u32::try_from(l).ok()).collect();
    tokenizer.decode(&counted).unwrap()
}

#[test]
fn all_forms_become_the_same_tokens() {
    let dir = workplace();
    let tokenizer = ChatTokenizer::load(&dir.path().join("tokenizer")).unwrap();
    let conversation = |[role, text]: [&str; 2], [user, assistant]: [&str; 2]| {
        format!(
            r#"{{"conversations": [{{"{role}": "{user}", "{text}": "What is it?"}},
                {{"{role}": "{assistant}", "{text}": "It is seven."}}]}}"#
        )
        .replace('\n', "")
    };
    let forms = [
        chat("What is it?", "It is seven."),
        conversation(["from", "value"], ["human", "gpt"]),
        conversation(["role", "content"], ["user", "assistant"]),
        r#"{"q": "What is it?", "a": "It is seven.", "id": 3}"#.to_owned(),
    ];
    let prepared: Vec<Prepared> = forms
        .iter()
        .map(|line| {
            let mut config = config(dir.path(), std::slice::from_ref(line));
            if line.contains("\"q\"") {
                (config.prompt, config.response) = (Some("q".to_owned()), Some("a".to_owned()));
            }
            prepare(&config, &[], None).unwrap()
        })
        .collect();
    assert_eq!(targets(&tokenizer, &prepared[0].train, 0), "It is seven.<|im_end|>");
    let text = tokenizer.decode(&prepared[0].train.sequences[0].input_ids).unwrap();
    assert_eq!(
        text,
        "<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\nIt is seven.<|im_end|>\n"
    );
    assert!(prepared.iter().all(|p| p.train.digest() == prepared[0].train.digest()));
    assert_eq!(prepared[0].vocab_size, Some(tokenizer.vocabulary().size));
    assert_eq!((prepared[0].pad_id, prepared[0].bos_id, prepared[0].eos_id), (0, Some(1), Some(2)));
}

#[test]
fn every_token_of_a_text_counts_and_its_end_too() {
    let dir = workplace();
    let config = config(dir.path(), &[r#"{"text": "It is seven."}"#.to_owned()]);
    let prepared = prepare(&config, &[], None).unwrap();
    let sequence = &prepared.train.sequences[0];
    assert_eq!(sequence.input_ids.last(), prepared.eos_id.as_ref());
    assert!(sequence.labels.iter().all(|&label| label != IGNORED));
    assert_eq!(prepared.train.target_tokens(), prepared.train.tokens() - 1);
}

#[test]
fn tokenized_records_are_taken_as_they_are_without_a_tokenizer() {
    let dir = workplace();
    let lines = [r#"{"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 9]}"#.to_owned()];
    let config = DataConfig { tokenizer: None, ..config(dir.path(), &lines) };
    let prepared = prepare(&config, &[], None).unwrap();
    assert_eq!(prepared.train.sequences[0].input_ids, [5, 6, 7, 8]);
    assert_eq!(prepared.train.sequences[0].labels, [-100, -100, 7, 9]);
    assert_eq!((prepared.vocab_size, prepared.pad_id, prepared.tokenizer_dir), (None, 0, None));
    assert_eq!(prepared.train.max_id(), 9);
    prepared.train.check_vocabulary(10).unwrap();
    let error = prepared.train.check_vocabulary(9).unwrap_err().to_string();
    assert!(error.contains("train.jsonl:1: found the token id 9, expected ids below 9"), "{error}");
}

#[test]
fn a_system_message_is_put_before_conversations_that_have_none() {
    let dir = workplace();
    let tokenizer = ChatTokenizer::load(&dir.path().join("tokenizer")).unwrap();
    let own = r#"{"messages": [{"role": "system", "content": "It is."}, {"role": "user", "content": "What"},
        {"role": "assistant", "content": "it"}]}"#;
    let mut config = config(dir.path(), &[chat("What", "it"), own.replace('\n', "")]);
    config.system = Some("Be brief.".to_owned());
    let prepared = prepare(&config, &[], None).unwrap();
    let texts: Vec<String> =
        prepared.train.sequences.iter().map(|s| tokenizer.decode(&s.input_ids).unwrap()).collect();
    assert!(
        texts[0].starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user"),
        "{}",
        texts[0]
    );
    assert!(texts[1].starts_with("<|im_start|>system\nIt is.<|im_end|>\n<|im_start|>user"), "{}", texts[1]);
    assert_eq!(targets(&tokenizer, &prepared.train, 0), "it<|im_end|>");
}

#[test]
fn a_chat_template_of_the_settings_replaces_the_tokenizer_s() {
    let dir = workplace();
    let tokenizer = ChatTokenizer::load(&dir.path().join("tokenizer")).unwrap();
    let template = dir.path().join("lines.jinja");
    fs::write(&template, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}").unwrap();
    let mut config = config(dir.path(), &[chat("What", "it")]);
    config.chat_template = Some(template);
    let prepared = prepare(&config, &[], None).unwrap();
    let text = tokenizer.decode(&prepared.train.sequences[0].input_ids).unwrap();
    assert_eq!(text, "user: What\n\nassistant: it\n\n");
    assert_eq!(targets(&tokenizer, &prepared.train, 0), "it\n\n");
}

#[test]
fn the_tokenizer_is_the_first_one_that_the_directories_have() {
    let dir = workplace();
    let config = DataConfig { tokenizer: None, ..ten(dir.path()) };
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let directories = [empty, dir.path().join("tokenizer")];
    let prepared = prepare(&config, &directories, None).unwrap();
    assert_eq!(prepared.tokenizer_dir.as_ref(), Some(&directories[1]));
    let error = prepare(&config, &directories[..1], None).unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json in"), "{error}");
}

#[test]
fn long_records_are_cut_and_dropped_when_nothing_of_them_counts() {
    let dir = workplace();
    let whole = prepare(&config(dir.path(), &[chat("What is it?", "It is seven.")]), &[], None).unwrap();
    let length = whole.train.sequences[0].input_ids.len();
    let counting = whole.train.target_tokens() as usize;
    for (max_length, records, truncated) in [
        (length, 1, 0),
        (length - 1, 1, 1),
        // One token of the answer is left; with the next one gone, none is.
        (length - counting, 1, 1),
    ] {
        let mut config = config(dir.path(), &[chat("What is it?", "It is seven."), chat("a", "b")]);
        config.max_length = max_length;
        let counts = prepare(&config, &[], None).unwrap().train.counts();
        assert_eq!((counts.records, counts.truncated, counts.dropped), (records + 1, truncated, 0));
    }
    let mut config = config(dir.path(), &[chat("What is it?", "It is seven."), chat("", "b")]);
    config.max_length = length - counting - 1;
    let counts = prepare(&config, &[], None).unwrap().train.counts();
    assert_eq!((counts.records, counts.truncated, counts.dropped), (1, 1, 1));
    config.max_length = 2;
    let error = prepare(&config, &[], None).unwrap_err().to_string();
    assert!(error.contains("2 records have no token that counts in their first 2"), "{error}");
}

#[test]
fn packing_keeps_every_record_and_fills_sequences() {
    let dir = workplace();
    let plain = prepare(&ten(dir.path()), &[], None).unwrap();
    let config = DataConfig { packing: true, max_length: 100, ..ten(dir.path()) };
    let packed = prepare(&config, &[], None).unwrap();
    assert!(packed.train.len() <= plain.train.len() / 2, "{}", packed.train.len());
    assert_eq!(packed.train.tokens(), plain.train.tokens());
    assert_eq!(packed.train.target_tokens(), plain.train.target_tokens());
    assert_eq!(packed.train.counts().records, 10);
    let joined =
        |p: &Prepared| -> Vec<u32> { p.train.sequences.iter().flat_map(|s| s.input_ids.clone()).collect() };
    assert_eq!(joined(&packed), joined(&plain));
    assert!(
        packed
            .train
            .sequences
            .iter()
            .all(|s| s.input_ids.len() <= 100 && s.labels.len() == s.input_ids.len())
    );
}

#[test]
fn several_files_follow_one_another_and_each_has_its_own_form() {
    let dir = workplace();
    let mut config = config(dir.path(), &[chat("What", "it"), chat("What", "is")]);
    let second = dir.path().join("second.jsonl");
    fs::write(&second, "\u{FEFF}{\"text\": \"It is seven.\"}\r\n\r\n{\"text\": \"Be brief.\"}\r\n").unwrap();
    config.train = PathList::Many(vec![config.train.as_slice()[0].clone(), second]);
    let all = prepare(&config, &[], None).unwrap();
    assert_eq!(all.train.len(), 4);
    for limit in 1..=4 {
        config.train_limit = Some(limit);
        let some = prepare(&config, &[], None).unwrap();
        assert_eq!(some.train.sequences, all.train.sequences[..limit]);
    }
}

#[test]
fn bad_lines_are_skipped_and_counted_on_request() {
    let dir = workplace();
    let lines = ["{".to_owned(), chat("What", "it"), "[]".to_owned(), String::new(), chat("What", "is")];
    let mut config = config(dir.path(), &lines);
    let error = prepare(&config, &[], None).unwrap_err().to_string();
    assert!(error.contains("train.jsonl:1:"), "{error}");
    config.on_bad_record = OnBadRecord::Skip;
    config.validation = config.train.clone();
    config.validation_limit = Some(1);
    let prepared = prepare(&config, &[], None).unwrap();
    assert_eq!(prepared.train.counts().skipped, 2);
    assert_eq!(prepared.validation.as_ref().unwrap().counts().skipped, 1);
    assert_eq!((prepared.train.len(), prepared.skipped), (2, 3));
    config.format = DataFormat::Messages;
    assert_eq!(prepare(&config, &[], None).unwrap().train, prepared.train);
}

#[test]
fn a_bad_line_far_down_is_named_by_its_number() {
    let dir = workplace();
    let mut lines: Vec<String> = (0..3000).map(|_| chat("What", "it")).collect();
    lines[2345] = "nonsense".to_owned();
    lines[2800] = "nonsense".to_owned();
    let error = prepare(&config(dir.path(), &lines), &[], None).unwrap_err().to_string();
    assert!(error.contains("train.jsonl:2346:"), "{error}");
}

fn cache_files(cache: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(cache.join("tokens")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn tokens_are_read_from_the_cache_without_parsing_the_tokenizer() {
    let dir = workplace();
    let cache = dir.path().join("cache");
    let mut config = ten(dir.path());
    config.validation = config.train.clone();
    config.validation_limit = Some(3);
    let first = prepare(&config, &[], Some(&cache)).unwrap();
    let files = cache_files(&cache);
    assert_eq!(files.len(), 2);

    // What a hit needs is in the entry: the second time is no tokenizing.
    let entry = cache::read(&files[0]).unwrap();
    let marked = Entry { counts: crate::data::Counts { dropped: 77, ..entry.counts }, ..entry };
    cache::write(&files[0], &marked).unwrap();
    let second = prepare(&config, &[], Some(&cache)).unwrap();
    let dropped = second.train.counts().dropped + second.validation.as_ref().unwrap().counts().dropped;
    assert_eq!(dropped, 77);
    assert_eq!(second.train.sequences, first.train.sequences);
    assert_eq!(second.train.digest(), first.train.digest());
    assert_eq!((second.vocab_size, second.pad_id), (first.vocab_size, first.pad_id));
}

#[test]
fn a_damaged_entry_is_made_again() {
    let dir = workplace();
    let cache = dir.path().join("cache");
    let config = ten(dir.path());
    let first = prepare(&config, &[], Some(&cache)).unwrap();
    let path = &cache_files(&cache)[0];
    let good = fs::read(path).unwrap();
    for damage in [&good[..good.len() / 2], b"", &[7; 500]] {
        fs::write(path, damage).unwrap();
        assert_eq!(prepare(&config, &[], Some(&cache)).unwrap().train, first.train);
        assert_eq!(fs::read(path).unwrap(), good);
    }
}

#[test]
fn all_that_changes_the_tokens_changes_the_key() {
    let dir = workplace();
    let cache = dir.path().join("cache");
    let original = ten(dir.path());
    let mut entries = 0;
    let mut is_new = |config: &DataConfig, new: bool, what: &str| {
        prepare(config, &[], Some(&cache)).unwrap();
        entries += usize::from(new);
        assert_eq!(cache_files(&cache).len(), entries, "{what}");
    };
    is_new(&original, true, "the first");
    is_new(&DataConfig { shuffle: false, ..original.clone() }, false, "the order of batches");
    is_new(&DataConfig { max_length: 63, ..original.clone() }, true, "the length");
    is_new(&DataConfig { packing: true, ..original.clone() }, true, "packing");
    is_new(
        &DataConfig { system: Some("Be brief.".to_owned()), ..original.clone() },
        true,
        "the system message",
    );
    is_new(&DataConfig { train_limit: Some(4), ..original.clone() }, true, "the limit");
    is_new(&DataConfig { format: DataFormat::Messages, ..original.clone() }, true, "the format");
    is_new(&DataConfig { on_bad_record: OnBadRecord::Skip, ..original.clone() }, true, "bad records");

    let moved = dir.path().join("moved.jsonl");
    fs::copy(&original.train.as_slice()[0], &moved).unwrap();
    is_new(
        &DataConfig { train: PathList::One(moved.clone()), ..original.clone() },
        false,
        "the name of the file",
    );
    fs::write(&moved, chat("What", "is")).unwrap();
    is_new(&DataConfig { train: PathList::One(moved), ..original.clone() }, true, "the content of the file");

    let template = dir.path().join("t.jinja");
    fs::write(&template, "{% for m in messages %}{{ m.content }} {% endfor %}").unwrap();
    is_new(&DataConfig { chat_template: Some(template), ..original.clone() }, true, "the template");
    let other = dir.path().join("other");
    train_on_texts(&["other words", "other texts"], 262).unwrap().write(&other, false).unwrap();
    is_new(&DataConfig { tokenizer: Some(other), ..original.clone() }, true, "the tokenizer");
    is_new(&original, false, "the first again");
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let dir = workplace();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(prepare(&ten(dir.path()), &[], Some(&file)).unwrap().train.len(), 10);
}

#[test]
fn two_processes_may_fill_one_cache_at_once() {
    let dir = workplace();
    let cache = dir.path().join("cache");
    let config = ten(dir.path());
    let all: Vec<Dataset> = std::thread::scope(|scope| {
        let work = || prepare(&config, &[], Some(&cache)).unwrap().train;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.iter().all(|data| *data == all[0]));
    assert_eq!(cache_files(&cache).len(), 1);
}
