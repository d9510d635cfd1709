//! Content digests of the files that runs read, remembered so that large files are read once.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::file;
use super::records::FORMAT_VERSION;

/// A file that changed this recently may change again without a new time stamp.
const RACY: Duration = Duration::from_secs(2);

/// Digests of files, with a memory on disk.
#[derive(Debug)]
pub(crate) struct Digests {
    path: PathBuf,
    memory: Memory,
    /// What this process has seen: a file is looked at once, so that all runs agree about it.
    seen: BTreeMap<PathBuf, String>,
    is_changed: bool,
}

/// `digests.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    format_version: u32,
    files: BTreeMap<String, Known>,
}

/// A digest, and the state of the file that it belongs to.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    state: State,
    blake3: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    size: u64,
    modified_seconds: u64,
    modified_nanoseconds: u32,
    inode: u64,
}

impl State {
    fn of(metadata: &Metadata) -> Option<Self> {
        let modified = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Self {
            size: metadata.len(),
            modified_seconds: modified.as_secs(),
            modified_nanoseconds: modified.subsec_nanos(),
            inode: inode(metadata),
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

impl Digests {
    /// Reads the memory of a cache directory. A damaged or missing one is an empty one.
    pub fn open(cache_dir: &Path) -> Self {
        let path = cache_dir.join("digests.json");
        let memory = file::read_json(&path)
            .unwrap_or_else(|_| Memory { format_version: FORMAT_VERSION, files: BTreeMap::new() });
        Self { path, memory, seen: BTreeMap::new(), is_changed: false }
    }

    /// The BLAKE3 digest of a file's content, as hexadecimal digits.
    pub fn of_file(&mut self, path: &Path) -> io::Result<String> {
        if let Some(digest) = self.seen.get(path) {
            return Ok(digest.clone());
        }
        let metadata = fs::metadata(path)?;
        let state = State::of(&metadata);
        let name = path.to_string_lossy().into_owned();
        let known = self.memory.files.get(&name).filter(|known| Some(known.state) == state);
        let digest = match known {
            Some(known) => known.blake3.clone(),
            None => {
                let digest = blake3::Hasher::new().update_mmap_rayon(path)?.finalize().to_hex().to_string();
                if let Some(state) = state.filter(|_| is_settled(&metadata)) {
                    self.memory.files.insert(name, Known { state, blake3: digest.clone() });
                    self.is_changed = true;
                }
                digest
            }
        };
        self.seen.insert(path.to_owned(), digest.clone());
        Ok(digest)
    }

    /// Writes the memory, if it has learnt something. It can be made again: a directory that cannot
    /// be written to is no error.
    pub fn save(&mut self) {
        if !self.is_changed {
            return;
        }
        self.memory.files.retain(|path, _| Path::new(path).exists());
        if let Err(error) = file::write_json(&self.path, &self.memory) {
            tracing::debug!("the digests are not remembered: {error}");
        }
        self.is_changed = false;
    }
}

fn is_settled(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > RACY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is old enough to be remembered.
    fn old_file(directory: &Path, content: &str) -> PathBuf {
        let path = directory.join("data.jsonl");
        fs::write(&path, content).unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(hour_ago).unwrap();
        path
    }

    #[test]
    fn digests_are_blake3_of_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_file(directory.path(), "abc");
        let digest = Digests::open(directory.path()).of_file(&path).unwrap();
        // The reference value of BLAKE3 for "abc".
        assert_eq!(digest, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    }

    #[test]
    fn a_remembered_file_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_file(directory.path(), "abc");
        let mut digests = Digests::open(directory.path());
        digests.of_file(&path).unwrap();
        digests.save();
        let memory = fs::read_to_string(directory.path().join("digests.json")).unwrap();
        fs::write(directory.path().join("digests.json"), memory.replace("6437b3ac", "00000000")).unwrap();
        assert!(Digests::open(directory.path()).of_file(&path).unwrap().starts_with("00000000"));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_file(directory.path(), "abc");
        let mut digests = Digests::open(directory.path());
        let before = digests.of_file(&path).unwrap();
        digests.save();
        fs::write(&path, "abd").unwrap();
        assert_ne!(Digests::open(directory.path()).of_file(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_was_just_written_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fresh");
        fs::write(&path, "abc").unwrap();
        let mut digests = Digests::open(directory.path());
        digests.of_file(&path).unwrap();
        digests.save();
        assert!(!directory.path().join("digests.json").exists());
    }

    #[test]
    fn a_damaged_memory_is_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_file(directory.path(), "abc");
        for damage in ["", "{", "{\"format_version\": 99, \"files\": {}}", "[1]"] {
            fs::write(directory.path().join("digests.json"), damage).unwrap();
            let mut digests = Digests::open(directory.path());
            assert!(digests.of_file(&path).unwrap().starts_with("6437"), "{damage}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Digests::open(directory.path()).of_file(&directory.path().join("none")).is_err());
    }
}
