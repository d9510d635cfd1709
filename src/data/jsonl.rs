//! Lines of JSONL files, with what editors and other systems add to them.

use std::fs;
use std::path::Path;

use super::error::DataError;
use super::record::{Form, Record, parse};

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Jsonl {
    bytes: Vec<u8>,
}

impl Jsonl {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        Ok(Self { bytes: fs::read(path).map_err(DataError::io("read", path))? })
    }

    /// Hash of the content.
    pub(crate) fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// Lines that hold something, with their numbers from 1. A byte order mark, carriage returns
    /// at line ends and blank lines are left out.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let content = self.bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.bytes);
        (1..).zip(content.split(|&b| b == b'\n').map(<[u8]>::trim_ascii)).filter(|(_, line)| !line.is_empty())
    }
}

/// Reads the record in one line of a file, from 1.
///
/// # Errors
/// A file without that line, a line that is no record.
pub fn read_record(path: &Path, line: u64, form: Option<&Form>) -> Result<Record, DataError> {
    let content = Jsonl::read(path)?;
    let bytes = content.lines().find(|(number, _)| *number == line).map(|(_, bytes)| bytes);
    let bytes = bytes.ok_or_else(|| DataError::NoRecords {
        paths: vec![path.to_owned()],
        reason: format!("line {line} is blank or beyond the end"),
        help: format!(
            "the last record is in line {}",
            content.lines().last().map_or(0, |(number, _)| number)
        ),
    })?;
    parse(bytes, form).map(|(record, _)| record).map_err(|problem| {
        let help = problem.help();
        DataError::Record { path: path.to_owned(), line, problem: Box::new(problem), help }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let file = Jsonl { bytes: bytes.to_vec() };
        file.lines().map(|(n, l)| (n, String::from_utf8_lossy(l).into_owned())).collect()
    }

    #[test]
    fn marks_carriage_returns_and_blank_lines_are_no_content() {
        let found = lines(b"\xEF\xBB\xBF{\"a\":1}\r\n\r\n  \t\n{\"b\":2}\n\n{\"c\":3}");
        let expected = [(1, "{\"a\":1}"), (4, "{\"b\":2}"), (6, "{\"c\":3}")];
        assert_eq!(found, expected.map(|(n, l)| (n, l.to_owned())));
        assert!(lines(b"").is_empty());
        assert!(lines(b"\xEF\xBB\xBF\n\r\n").is_empty());
    }
}
