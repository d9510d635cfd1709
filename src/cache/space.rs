//! How much a file system still takes.

use std::path::Path;

use super::error::CacheError;

/// Bytes that this user may still write to the file system of a directory, or of the nearest one above
/// it that exists; none where the system does not say.
pub fn free(directory: &Path) -> Option<u64> {
    let existing = directory.ancestors().find(|path| path.exists())?;
    free_at(existing)
}

#[cfg(unix)]
fn free_at(directory: &Path) -> Option<u64> {
    // The empty path is the parent of a relative one.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let status = rustix::fs::statvfs(directory).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(not(unix))]
fn free_at(_directory: &Path) -> Option<u64> {
    None
}

/// Checks that `needed` bytes fit, before hours are spent on computing them.
///
/// # Errors
/// [`CacheError::Full`] where they do not.
pub(super) fn check(path: &Path, needed: u64) -> Result<(), CacheError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    match free(directory) {
        Some(free) if free < needed => Err(full(path, needed)),
        _ => Ok(()),
    }
}

/// Why a file of `needed` bytes was not written.
pub(super) fn full(path: &Path, needed: u64) -> CacheError {
    let free = free(path.parent().unwrap_or(Path::new(".")));
    CacheError::Full { path: path.to_owned(), needed, free }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn more_than_there_is_does_not_fit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/there/yet/file.bin");
        assert!(free(&path).is_some_and(|free| free > 0));
        check(&path, 1).unwrap();
        let error = check(&path, u64::MAX).unwrap_err();
        assert!(matches!(&error, CacheError::Full { free: Some(free), .. } if *free > 0), "{error}");
        assert!(error.to_string().contains("file.bin"), "{error}");
    }
}
