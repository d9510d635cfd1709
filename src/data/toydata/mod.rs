//! The toy data set: short questions with answers that can be computed.
//!
//! Made for distillation on a laptop. A small model learns the easy kinds and the phrases, a larger
//! one more of the sums; and most answers have several wordings, drawn at random, so that a label
//! shows one of them and a trained teacher all, with their frequencies.

mod exchange;
mod measures;
mod numbers;
mod tables;
mod text;

use std::collections::HashSet;
use std::path::Path;

use super::error::DataError;
use super::train_tokenizer::{TokenizerFiles, train_on_texts};
use crate::spec::Random;
use crate::store::file::write_atomic;
use exchange::Exchange;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToyOptions {
    /// Conversations to train on.
    pub train: usize,
    /// Conversations to measure on; none of their questions is among those to train on.
    pub validation: usize,
    /// Tokens of the tokenizer.
    pub vocab_size: usize,
    /// Another seed makes other questions.
    pub seed: u64,
}

impl Default for ToyOptions {
    /// What `toydata/` in the repository holds.
    fn default() -> Self {
        Self { train: 8000, validation: 600, vocab_size: 640, seed: 0 }
    }
}

/// The files of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToyData {
    /// `train.jsonl`.
    pub train: String,
    /// `validation.jsonl`.
    pub validation: String,
    /// `tokenizer/`, trained on the conversations to train on.
    pub tokenizer: TokenizerFiles,
    /// How many of each kind there are.
    pub kinds: Vec<KindCount>,
}

/// How many questions of one kind a data set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindCount {
    /// The kind.
    pub name: &'static str,
    /// Questions to train on.
    pub train: usize,
    /// Questions to measure on.
    pub validation: usize,
}

/// A kind of question: its name, how often it comes, and how one is made.
struct Kind {
    name: &'static str,
    weight: usize,
    make: fn(&mut Random) -> Exchange,
}

impl Kind {
    const fn new(name: &'static str, weight: usize, make: fn(&mut Random) -> Exchange) -> Self {
        Self { name, weight, make }
    }
}

/// Conversations of a data set, at most. Several kinds alone have more different questions.
const LARGEST: usize = 50_000;

const KINDS: [Kind; 22] = [
    Kind::new("sum in words", 4, numbers::sum_in_words),
    Kind::new("difference in words", 4, numbers::difference_in_words),
    Kind::new("product and sum", 3, numbers::product_and_sum),
    Kind::new("steps", 3, numbers::steps),
    Kind::new("sequence", 3, numbers::sequence),
    Kind::new("comparison", 3, numbers::comparison),
    Kind::new("parity", 2, numbers::parity),
    Kind::new("change", 3, numbers::change),
    Kind::new("units", 4, measures::units),
    Kind::new("weekday", 3, measures::weekday),
    Kind::new("month", 2, measures::month),
    Kind::new("clock", 3, measures::clock),
    Kind::new("date", 3, measures::date),
    Kind::new("reversal", 3, text::reversal),
    Kind::new("capitals", 2, text::capitals),
    Kind::new("replacement", 3, text::replacement),
    Kind::new("letter count", 3, text::letter_count),
    Kind::new("sorted numbers", 3, text::sorted_numbers),
    Kind::new("sorted words", 3, text::sorted_words),
    Kind::new("given table", 4, tables::given_table),
    Kind::new("price list", 3, tables::price_list),
    Kind::new("atlas", 4, tables::atlas),
];

/// Makes the data set. The same options give the same bytes.
///
/// # Errors
/// More questions than there are, or a vocabulary too small for the bytes.
pub fn toy_data(options: &ToyOptions) -> Result<ToyData, DataError> {
    let drawn = draw(options.train + options.validation, options.seed)?;
    let (train, validation) = drawn.split_at(options.train);
    // What a conversation is made of: templates write the role and a line end at every turn.
    let texts: Vec<&str> =
        train.iter().flat_map(|(_, e)| ["user", "\n", &e.question, "assistant", "\n", &e.answer]).collect();
    let tokenizer = train_on_texts(&texts, options.vocab_size)?;
    let count =
        |part: &[(&'static str, Exchange)], name| part.iter().filter(|(kind, _)| *kind == name).count();
    let kinds = KINDS
        .iter()
        .map(|&Kind { name, .. }| KindCount {
            name,
            train: count(train, name),
            validation: count(validation, name),
        })
        .collect();
    Ok(ToyData { train: write_jsonl(train), validation: write_jsonl(validation), tokenizer, kinds })
}

impl ToyData {
    /// Writes the files into `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// [`DataError::Exists`] if one is there and `replace` is not set.
    pub fn write(&self, dir: &Path, replace: bool) -> Result<(), DataError> {
        let files = [("train.jsonl", &self.train), ("validation.jsonl", &self.validation)];
        for (name, _) in &files {
            if !replace && dir.join(name).exists() {
                return Err(DataError::Exists { path: dir.join(name) });
            }
        }
        self.tokenizer.write(&dir.join("tokenizer"), replace)?;
        for (name, text) in files {
            write_atomic(&dir.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

/// As many exchanges, all with different questions, each with its kind, in random order.
fn draw(count: usize, seed: u64) -> Result<Vec<(&'static str, Exchange)>, DataError> {
    if count > LARGEST {
        return Err(DataError::Train {
            problem: format!("found {count} conversations, expected at most {LARGEST}"),
            help: "there are not many more different questions of most kinds".to_owned(),
        });
    }
    let mut random = Random::new("kdx 2025 toy data", &[seed]);
    let tickets: Vec<&Kind> = KINDS.iter().flat_map(|kind| std::iter::repeat_n(kind, kind.weight)).collect();
    let mut asked = HashSet::new();
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let kind = *random.pick(&tickets);
        let exchange = (kind.make)(&mut random);
        if asked.insert(exchange.question.clone()) {
            drawn.push((kind.name, exchange));
        }
    }
    // Kinds with few questions run out on the way; held-out questions must be like the others.
    random.shuffle(&mut drawn);
    Ok(drawn)
}

fn write_jsonl(drawn: &[(&str, Exchange)]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let line = |(_, exchange): &(&str, Exchange)| {
        format!(
            "{{\"conversations\": [{{\"role\": \"user\", \"content\": {}}}, {{\"role\": \"assistant\", \
             \"content\": {}}}]}}\n",
            quoted(&exchange.question),
            quoted(&exchange.answer)
        )
    };
    drawn.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
