//! A finished signal file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::error::Damage;
use super::format::{CHECKSUM, DATA_START, Header, checksum};
use super::lock::is_at;
use super::positioned::read_exact_at;
use super::writer::starts;

/// A finished signal file, open for reading. While it is open nothing removes it: it holds a shared lock.
#[derive(Debug)]
pub struct SignalFile {
    file: File,
    path: PathBuf,
    header: Header,
    row_bytes: u64,
    /// Rows before each sequence, and after the last.
    starts: Vec<u64>,
    checksums: Vec<u64>,
    /// Sequences whose checksum was right: a file is checked as it is first read.
    checked: Vec<AtomicBool>,
}

impl SignalFile {
    /// Opens the file at `path`, which must be like `expected`, with these rows in each sequence. None
    /// where there is no file, or where it is just being removed.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, or holds something else.
    pub fn open(path: &Path, expected: &Header, rows: &[u64]) -> Result<Option<Self>, Damage> {
        let damage = |reason: String| Damage { path: path.to_owned(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damage(error.to_string())),
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            // A file system without such locks: a file that is removed while it is read is still all there,
            // or the reader finds it gone and makes do without.
            Err(fs::TryLockError::Error(_)) => {}
        }
        let header = read_header(&file).map_err(damage)?;
        if !header.is_like(expected) {
            return Err(damage(format!("it holds something else: {} of {}", header.data, header.teacher)));
        }
        let length = file.metadata().map_err(|error| damage(error.to_string()))?.len();
        let (Some(bytes), Some(row_bytes)) = (header.file_bytes(), header.row_bytes()) else {
            return Err(damage("its header promises too much".to_owned()));
        };
        if length != bytes {
            return Err(damage(format!("it has {length} bytes, expected {bytes}")));
        }
        let mut table = vec![0; rows.len() * CHECKSUM as usize];
        let table_start = bytes - table.len() as u64;
        read_exact_at(&file, &mut table, table_start).map_err(|error| damage(error.to_string()))?;
        // When it was last used. A file of another user cannot be touched, and need not be.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(Self {
            path: path.to_owned(),
            header,
            row_bytes,
            starts: starts(rows),
            checksums: table.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
            checked: rows.iter().map(|_| AtomicBool::new(false)).collect(),
            file,
        }))
    }

    /// What the file holds.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Damage of this file.
    pub fn damage(&self, reason: impl Into<String>) -> Damage {
        Damage { path: self.path.clone(), reason: reason.into() }
    }

    /// Whether the file is still at its path, and no other in its place.
    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Rows of a sequence.
    pub fn rows(&self, sequence: usize) -> usize {
        (self.starts[sequence + 1] - self.starts[sequence]) as usize
    }

    /// Reads the rows of a sequence into `pieces`, which follow each other in the file and have its
    /// length together.
    ///
    /// # Errors
    /// Where the disk refuses, or the rows are not those that were written.
    pub fn read(&self, sequence: usize, pieces: &mut [&mut [u8]]) -> Result<(), Damage> {
        let mut offset = DATA_START + self.starts[sequence] * self.row_bytes;
        for piece in pieces.iter_mut() {
            read_exact_at(&self.file, piece, offset).map_err(|error| self.damage(error.to_string()))?;
            offset += piece.len() as u64;
        }
        debug_assert_eq!(offset, DATA_START + self.starts[sequence + 1] * self.row_bytes);
        if self.checked[sequence].load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.rows(sequence) > 0
            && checksum(pieces.iter().map(|piece| &**piece)) != self.checksums[sequence]
        {
            return Err(self.damage(format!("the rows of sequence {sequence} were changed")));
        }
        self.checked[sequence].store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The header of an open file, or what is wrong with it.
pub(super) fn read_header(file: &File) -> Result<Header, String> {
    let mut start = vec![0; DATA_START as usize];
    match read_exact_at(file, &mut start, 0) {
        Ok(()) => Header::decode(&start),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("it is too short".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{Progress, tests::header};
    use super::super::lock::try_write_lock;
    use super::super::writer::Writer;
    use super::*;

    const ROWS: [u64; 5] = [2, 0, 3, 1, 4];
    const WIDTH: usize = 3;

    fn content(sequence: usize) -> Vec<u8> {
        (0..ROWS[sequence] as usize * WIDTH * 4).map(|byte| (byte * 7 + sequence * 31) as u8).collect()
    }

    fn expected() -> Header {
        header(ROWS.len() as u64, ROWS.iter().sum(), WIDTH as u64)
    }

    /// Writes `count` sequences from where the part is, the longest first; finishes where all are there.
    fn write(path: &Path, count: usize) -> Progress {
        let order = [4, 2, 0, 3, 1];
        let lock = try_write_lock(path).unwrap().unwrap();
        let (mut writer, start) = Writer::open(path, lock, expected(), &ROWS).unwrap();
        let mut progress = start;
        for &sequence in order.iter().skip(start.sequences as usize).take(count) {
            let content = content(sequence);
            let (first, second) = content.split_at(content.len() / 2);
            writer.write(sequence, &[first, second]).unwrap();
            progress.sequences += 1;
        }
        writer.commit(&progress).unwrap();
        if progress.sequences == 5 {
            writer.finish(None).unwrap();
        }
        start
    }

    fn read(file: &SignalFile, sequence: usize) -> Result<Vec<u8>, Damage> {
        let mut rows = vec![0; file.rows(sequence) * WIDTH * 4];
        file.read(sequence, &mut [&mut rows])?;
        Ok(rows)
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.bin");
        assert!(SignalFile::open(&path, &expected(), &ROWS).unwrap().is_none());
        write(&path, 5);
        let file = SignalFile::open(&path, &expected(), &ROWS).unwrap().unwrap();
        for _ in 0..2 {
            for sequence in 0..5 {
                assert_eq!(read(&file, sequence).unwrap(), content(sequence));
            }
        }
        assert!(!path.with_extension("partial").exists());
    }

    #[test]
    fn a_part_is_gone_on_with_to_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, parts) = (directory.path().join("a.bin"), directory.path().join("b.bin"));
        write(&whole, 5);
        assert_eq!(write(&parts, 2).sequences, 0);
        // What came after the last record never counted.
        let partial = parts.with_extension("partial");
        let file = fs::OpenOptions::new().write(true).open(&partial).unwrap();
        super::super::positioned::write_all_at(&file, &[0xAB; 24], DATA_START).unwrap();
        assert_eq!(write(&parts, 2).sequences, 2);
        assert!(SignalFile::open(&parts, &expected(), &ROWS).unwrap().is_none());
        assert_eq!(write(&parts, 5).sequences, 4);
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&parts).unwrap());
    }

    #[test]
    fn a_part_of_something_else_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.bin");
        for rubbish in [vec![], vec![7; 100], vec![7; expected().file_bytes().unwrap() as usize]] {
            fs::write(path.with_extension("partial"), rubbish).unwrap();
            assert_eq!(write(&path, 5).sequences, 0);
            assert!(SignalFile::open(&path, &expected(), &ROWS).unwrap().is_some());
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn no_change_of_a_file_goes_unseen_and_none_panics() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.bin");
        write(&path, 5);
        let bytes = fs::read(&path).unwrap();
        let sees = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match SignalFile::open(&path, &expected(), &ROWS) {
                Err(_) => true,
                Ok(file) => (0..5).any(|sequence| read(file.as_ref().unwrap(), sequence).is_err()),
            }
        };
        assert!(!sees(&bytes));
        for index in DATA_START as usize..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            // The second sequence has no rows, so its checksum says nothing.
            let unused = bytes.len() - 4 * 8..bytes.len() - 3 * 8;
            assert_eq!(sees(&damaged), !unused.contains(&index), "byte {index}");
            assert!(sees(&bytes[..index]), "cut at {index}");
        }
        assert!(sees(&[bytes.as_slice(), &[0]].concat()));
        assert!(sees(&[]));
        fs::write(&path, &bytes).unwrap();
        for other in [
            Header { key: "fedc".to_owned(), ..expected() },
            Header { width: 4, ..expected() },
            Header { element: super::super::format::Element::Bf16, ..expected() },
        ] {
            assert!(SignalFile::open(&path, &other, &ROWS).is_err());
        }
        assert!(SignalFile::open(directory.path(), &expected(), &ROWS).is_err(), "a directory");
    }

    #[test]
    fn a_file_that_is_cut_short_under_its_reader_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.bin");
        write(&path, 5);
        let file = SignalFile::open(&path, &expected(), &ROWS).unwrap().unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(DATA_START + 10).unwrap();
        assert!(read(&file, 4).unwrap_err().to_string().contains("a.bin"));
    }
}
