//! From `[data]` to tokens: finds the tokenizer, and reads each split from the cache or its files.

use std::path::{Path, PathBuf};

use super::cache::{self, Entry};
use super::dataset::Dataset;
use super::error::DataError;
use super::split::{DataFile, build};
use super::tokenizer::{ChatTokenizer, TokenizerSource, Vocabulary};
use crate::spec::{DataConfig, DataFormat, PathList};

/// The data of a run, ready for batches.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What the student learns from; never empty.
    pub train: Dataset,
    /// What it is measured on.
    pub validation: Option<Dataset>,
    /// The directory of the tokenizer's files; none for tokenized data without one.
    pub tokenizer_dir: Option<PathBuf>,
    /// Rows that an embedding needs for the tokenizer; none without one.
    pub vocab_size: Option<usize>,
    /// Fills short rows of a batch.
    pub pad_id: u32,
    /// The token before a text.
    pub bos_id: Option<u32>,
    /// The token after a text.
    pub eos_id: Option<u32>,
    /// Lines of all splits that were left out by `on_bad_record = "skip"`.
    pub skipped: u64,
}

/// Tokenizes the data, or reads it from the cache in `cache_dir`.
///
/// Without `data.tokenizer`, the tokenizer is the first one found in `fallback_tokenizer_dirs`
/// (the teacher's directory, then the student's).
///
/// # Errors
/// Everything that can be wrong with the settings, the files, the tokenizer and its template; see
/// [`DataError`].
pub fn prepare(
    config: &DataConfig,
    fallback_tokenizer_dirs: &[PathBuf],
    cache_dir: Option<&Path>,
) -> Result<Prepared, DataError> {
    check(config)?;
    let template = config.chat_template.as_deref();
    let source = match &config.tokenizer {
        Some(path) => Some(TokenizerSource::read(path, template)?),
        None => TokenizerSource::find(fallback_tokenizer_dirs, template)?,
    };
    let mut preparer = Preparer { config, fallback_tokenizer_dirs, cache_dir, source, tokenizer: None };
    let (train, vocabulary) = preparer.split(config.train.as_slice(), config.train_limit)?;
    let validation = match config.validation.as_slice() {
        [] => None,
        files => Some(preparer.split(files, config.validation_limit)?.0),
    };
    let skipped = train.counts().skipped + validation.as_ref().map_or(0, |v| v.counts().skipped);
    Ok(Prepared {
        train,
        validation,
        tokenizer_dir: preparer.source.map(|source| source.dir),
        vocab_size: vocabulary.map(|v| v.size),
        pad_id: vocabulary.map_or(0, |v| v.pad),
        bos_id: vocabulary.and_then(|v| v.bos),
        eos_id: vocabulary.and_then(|v| v.eos),
        skipped,
    })
}

/// Settings that don't go together.
fn check(config: &DataConfig) -> Result<(), DataError> {
    if config.train.as_slice().is_empty() {
        return Err(DataError::NoFiles { key: "data.train" });
    }
    if config.validation == PathList::Many(Vec::new()) {
        return Err(DataError::NoFiles { key: "data.validation" });
    }
    if config.max_length < 2 {
        return Err(DataError::Setting {
            key: "data.max_length",
            problem: format!("found {}, expected at least 2", config.max_length),
            help: "a sequence needs a token to predict and one to predict it from".to_owned(),
        });
    }
    let named = [("data.prompt", &config.prompt), ("data.response", &config.response)];
    let takes_names = matches!(config.format, DataFormat::Auto | DataFormat::PromptResponse);
    let any_named = named.iter().any(|(_, name)| name.is_some());
    for (key, name) in named {
        let problem = match name {
            Some(_) if !takes_names => {
                "found a field name, but `data.format` is not `prompt_response`, which alone has such fields"
            }
            None if any_named || config.format == DataFormat::PromptResponse => {
                "found nothing, expected the name of a field"
            }
            _ => continue,
        };
        return Err(DataError::Setting {
            key,
            problem: problem.to_owned(),
            help: "`prompt_response` records need both: `data.prompt = \"question\"`, `data.response = \
                   \"answer\"`; other forms need neither"
                .to_owned(),
        });
    }
    Ok(())
}

