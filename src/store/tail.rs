//! Reading measurements while a worker elsewhere appends them.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use super::error::StoreError;
use super::measured::MetricRow;

/// A place in `metrics.jsonl` up to which it was read.
#[derive(Debug)]
pub struct MetricsTail {
    path: PathBuf,
    offset: u64,
}

impl MetricsTail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// The rows that were appended since the last call, and when the last of them was. A line without its
    /// end waits for the next call.
    ///
    /// A worker that resumes cuts rows off and writes them again: rows that were read once do not come
    /// again, and a line that begins in the middle, because what was written differs in length, is left out.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn read(&mut self) -> Result<(Vec<MetricRow>, Option<SystemTime>), StoreError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), None)),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        };
        let failed = || StoreError::io("read", &self.path);
        let metadata = file.metadata().map_err(failed())?;
        if metadata.len() < self.offset {
            self.offset = metadata.len();
        }
        if metadata.len() == self.offset {
            return Ok((Vec::new(), None));
        }
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed())?;
        file.read_to_end(&mut text).map_err(failed())?;
        let Some(end) = text.iter().rposition(|&byte| byte == b'\n') else { return Ok((Vec::new(), None)) };
        self.offset += end as u64 + 1;
        let rows =
            text[..end].split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        Ok((rows.collect(), metadata.modified().ok()))
    }
}
