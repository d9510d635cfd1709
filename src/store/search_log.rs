//! `experiments/NAME.search.jsonl`: what a search saw and decided, in the order in which it did.
//!
//! A line a fact, appended and flushed to the disk before anything is done about it. Whoever appends holds
//! a lock on the file and has read it to its end, so several sweeps of one experiment decide one after the
//! other, each knowing what the others decided. What a crash cuts off is found in the runs' metrics again.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::file::sync_directory;
use super::records::{FORMAT_VERSION, RunId, RunState};

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchLine {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Digest of the settings that the fact belongs to: another pruner decides anew.
    pub search: String,
    /// The run.
    pub run: RunId,
    /// What is known about it.
    #[serde(flatten)]
    pub fact: SearchFact,
}

/// Something that a search saw or decided about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum SearchFact {
    /// The run was measured and judged, and goes on unless it is stopped.
    Measured {
        /// The number of the evaluation, from 1.
        evaluation: u64,
        /// The step after which it was.
        step: u64,
        /// The figure that the search judges by; none where it is no finite number.
        value: Option<f64>,
    },
    /// The run goes on from a rung.
    Promoted {
        /// The rung, from 0.
        rung: u64,
    },
    /// The run is given up.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The run is done.
    Ended {
        /// How.
        state: RunState,
    },
}

/// The log of an experiment, there or not.
#[derive(Debug, Clone)]
pub struct SearchLog {
    path: PathBuf,
}

impl SearchLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log to read and append, when no one else does.
    pub fn lock(&self) -> Result<OpenSearchLog, StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
        let is_new = !self.path.exists();
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(StoreError::io("open", &self.path))?;
        file.lock().map_err(StoreError::io("lock", &self.path))?;
        if is_new {
            sync_directory(directory)?;
        }
        Ok(OpenSearchLog { path: self.path.clone(), file })
    }

    /// Removes the log, if there is one: the next sweep decides anew.
    pub fn remove(&self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The log in the hands of one process. Dropping it lets others have it.
#[derive(Debug)]
pub struct OpenSearchLog {
    path: PathBuf,
    file: File,
}

impl OpenSearchLog {
    /// The lines from a byte on, and where they end; none where the log is shorter than that, as after it was
    /// removed. A last line that a crash cut short is taken off the file.
    ///
    /// A line that cannot be read is left out, with a warning: what it said is decided again.
    ///
    /// # Errors
    /// Where the file cannot be read, or is of another version of kdx.
    pub fn read_from(&mut self, offset: u64) -> Result<Option<(Vec<SearchLine>, u64)>, StoreError> {
        let io = |error| StoreError::io("read", &self.path)(error);
        let length = self.file.metadata().map_err(io)?.len();
        if length < offset {
            return Ok(None);
        }
        if length == offset {
            return Ok(Some((Vec::new(), offset)));
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = offset + whole as u64;
        if whole < bytes.len() {
            self.file.set_len(end).map_err(StoreError::io("write", &self.path))?;
        }
        let mut lines = Vec::new();
        for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines.extend(self.parse(line)?);
        }
        Ok(Some((lines, end)))
    }

    fn parse(&self, line: &[u8]) -> Result<Option<SearchLine>, StoreError> {
        #[derive(Deserialize)]
        struct Versioned {
            format_version: u32,
        }
        let found = serde_json::from_slice::<Versioned>(line).ok().map(|line| line.format_version);
        if let Some(found) = found.filter(|&found| found != FORMAT_VERSION) {
            return Err(StoreError::Version {
                path: self.path.clone(),
                found: found.into(),
                expected: FORMAT_VERSION,
            });
        }
        match serde_json::from_slice(line) {
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let text = String::from_utf8_lossy(line);
                tracing::warn!("{}: a line is not read: {error}: {text}", self.path.display());
                Ok(None)
            }
        }
    }

    /// Appends lines, safe on the disk when it returns, and says where they end. Only after
    /// [`OpenSearchLog::read_from`], which leaves the file with whole lines.
    pub fn append(&mut self, lines: &[SearchLine]) -> Result<u64, StoreError> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|e| StoreError::Damaged { path: self.path.clone(), reason: e.to_string() })?;
            text.push(b'\n');
        }
        let io = |error| StoreError::io("write", &self.path)(error);
        self.file.write_all(&text).and_then(|()| self.file.sync_all()).map_err(io)?;
        Ok(self.file.metadata().map_err(io)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: &str, fact: SearchFact) -> SearchLine {
        SearchLine {
            format_version: FORMAT_VERSION,
            search: "s".to_owned(),
            run: RunId(run.to_owned()),
            fact,
        }
    }

    #[test]
    fn lines_are_read_back_and_from_where_one_stopped() {
        let root = tempfile::tempdir().unwrap();
        let log = SearchLog::new(root.path().join("experiments/e.search.jsonl"));
        let lines = [
            line("a", SearchFact::Measured { evaluation: 1, step: 10, value: Some(0.1 + 0.2) }),
            line("a", SearchFact::Measured { evaluation: 2, step: 20, value: None }),
            line("a", SearchFact::Promoted { rung: 0 }),
            line("b", SearchFact::Stopped { reason: "asha: …".to_owned() }),
            line("a", SearchFact::Ended { state: RunState::Finished }),
        ];
        let end = log.lock().unwrap().append(&lines[..2]).unwrap();
        assert_eq!(log.lock().unwrap().read_from(0).unwrap(), Some((lines[..2].to_vec(), end)));
        let last = log.lock().unwrap().append(&lines[2..]).unwrap();
        let mut open = log.lock().unwrap();
        assert_eq!(open.read_from(end).unwrap(), Some((lines[2..].to_vec(), last)));
        assert_eq!(open.read_from(last).unwrap(), Some((Vec::new(), last)));
        assert_eq!(open.read_from(last + 1).unwrap(), None, "the file was replaced by a shorter one");
    }

    #[test]
    fn a_line_that_was_cut_is_taken_off_before_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        let log = SearchLog::new(root.path().join("e.search.jsonl"));
        let promoted = |run| line(run, SearchFact::Promoted { rung: 1 });
        log.lock().unwrap().append(&[promoted("a"), promoted("b")]).unwrap();
        let bytes = fs::read(log.path()).unwrap();
        let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..bytes.len() {
            fs::write(log.path(), &bytes[..cut]).unwrap();
            let mut open = log.lock().unwrap();
            assert_eq!(open.read_from(0).unwrap(), Some((vec![promoted("a")], first as u64)), "cut at {cut}");
            open.append(&[promoted("c")]).unwrap();
            assert_eq!(open.read_from(0).unwrap().unwrap().0, [promoted("a"), promoted("c")]);
        }
    }

    #[test]
    fn a_line_of_garbage_costs_itself_alone_and_another_version_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let log = SearchLog::new(root.path().join("e.search.jsonl"));
        fs::write(log.path(), "\u{0}\u{0}{\n").unwrap();
        let promoted = line("a", SearchFact::Promoted { rung: 1 });
        log.lock().unwrap().append(std::slice::from_ref(&promoted)).unwrap();
        assert_eq!(log.lock().unwrap().read_from(0).unwrap().unwrap().0, [promoted]);
        fs::write(log.path(), "{\"format_version\": 7}\n").unwrap();
        let refused = log.lock().unwrap().read_from(0);
        assert!(matches!(refused, Err(StoreError::Version { found: 7, .. })), "{refused:?}");
    }
}
