//! From the files of one split to its sequences.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dataset::{Counts, Origin, Sequence};
use super::error::DataError;
use super::jsonl::Jsonl;
use super::pack::pack;
use super::problem::RecordProblem;
use super::record::{Form, Message, Record, Role, parse};
use super::tokenizer::{ChatTokenizer, Encoded};
use crate::spec::{DataConfig, OnBadRecord};

/// Lines that are tokenized together. Enough to keep the threads busy, few enough that an early
/// error or a limit ends the work early.
const CHUNK: usize = 1024;

/// A file and the hash of what it held when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    pub(super) path: PathBuf,
    pub(super) hash: blake3::Hash,
}

/// The sequences of a split and what became of its lines.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) sequences: Vec<Sequence>,
    pub(super) origins: Vec<Origin>,
    pub(super) counts: Counts,
}

/// Reads, tokenizes, truncates and packs the records of a split.
pub(super) fn build(
    files: &[DataFile],
    limit: Option<usize>,
    config: &DataConfig,
    tokenizer: Option<&ChatTokenizer>,
    looked: &[PathBuf],
) -> Result<Built, DataError> {
    let mut builder = Builder {
        config,
        limit: limit.map_or(u64::MAX, |limit| limit as u64),
        read: 0,
        chats: false,
        first_problem: None,
        built: Built { sequences: Vec::new(), origins: Vec::new(), counts: Counts::default() },
    };
    for (index, file) in files.iter().enumerate() {
        if builder.read == builder.limit {
            break;
        }
        builder.file(index as u32, file, tokenizer, looked)?;
    }
    builder.finish(files)
}

struct Builder<'a> {
    config: &'a DataConfig,
    limit: u64,
    /// Valid records so far, dropped ones included.
    read: u64,
    /// Whether any file has conversations.
    chats: bool,
    /// The first line that was skipped, for the message if nothing is left.
    first_problem: Option<String>,
    built: Built,
}

/// A record that fits, or none if nothing of it counts any more; and whether it was cut.
type Fitted = (Option<Sequence>, bool);

