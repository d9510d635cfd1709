//! Entries as files.
//!
//! ```text
//! magic      8 bytes
//! origin     8 bytes, a number of the caller's
//! lengths    3 × 8 bytes: of namespace, key and value
//! namespace, key, value
//! checksum   8 bytes, of all before it
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"cubekv01";

/// Ends of the names of files that are being written.
const PARTIAL: &str = "part";

/// A value with what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub namespace: String,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub origin: i64,
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let parts = [self.namespace.as_bytes(), &self.key, &self.value];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.origin.to_le_bytes());
        bytes.extend(parts.iter().flat_map(|part| (part.len() as u64).to_le_bytes()));
        bytes.extend(parts.concat());
        bytes.extend(hash(&[&bytes], 0).to_le_bytes());
        bytes
    }

    /// None for what was cut short, or is no entry.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<8>()?;
        if hash(&[body], 0).to_le_bytes() != *checksum {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        let origin = number()?.cast_signed();
        let lengths = [number()?, number()?, number()?];
        let mut parts = lengths.iter().map(|&length| {
            let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            Some(part.to_vec())
        });
        let [namespace, key, value] = [parts.next()??, parts.next()??, parts.next()??];
        Some(Self { namespace: String::from_utf8(namespace).ok()?, key, value, origin })
    }
}

/// FNV-1a over all parts, each with its length.
fn hash(parts: &[&[u8]], seed: u64) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ seed;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for part in parts {
        add(&(part.len() as u64).to_le_bytes());
        add(part);
    }
    state
}

/// The entries of a table.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    is_read_only: bool,
}

impl Directory {
    pub fn new(path: PathBuf, is_read_only: bool) -> Self {
        Self { path, is_read_only }
    }

    fn file(&self, namespace: &str, key: &[u8]) -> PathBuf {
        let parts = [namespace.as_bytes(), key];
        self.path.join(format!("{:016x}{:016x}", hash(&parts, 0), hash(&parts, 0x9e37_79b9_7f4a_7c15)))
    }

    pub fn get(&self, namespace: &str, key: &[u8]) -> Option<Entry> {
        let entry = Entry::decode(&fs::read(self.file(namespace, key)).ok()?)?;
        (entry.namespace == namespace && entry.key == key).then_some(entry)
    }

    /// Writes an entry where there is none yet; whether it did.
    pub fn insert(&self, entry: &Entry) -> Result<bool> {
        let (partial, file) = (self.write(entry)?, self.file(&entry.namespace, &entry.key));
        let linked = match fs::hard_link(&partial, &file) {
            // A file that nobody can read is no entry. Two processes may both find it so: then the last one stays.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.is_damaged(&file) => {
                return fs::rename(&partial, &file).map(|()| true).map_err(io("replacing a damaged entry"));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true).map_err(io("naming an entry")),
        };
        let _ = fs::remove_file(&partial);
        linked
    }

    /// Writes an entry over any other.
    pub fn replace(&self, entry: &Entry) -> Result<()> {
        let partial = self.write(entry)?;
        fs::rename(partial, self.file(&entry.namespace, &entry.key)).map_err(io("naming an entry"))
    }

    pub fn all(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|file| file.path());
        let files = files.filter(|file| file.extension().is_none());
        files.filter_map(|file| Entry::decode(&fs::read(file).ok()?)).collect()
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&self, namespace: &str, key: &[u8]) -> bool {
        !self.is_read_only && fs::remove_file(self.file(namespace, key)).is_ok()
    }

    fn is_damaged(&self, file: &Path) -> bool {
        fs::read(file).is_ok_and(|bytes| Entry::decode(&bytes).is_none())
    }

    /// A file with an entry, under a name that is not its own.
    fn write(&self, entry: &Entry) -> Result<PathBuf> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        if self.is_read_only {
            return Err(Error::Error("the database is open to be read only".to_owned()));
        }
        fs::create_dir_all(&self.path).map_err(io("making the directory of a table"))?;
        // Processes of several machines may share the directory: their numbers alone do not tell them apart.
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
        let (process, written) = (std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
        let partial = self.path.join(format!("{process}-{written}-{now}.{PARTIAL}"));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&partial).map_err(io("writing"))?;
        match file.write_all(&entry.encode()) {
            Ok(()) => Ok(partial),
            Err(error) => {
                let _ = fs::remove_file(&partial);
                Err(io("writing an entry")(error))
            }
        }
    }
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::IoError(error.kind(), what)
}
