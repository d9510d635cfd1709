//! Who writes a file of the cache.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::error::CacheError;

/// The right to write a file. Dropping it, or the death of the process, lets it go.
#[derive(Debug)]
pub struct WriteLock {
    _file: File,
    path: PathBuf,
}

impl WriteLock {
    /// Removes the lock file itself. Only the holder may: another process that has it open and waits
    /// finds that it is no longer there, and takes a new one.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes the right to write `target`, or none where another process has it.
///
/// # Errors
/// Where the lock file beside it cannot be made.
pub fn try_write_lock(target: &Path) -> Result<Option<WriteLock>, CacheError> {
    let path = target.with_extension("lock");
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(CacheError::io("create", directory))?;
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(CacheError::io("lock", &path))?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok(Some(WriteLock { _file: file, path })),
            // Its holder removed it between our opening and locking it: nobody else would see our lock.
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(CacheError::io("lock", &path)(error)),
        }
    }
}

/// Whether an open file is still the one at a path.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => place(open) == place(there),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
pub(super) fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_at_a_time_and_a_removed_lock_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("signals/ab.bin");
        let first = try_write_lock(&target).unwrap().unwrap();
        assert!(try_write_lock(&target).unwrap().is_none());
        let stale = File::open(target.with_extension("lock")).unwrap();
        first.remove();
        assert!(!is_at(&stale, &target.with_extension("lock")));
        let second = try_write_lock(&target).unwrap().unwrap();
        assert!(try_write_lock(&target).unwrap().is_none());
        drop(second);
        assert!(try_write_lock(&target).unwrap().is_some());
    }
}
