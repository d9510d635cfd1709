//! Writing files so that a crash at any instant leaves the old content or the new, never a mixture.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::records::FORMAT_VERSION;

/// Replaces `path` by `bytes`: write beside it, flush to the disk, rename.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    let mut file = tempfile::Builder::new()
        .prefix(".kdx-")
        .tempfile_in(directory)
        .map_err(StoreError::io("write", path))?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    // Temporary files are private by default; what a store holds is for everyone who may enter it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = file.as_file().set_permissions(fs::Permissions::from_mode(0o644));
    }
    file.as_file().sync_all().map_err(StoreError::io("write", path))?;
    file.persist(path).map_err(|e| StoreError::Io {
        action: "write",
        path: path.to_owned(),
        source: e.error,
    })?;
    sync_directory(directory)
}

/// Makes a rename or a new name in `directory` outlive a power cut.
pub fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", directory))
}

/// Replaces `path` by `value` as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::Damaged { path: path.to_owned(), reason: e.to_string() })?;
    text.push(b'\n');
    write_atomic(path, &text)
}

/// Reads a JSON file of the store and checks its format version.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read(path).map_err(StoreError::io("read", path))?;
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    #[derive(serde::Deserialize)]
    struct Versioned {
        format_version: u64,
    }
    let version: Versioned = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if version.format_version != u64::from(FORMAT_VERSION) {
        return Err(StoreError::Version {
            path: path.to_owned(),
            found: version.format_version,
            expected: FORMAT_VERSION,
        });
    }
    serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))
}

/// Reads a JSON file that may not be there yet.
pub fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