impl Builder<'_> {
    fn file(
        &mut self,
        index: u32,
        file: &DataFile,
        tokenizer: Option<&ChatTokenizer>,
        looked: &[PathBuf],
    ) -> Result<(), DataError> {
        let path = file.path.as_path();
        let content = Jsonl::read(path)?;
        if content.hash() != file.hash {
            return Err(DataError::Io {
                action: "read",
                path: path.to_owned(),
                source: std::io::Error::other("the file changed while it was read"),
                help: Some("wait until it is complete, then start again".to_owned()),
            });
        }
        let lines: Vec<(u64, &[u8])> = content.lines().collect();
        if lines.is_empty() {
            return Err(DataError::NoRecords {
                paths: vec![path.to_owned()],
                reason: "the file is empty".to_owned(),
                help: "expected one JSON object on each line".to_owned(),
            });
        }
        let Some(form) = self.form(path, &lines)? else { return Ok(()) };
        if form != Form::Tokenized && tokenizer.is_none() {
            return Err(DataError::NoTokenizer { data: path.to_owned(), looked: looked.to_vec() });
        }
        self.chats |= !matches!(form, Form::Text | Form::Tokenized);

        for chunk in lines.chunks(CHUNK) {
            let config = self.config;
            let fit = |&(_, line): &(u64, &[u8])| fit(line, &form, config, tokenizer);
            let fitted: Vec<Result<Fitted, RecordProblem>> = chunk.par_iter().map(fit).collect();
            for (&(line, _), result) in chunk.iter().zip(fitted) {
                match result {
                    Ok(fitted) => {
                        self.add(
                            fitted,
                            Origin { file: index, line: u32::try_from(line).unwrap_or(u32::MAX) },
                        );
                    }
                    Err(problem) => self.bad(path, line, problem)?,
                }
                if self.read == self.limit {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The form of a file: given, or that of its first good record; none if it has no good record.
    fn form(&mut self, path: &Path, lines: &[(u64, &[u8])]) -> Result<Option<Form>, DataError> {
        if let Some(form) = Form::fixed(self.config) {
            return Ok(Some(form));
        }
        for (tried, &(line, content)) in lines.iter().enumerate() {
            match parse(content, None) {
                Ok((_, form)) => {
                    // The lines before are met, and counted, again with this form.
                    self.built.counts.skipped -= tried as u64;
                    return Ok(Some(form));
                }
                Err(problem) => self.bad(path, line, problem)?,
            }
        }
        Ok(None)
    }

    fn add(&mut self, (sequence, truncated): Fitted, origin: Origin) {
        self.read += 1;
        self.built.counts.truncated += u64::from(truncated);
        match sequence {
            Some(sequence) => {
                self.built.counts.records += 1;
                self.built.sequences.push(sequence);
                self.built.origins.push(origin);
            }
            None => self.built.counts.dropped += 1,
        }
    }

    fn bad(&mut self, path: &Path, line: u64, problem: RecordProblem) -> Result<(), DataError> {
        if self.config.on_bad_record == OnBadRecord::Error {
            let help = problem.help();
            return Err(DataError::Record { path: path.to_owned(), line, problem: Box::new(problem), help });
        }
        self.built.counts.skipped += 1;
        self.first_problem.get_or_insert_with(|| format!("{}:{line}: {problem}", path.display()));
        Ok(())
    }

    fn finish(self, files: &[DataFile]) -> Result<Built, DataError> {
        let mut built = self.built;
        let counts = built.counts;
        if built.sequences.is_empty() {
            let mut reasons = Vec::new();
            if let Some(first) = self.first_problem {
                reasons.push(format!("{} lines were skipped, the first because of {first}", counts.skipped));
            }
            if counts.dropped > 0 {
                reasons.push(format!(
                    "{} records have no token that counts in their first {}",
                    counts.dropped, self.config.max_length
                ));
            }
            return Err(DataError::NoRecords {
                paths: files.iter().map(|file| file.path.clone()).collect(),
                reason: reasons.join("; "),
                help: "check `data.format` and the files; raise `data.max_length` if records are too long"
                    .to_owned(),
            });
        }
        for (key, given) in [
            ("data.system", self.config.system.is_some()),
            ("data.chat_template", self.config.chat_template.is_some()),
        ] {
            if given && !self.chats {
                return Err(DataError::Setting {
                    key,
                    problem: format!("found one for {}, which has no conversations", files[0].path.display()),
                    help: format!("leave `{key}` out: it would change nothing"),
                });
            }
        }
        if self.config.packing {
            (built.sequences, built.origins) = pack(built.sequences, built.origins, self.config.max_length);
        }
        Ok(built)
    }
}

/// Reads and tokenizes one line, and cuts it to `max_length`.
fn fit(
    line: &[u8],
    form: &Form,
    config: &DataConfig,
    tokenizer: Option<&ChatTokenizer>,
) -> Result<Fitted, RecordProblem> {
    let (mut record, _) = parse(line, Some(form))?;
    if let (Record::Chat(messages), Some(system)) = (&mut record, &config.system)
        && !messages.iter().any(|message| message.role == Role::System)
    {
        messages.insert(0, Message { role: Role::System, content: system.clone() });
    }
    let Encoded { mut input_ids, mut labels } = match (record, tokenizer) {
        (Record::Tokens { input_ids, labels }, _) => Encoded { input_ids, labels },
        (record, Some(tokenizer)) => tokenizer.encode(record)?,
        (_, None) => return Err(RecordProblem::Tokenizer { reason: "there is none".to_owned() }),
    };
    let truncated = input_ids.len() > config.max_length;
    input_ids.truncate(config.max_length);
    labels.truncate(config.max_length);
    let sequence = Sequence { input_ids, labels };
    // Without a target the loss of a batch could be a mean over nothing.
    Ok(((sequence.targets() > 0).then_some(sequence), truncated))
}