struct Preparer<'a> {
    config: &'a DataConfig,
    fallback_tokenizer_dirs: &'a [PathBuf],
    cache_dir: Option<&'a Path>,
    source: Option<TokenizerSource>,
    /// Parsed when it is first needed: what is cached needs none.
    tokenizer: Option<ChatTokenizer>,
}

impl Preparer<'_> {
    fn split(
        &mut self,
        paths: &[PathBuf],
        limit: Option<usize>,
    ) -> Result<(Dataset, Option<Vocabulary>), DataError> {
        let files = paths.iter().map(|path| hash_file(path)).collect::<Result<Vec<_>, _>>()?;
        let cached = self.cache_dir.map(|dir| cache::path(dir, &self.key(&files, limit)));
        let entry = match cached.as_deref().and_then(cache::read) {
            Some(entry) => entry,
            None => {
                let entry = self.tokenize(&files, limit)?;
                if let Some(path) = &cached {
                    // A cache that cannot be written costs time, not the run.
                    if let Err(error) = cache::write(path, &entry) {
                        tracing::warn!("tokens are not cached: {error}");
                    }
                }
                entry
            }
        };
        let Entry { vocabulary, counts, sequences, origins } = entry;
        let dataset = Dataset::new(sequences, counts, paths.to_vec(), origins);
        // A tokenizer that merely lies beside a model may be another than the one that made
        // tokenized records; the one that the user names may not.
        if let (Some(vocabulary), Some(_)) = (vocabulary, &self.config.tokenizer) {
            dataset.check_tokenizer(vocabulary.size)?;
        }
        Ok((dataset, vocabulary))
    }

    fn tokenize(&mut self, files: &[DataFile], limit: Option<usize>) -> Result<Entry, DataError> {
        if let (None, Some(source)) = (&self.tokenizer, &self.source) {
            self.tokenizer = Some(ChatTokenizer::new(source)?);
        }
        let tokenizer = self.tokenizer.as_ref();
        let built = build(files, limit, self.config, tokenizer, self.fallback_tokenizer_dirs)?;
        let names = || files.iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>().join(", ");
        if built.counts.skipped > 0 {
            tracing::warn!(
                "{}: {} lines are no valid records and were skipped",
                names(),
                built.counts.skipped
            );
        }
        if built.counts.dropped > 0 {
            tracing::warn!(
                "{}: {} records have no token that counts in their first {} and were dropped",
                names(),
                built.counts.dropped,
                self.config.max_length
            );
        }
        Ok(Entry {
            vocabulary: tokenizer.map(ChatTokenizer::vocabulary),
            counts: built.counts,
            sequences: built.sequences,
            origins: built.origins,
        })
    }

    /// A hash of all that decides which tokens a split becomes. Paths are not part of it.
    fn key(&self, files: &[DataFile], limit: Option<usize>) -> blake3::Hash {
        let mut hasher = cache::key();
        hasher.update(&(files.len() as u64).to_le_bytes());
        for file in files {
            hasher.update(file.hash.as_bytes());
        }
        let DataConfig {
            train: _,
            validation: _,
            format,
            prompt,
            response,
            system,
            tokenizer: _,
            chat_template: _,
            max_length,
            packing,
            shuffle: _,
            on_bad_record,
            train_limit: _,
            validation_limit: _,
        } = self.config;
        let settings = (format, prompt, response, system, max_length, packing, on_bad_record, limit);
        let settings = serde_json::to_vec(&settings).unwrap_or_default();
        hasher.update(&(settings.len() as u64).to_le_bytes()).update(&settings);
        if let Some(source) = &self.source {
            source.update_digest(&mut hasher);
        }
        hasher.finalize()
    }
}

fn hash_file(path: &Path) -> Result<DataFile, DataError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path).map_err(DataError::io("read", path))?;
    Ok(DataFile { path: path.to_owned(), hash: hasher.finalize() })
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
