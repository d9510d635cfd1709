//! Writing files so that a crash at any instant leaves the old content or the new, never a mixture.
//!
//! Whatever is written here has the permissions that a file of any other program would have: those that the
//! process's umask, or the directory's default access list, allows.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use super::error::StoreError;
use super::records::FORMAT_VERSION;

/// How the names of all files and directories begin that are there for a moment only.
pub const TEMPORARY: &str = ".kdx-";

/// A file under a name of its own, which is removed when it is dropped.
pub(super) fn temporary(directory: &Path, what: &str) -> io::Result<NamedTempFile> {
    let prefix = format!("{TEMPORARY}{what}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // Private by default; the system takes away from what is asked for here what the umask forbids.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

/// [`temporary`] of a directory.
fn temporary_directory(parent: &Path, what: &str) -> io::Result<TempDir> {
    let prefix = format!("{TEMPORARY}{what}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

/// Replaces the directory `target` by what `fill` writes, flushed to the disk, into the empty one that it is
/// given. The new one is made beside its place, so a crash never leaves it half written; it leaves none where
/// it comes between the removal of the old one and the rename.
///
/// # Errors
/// That of `fill`, after which the old directory is still there; or where the system refuses.
pub fn replace_directory<E: From<StoreError>>(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let building = temporary_directory(parent, &format!("{name}-"))
        .map_err(StoreError::io("create a directory in", parent))?;
    fill(building.path())?;
    sync_directory(building.path())?;
    if target.exists() {
        fs::remove_dir_all(target).map_err(StoreError::io("replace", target))?;
    }
    fs::rename(building.path(), target).map_err(StoreError::io("write", target))?;
    // Not there any more: there is nothing to remove.
    let _ = building.keep();
    sync_directory(parent)?;
    Ok(())
}

/// Replaces `path` by `bytes`: write beside it, flush to the disk, rename.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    // A process that clears a directory away takes what is being written for what was left behind.
    const TRIES: usize = 3;
    let mut tries = 1;
    loop {
        match replace(path, directory, bytes, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => tries += 1,
            result => break result.map_err(StoreError::io("write", path))?,
        }
    }
    sync_directory(directory)
}

fn replace(path: &Path, directory: &Path, bytes: &[u8], is_flushed: bool) -> io::Result<()> {
    let mut file = temporary(directory, "")?;
    file.write_all(bytes)?;
    if is_flushed {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// [`write_json`] of one of many files: a power cut before [`sync_all`] may leave it empty.
pub(super) fn write_json_unflushed<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    replace(path, directory, &json(path, value)?, false).map_err(StoreError::io("write", path))
}

/// Flushes all that was written below `directory`, and whatever else is on the same file system: for many
/// files far cheaper than each by itself.
pub(super) fn sync_all(directory: &Path) -> Result<(), StoreError> {
    let handle = File::open(directory).map_err(StoreError::io("sync", directory))?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&handle).map_err(|error| StoreError::io("sync", directory)(error.into()))?;
    #[cfg(not(target_os = "linux"))]
    handle.sync_all().map_err(StoreError::io("sync", directory))?;
    Ok(())
}

/// Makes a rename or a new name in `directory` outlive a power cut.
pub fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", directory))
}

/// Replaces `path` by `value` as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    write_atomic(path, &json(path, value)?)
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::Damaged { path: path.to_owned(), reason: e.to_string() })?;
    text.push(b'\n');
    Ok(text)
}

/// Reads a JSON file of the store and checks its format version.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    parse_json(path, &fs::read(path).map_err(StoreError::io("read", path))?)
}

/// [`read_json`] of a file that was read.
pub(super) fn parse_json<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    #[derive(serde::Deserialize)]
    struct Versioned {
        format_version: u64,
    }
    let version: Versioned = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
    if !(1..=u64::from(FORMAT_VERSION)).contains(&version.format_version) {
        return Err(StoreError::Version {
            path: path.to_owned(),
            found: version.format_version,
            expected: FORMAT_VERSION,
        });
    }
    serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))
}

/// Reads a JSON file that may not be there yet.
pub fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
