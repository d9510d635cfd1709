//! Training a byte-level BPE tokenizer, in files that `transformers` loads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};

use super::bpe::{Bpe, learn};
use super::error::DataError;
use super::jsonl::Jsonl;
use super::record::{Form, Record, RecordProblem, parse};
use super::template::DEFAULT_TEMPLATE;
use crate::store::file::write_atomic;

/// The special tokens, by id.
const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Cuts a text into the words within which tokens are merged: GPT-2's pattern, but for digits,
/// each of which stays alone, so that a number of any length is read digit by digit.
const WORDS: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A trained tokenizer, as the text of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: String,
    /// `tokenizer_config.json`.
    pub config: String,
    /// Number of tokens; less than asked for where the texts have no more pairs to merge.
    pub vocab_size: usize,
}

impl TokenizerFiles {
    /// Writes the files into `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// [`DataError::Exists`] if there is a tokenizer and `replace` is not set.
    pub fn write(&self, dir: &Path, replace: bool) -> Result<(), DataError> {
        let files = [("tokenizer.json", &self.tokenizer), ("tokenizer_config.json", &self.config)];
        for (name, _) in &files {
            if !replace && dir.join(name).exists() {
                return Err(DataError::Exists { path: dir.join(name) });
            }
        }
        for (name, text) in files {
            write_atomic(&dir.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// Trains on the texts of files: JSONL in any form but `tokenized`, or plain text (`.txt`).
///
/// `form` fixes the form of the records; without it, each file's first record shows it.
///
/// # Errors
/// Lines that are no records, files without text, a vocabulary too small for the bytes.
pub fn train_tokenizer(
    files: &[PathBuf],
    form: Option<&Form>,
    vocab_size: usize,
) -> Result<TokenizerFiles, DataError> {
    let mut texts = Vec::new();
    for path in files {
        let before = texts.len();
        read_texts(path, form, &mut texts)?;
        if texts.len() == before {
            return Err(DataError::NoRecords {
                paths: vec![path.clone()],
                reason: "the file is empty".to_owned(),
                help: "expected plain text (.txt) or one JSON object on each line".to_owned(),
            });
        }
    }
    train_on_texts(&texts, vocab_size)
}

/// Trains on texts. The same texts, in any order, give the same files.
///
/// # Errors
/// A vocabulary too small for the bytes.
pub fn train_on_texts<T: AsRef<str> + Sync>(
    texts: &[T],
    vocab_size: usize,
) -> Result<TokenizerFiles, DataError> {
    let smallest = SPECIAL_TOKENS.len() + 256;
    if vocab_size < smallest {
        return Err(DataError::Train {
            problem: format!("a vocabulary of {vocab_size} tokens is too small"),
            help: format!(
                "expected at least {smallest}: one for each byte, so that any text can be written, and {} \
                 special ones",
                SPECIAL_TOKENS.len()
            ),
        });
    }
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let bare = Bpe { tokens: alphabet.iter().map(char::to_string).collect(), merges: Vec::new() };
    let splitter = load(&bare)?;
    let words = texts.par_iter().map(|text| count_words(&splitter, text.as_ref())).try_reduce(
        BTreeMap::new,
        |mut all, some| {
            some.into_iter().for_each(|(word, count)| *all.entry(word).or_default() += count);
            Ok(all)
        },
    )?;
    let bpe = learn(&words, &alphabet, vocab_size - SPECIAL_TOKENS.len());
    let mut tokenizer = load(&bpe)?.to_string(true).map_err(|error| unusable(error.as_ref()))?;
    tokenizer.push('\n');
    Ok(TokenizerFiles { tokenizer, config: config()?, vocab_size: bpe.tokens.len() + SPECIAL_TOKENS.len() })
}

fn read_texts(path: &Path, form: Option<&Form>, texts: &mut Vec<String>) -> Result<(), DataError> {
    let content = Jsonl::read(path)?;
    let plain = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
    let mut form = form.cloned();
    for (line, bytes) in content.lines() {
        let bad = |problem: RecordProblem| {
            let help = problem.help();
            DataError::Record { path: path.to_owned(), line, problem, help }
        };
        if plain {
            let text = str::from_utf8(bytes)
                .map_err(|e| bad(RecordProblem::InvalidUtf8 { byte: e.valid_up_to() + 1 }))?;
            // Line ends belong to a text, and tokens for them to its tokenizer.
            texts.push(format!("{text}\n"));
            continue;
        }
        let (record, found) = parse(bytes, form.as_ref()).map_err(bad)?;
        form = Some(found);
        match record {
            Record::Chat(messages) => {
                for message in messages {
                    // Templates write the role and a line end at every turn.
                    texts.push(message.role.as_str().to_owned());
                    texts.push("\n".to_owned());
                    texts.push(message.content);
                }
            }
            Record::Text(text) => texts.push(text),
            Record::Tokens { .. } => {
                return Err(DataError::Train {
                    problem: format!("{}: the records are tokenized already", path.display()),
                    help: "train on the texts that they were made from".to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn count_words(splitter: &Tokenizer, text: &str) -> Result<BTreeMap<String, u64>, DataError> {
    let mut split = PreTokenizedString::from(text);
    if let Some(pre_tokenizer) = splitter.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut split).map_err(|error| unusable(error.as_ref()))?;
    }
    let mut words = BTreeMap::new();
    for (word, _, _) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    Ok(words)
}

/// The tokenizer with these tokens after the special ones.
fn load(bpe: &Bpe) -> Result<Tokenizer, DataError> {
    let special = |(id, token): (usize, &&str)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    let tokens = SPECIAL_TOKENS.iter().copied().chain(bpe.tokens.iter().map(String::as_str));
    let vocabulary: BTreeMap<&str, usize> = tokens.zip(0..).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                            "use_regex": false});
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL_TOKENS.iter().enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false},
            byte_level,
        ]},
        "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "ignore_merges": false, "vocab": vocabulary, "merges": bpe.merges},
    });
    Tokenizer::from_bytes(json.to_string()).map_err(|error| unusable(error.as_ref()))
}

/// `tokenizer_config.json`, as `AutoTokenizer` reads it.
fn config() -> Result<String, DataError> {
    #[derive(Serialize)]
    struct Config {
        tokenizer_class: &'static str,
        bos_token: &'static str,
        eos_token: &'static str,
        pad_token: &'static str,
        clean_up_tokenization_spaces: bool,
        chat_template: &'static str,
    }
    let [pad_token, bos_token, eos_token] = SPECIAL_TOKENS;
    let config = Config {
        tokenizer_class: "PreTrainedTokenizerFast",
        bos_token,
        eos_token,
        pad_token,
        clean_up_tokenization_spaces: false,
        chat_template: DEFAULT_TEMPLATE,
    };
    let mut text = serde_json::to_string_pretty(&config).map_err(|error| unusable(&error))?;
    text.push('\n');
    Ok(text)
}

fn unusable(error: &dyn std::fmt::Display) -> DataError {
    DataError::Train {
        problem: format!("the trained tokenizer cannot be used: {error}"),
        help: "this is a mistake in kdx: please report it with the texts".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "What is 12 plus 7? It is 19.",
        "What day is 3 days after Monday? It is Thursday.",
        "user\n",
        "What is it? It is what it is.",
    ];

    fn tokenizer(files: &TokenizerFiles) -> Tokenizer {
        Tokenizer::from_bytes(&files.tokenizer).unwrap()
    }

    #[test]
    fn the_same_texts_give_the_same_bytes() {
        let files = train_on_texts(&TEXTS, 300).unwrap();
        let mut reversed = TEXTS;
        reversed.reverse();
        for _ in 0..5 {
            assert_eq!(train_on_texts(&TEXTS, 300).unwrap(), files);
            assert_eq!(train_on_texts(&reversed, 300).unwrap(), files);
        }
    }

    #[test]
    fn special_tokens_come_first_and_any_text_can_be_written() {
        let files = train_on_texts(&TEXTS, 270).unwrap();
        assert_eq!(files.vocab_size, 270);
        let tokenizer = tokenizer(&files);
        assert_eq!(tokenizer.get_vocab_size(true), 270);
        for (id, token) in (0..).zip(SPECIAL_TOKENS) {
            assert_eq!(tokenizer.token_to_id(token), Some(id));
        }
        for text in ["What is 7?", "naïve — 家 🏠\t\r\n  x", " \u{0} ", "<|im_start|>user\nhi<|im_end|>\n"]
        {
            let ids = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
    }

    #[test]
    fn digits_stay_alone() {
        let files = train_on_texts(&["12 12 12 12 12 112 112 1212"; 9], 400).unwrap();
        let encoding = tokenizer(&files).encode("1 12 1212", false).unwrap();
        assert_eq!(encoding.get_tokens(), ["1", "Ġ1", "2", "Ġ1", "2", "1", "2"]);
    }

    #[test]
    fn a_vocabulary_without_room_for_all_bytes_is_refused() {
        let error = train_on_texts(&TEXTS, 258).unwrap_err().to_string();
        assert!(error.contains("258 tokens is too small"), "{error}");
        assert_eq!(train_on_texts(&TEXTS, 259).unwrap().vocab_size, 259);
    }
}
