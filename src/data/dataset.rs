//! Sequences of tokens to train on, and where they came from.

use std::path::PathBuf;

use super::error::DataError;
use super::record::IGNORED;

/// Tokens that the model sees together. Labels stand beside their own token: the shift by one
/// happens in the loss, so the first label is never a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids, between 2 and `max_length`.
    pub input_ids: Vec<u32>,
    /// As many: the id to predict at this place, or −100 where it does not count in the loss.
    pub labels: Vec<i32>,
}

impl Sequence {
    /// Positions that count in the loss.
    pub fn targets(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&label| label != IGNORED).count()
    }

    /// The largest id among tokens and labels.
    fn max_id(&self) -> u32 {
        let label = self.labels.iter().copied().max().and_then(|label| u32::try_from(label).ok());
        self.input_ids.iter().copied().max().max(label).unwrap_or(0)
    }
}

/// What became of the lines of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records that are part of the data set.
    pub records: u64,
    /// Lines left out because they are no valid record (`on_bad_record = "skip"`).
    pub skipped: u64,
    /// Records cut to `max_length`, dropped ones included.
    pub truncated: u64,
    /// Valid records left out because no token that counts is left in their first `max_length`.
    pub dropped: u64,
}

/// The line that a sequence begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Index into the files of the split.
    pub(super) file: u32,
    /// Line, from 1.
    pub(super) line: u32,
}

/// One split, tokenized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// In the order of the files.
    pub sequences: Vec<Sequence>,
    counts: Counts,
    files: Vec<PathBuf>,
    origins: Vec<Origin>,
    tokens: u64,
    target_tokens: u64,
    max_id: u32,
    digest: String,
}

impl Dataset {
    /// A data set of sequences that were made elsewhere.
    pub fn from_sequences(sequences: Vec<Sequence>) -> Self {
        let counts = Counts { records: sequences.len() as u64, ..Counts::default() };
        Self::new(sequences, counts, Vec::new(), Vec::new())
    }

    pub(super) fn new(
        sequences: Vec<Sequence>,
        counts: Counts,
        files: Vec<PathBuf>,
        origins: Vec<Origin>,
    ) -> Self {
        let tokens = sequences.iter().map(|s| s.input_ids.len() as u64).sum();
        let target_tokens = sequences.iter().map(|s| s.targets() as u64).sum();
        let max_id = sequences.iter().map(Sequence::max_id).max().unwrap_or(0);
        let mut hasher = blake3::Hasher::new();
        for sequence in &sequences {
            hasher.update(&(sequence.input_ids.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(&sequence.input_ids));
            hasher.update(bytemuck::cast_slice(&sequence.labels));
        }
        let digest = hasher.finalize().to_hex().to_string();
        Self { sequences, counts, files, origins, tokens, target_tokens, max_id, digest }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens that count in the loss.
    pub fn target_tokens(&self) -> u64 {
        self.target_tokens
    }

    /// The largest id among tokens and labels.
    pub fn max_id(&self) -> u32 {
        self.max_id
    }

    /// What became of the lines.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// BLAKE3 of all ids and labels, in hexadecimal: equal for equal data, whatever files it is from.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks that a model with `vocab_size` rows can take every id.
    ///
    /// # Errors
    /// [`DataError::BeyondVocabulary`] with the file and line of the first sequence that has an id
    /// without a row.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<(), DataError> {
        let help = format!(
            "the records were made with the tokenizer of a larger model: set `student.vocab_size` to at \
             least {}",
            u64::from(self.max_id) + 1
        );
        self.check_ids(vocab_size, "the model's vocabulary", help)
    }

    /// Checks that a tokenizer knows every id.
    pub(super) fn check_tokenizer(&self, vocab_size: usize) -> Result<(), DataError> {
        let help =
            "the records were made with another tokenizer than `data.tokenizer`; tokenized records need none";
        self.check_ids(vocab_size, "the tokenizer's vocabulary", help.to_owned())
    }

    fn check_ids(&self, vocab_size: usize, vocabulary: &'static str, help: String) -> Result<(), DataError> {
        if (self.max_id as usize) < vocab_size || self.is_empty() {
            return Ok(());
        }
        let index = self.sequences.iter().position(|s| s.max_id() as usize >= vocab_size).unwrap_or(0);
        let origin = self.origins.get(index);
        let path = origin.and_then(|o| self.files.get(o.file as usize)).cloned();
        Err(DataError::BeyondVocabulary {
            path: path.unwrap_or_default(),
            line: origin.map_or(index as u64 + 1, |o| o.line.into()),
            id: self.sequences[index].max_id(),
            vocab_size,
            vocabulary,
            help,
        })
    }
}
