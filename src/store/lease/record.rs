//! What a lease file holds, and how it is read over a network.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::process::{self, Process};
use super::times::LeaseTimes;
use crate::store::records::FORMAT_VERSION;

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The machine.
    pub host: String,
    /// The process there; none where the file cannot be read.
    pub pid: Option<u32>,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{}, process {pid}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// What a lease file of an owner holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) format_version: u32,
    /// Unlike that of any other file.
    pub(super) nonce: String,
    pub(super) host: String,
    #[serde(flatten)]
    pub(super) process: Process,
    /// The owner's lease.
    pub(super) seconds: f64,
}

impl Record {
    pub(super) fn new(times: LeaseTimes) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            nonce: process::nonce(),
            host: process::host(),
            process: Process::this(),
            seconds: times.length.as_secs_f64(),
        }
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { host: self.host.clone(), pid: Some(self.process.pid) }
    }
}

/// A file's content and the time of its last change, as the file server has them now; none where it is not
/// there any more.
pub(super) fn read(path: &Path) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
    let read = File::open(path).and_then(|mut file| {
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((content, file.metadata()?.modified()?))
    });
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a lease file says; none where it is not one, or is of another version.
pub(super) fn decode(content: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(content).ok()?;
    (1..=FORMAT_VERSION).contains(&record.format_version).then_some(record)
}

/// Whether the file at `path` is the one with this nonce.
pub(super) fn holds(path: &Path, nonce: &str) -> io::Result<bool> {
    let found = read(path)?;
    Ok(found.and_then(|(content, _)| decode(&content)).is_some_and(|record| record.nonce == nonce))
}

/// Whether a file is not there any more, over NFS too.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}
