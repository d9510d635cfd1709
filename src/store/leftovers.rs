//! What a killed process leaves behind: files and directories that were there for a moment only.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StoreError;
use super::file::TEMPORARY;
use super::lease::Clock;

/// Something on the disk that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// A file or a directory.
    pub path: PathBuf,
    /// Bytes of it, or of all files in it.
    pub bytes: u64,
}

impl Leftover {
    /// What is at `path`.
    pub fn at(path: PathBuf) -> Self {
        let bytes = size(&path);
        Self { path, bytes }
    }

    /// Removes it. What is gone already is no error.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn remove(&self) -> Result<(), StoreError> {
        remove(&self.path)
    }
}

/// What was left behind in these directories, those below them left out, and was not changed for so long by
/// the clock of the file server. Those that are not there hold nothing.
///
/// # Errors
/// Where a directory cannot be read.
pub fn leftovers(directories: &[PathBuf], older_than: Duration) -> Result<Vec<Leftover>, StoreError> {
    let mut found = Vec::new();
    for directory in directories {
        let mut clock = Clock::new(directory);
        for entry in temporary_in(directory)? {
            // What is just being made, or just gone, is in use.
            let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            if clock.now().duration_since(changed).unwrap_or_default() > older_than {
                found.push(Leftover::at(entry.path()));
            }
        }
    }
    Ok(found)
}

/// Removes all that was left behind in a directory which is this process's alone. A file that another one
/// makes there to look who has it is taken for that: it makes another.
pub(super) fn clear_away(directory: &Path) -> Result<(), StoreError> {
    temporary_in(directory)?.iter().try_for_each(|entry| remove(&entry.path()))
}

fn temporary_in(directory: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", directory)(error)),
    };
    let entries = listing.collect::<io::Result<Vec<_>>>().map_err(StoreError::io("read", directory))?;
    let is_temporary = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with(TEMPORARY);
    Ok(entries.into_iter().filter(is_temporary).collect())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Bytes of a file, or of all files in a directory; links count for nothing.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| size(&entry.path())).sum()
        }
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_temporary_and_old_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at(".kdx-file"), [0; 10]).unwrap();
        fs::create_dir_all(at(".kdx-model-x/below")).unwrap();
        fs::write(at(".kdx-model-x/below/weights"), [0; 30]).unwrap();
        fs::write(at("run.json"), "{}").unwrap();
        let places = [directory.path().to_owned(), at("not there")];
        assert_eq!(leftovers(&places, Duration::from_secs(60)).unwrap(), []);
        std::thread::sleep(Duration::from_millis(50));
        let mut found = leftovers(&places, Duration::from_millis(10)).unwrap();
        found.sort_by_key(|leftover| leftover.bytes);
        assert_eq!(found.iter().map(|leftover| leftover.bytes).collect::<Vec<_>>(), [10, 30]);
        found.iter().try_for_each(Leftover::remove).unwrap();
        found.iter().try_for_each(Leftover::remove).unwrap();
        assert_eq!(leftovers(&places, Duration::ZERO).unwrap(), []);
        assert!(at("run.json").exists());
        fs::create_dir(at(".kdx-y")).unwrap();
        clear_away(directory.path()).unwrap();
        assert!(!at(".kdx-y").exists() && at("run.json").exists());
    }
}
