//! Who writes a file of the cache.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::CacheError;
use crate::store::{Lease, LeasePlace, LeaseTimes};

/// The right to write a file. Dropping it, or the death of the process, lets it go.
#[derive(Debug)]
pub struct WriteLock {
    lease: Lease,
}

impl WriteLock {
    /// Whether this process still has the right.
    ///
    /// # Errors
    /// Where it stood still for so long that another one took it over.
    pub(super) fn check(&self) -> Result<(), CacheError> {
        Ok(self.lease.check()?)
    }

    /// Removes the lease files themselves, of a target that is not there any more.
    pub(super) fn remove(self) {
        self.lease.remove();
    }
}

/// Takes the right to write `target`, or none where another process has it.
///
/// # Errors
/// Where the lease file beside it cannot be made.
pub fn try_write_lock(target: &Path) -> Result<Option<WriteLock>, CacheError> {
    let directory = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(CacheError::io("create", directory))?;
    let lease = place(target).try_acquire(LeaseTimes::from_env()?)?;
    Ok(lease.map(|lease| WriteLock { lease }))
}

/// Whether a process has the right to write `target`. Takes nothing.
///
/// # Errors
/// Where the directory cannot be read.
pub(super) fn is_being_written(target: &Path) -> Result<bool, CacheError> {
    Ok(place(target).owner()?.is_some())
}

/// The lease of `KEY.bin` is `KEY.lease.N`.
fn place(target: &Path) -> LeasePlace {
    let name = target.with_extension("lease");
    let directory = target.parent().unwrap_or(Path::new("."));
    LeasePlace::new(directory, name.file_name().unwrap_or_default().to_string_lossy())
}

/// The target that a file is about if it is a lease's, or the lock file of an earlier version.
pub(super) fn target_of(path: &Path) -> Option<PathBuf> {
    let extension = path.extension()?.to_str()?;
    if extension == "lock" {
        return Some(path.with_extension("bin"));
    }
    extension.parse::<u64>().ok()?;
    let name = path.with_extension("");
    (name.extension() == Some(OsStr::new("lease"))).then(|| name.with_extension("bin"))
}

/// Whether an open file is still the one at a path.
#[cfg(unix)]
pub(super) fn is_at(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => place(open) == place(there),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
pub(super) fn is_at(_file: &fs::File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_at_a_time_and_nothing_is_left_where_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("signals/ab.bin");
        let first = try_write_lock(&target).unwrap().unwrap();
        assert!(try_write_lock(&target).unwrap().is_none());
        assert!(is_being_written(&target).unwrap());
        let other = directory.path().join("signals/abc.bin");
        assert!(!is_being_written(&other).unwrap());
        assert!(try_write_lock(&other).unwrap().is_some());
        let lease = directory.path().join("signals/ab.lease.1");
        assert_eq!(target_of(&lease), Some(target.clone()));
        assert!(lease.exists());
        first.remove();
        assert!(!lease.exists());
        drop(try_write_lock(&target).unwrap().unwrap());
        assert!(lease.exists() && !is_being_written(&target).unwrap());
        assert_eq!(target_of(&target), None);
        assert_eq!(target_of(&target.with_extension("1")), None);
    }
}
