//! Who may write in a place that several processes share, on one machine or over a shared file system.
//!
//! A lease is a row of files `NAME.N`; the highest number N that is there, its generation, is the owner's.
//!
//! - **Taking.** Where the highest generation is free (its file is empty) or its owner is gone, a file with the
//!   next number is written under another name and linked into place: a link is made once, over NFS too. Then
//!   everything is looked at again: where a higher number is there now, or the owner before has come back,
//!   the new file is removed and nothing is taken. Otherwise the lower ones are removed.
//! - **Letting go.** The owner empties its file and leaves it there. So the highest number never goes down
//!   while the directory lives, and who acts on an old view of it, in which an earlier generation was free,
//!   makes a file that exists already, or one below the owner's, and finds so when it looks again.
//! - **Staying.** The owner writes a byte of its file over and over, so that the file server's time of its
//!   last change moves. It looks for a higher generation after each such write, as who takes over looks for
//!   such a write after making its file: one of the two sees the other.
//! - **Being gone.** An owner of this machine whose process is not there is gone at once. Any other is gone
//!   once its file was not changed for the lease's length, by the clock of the file server: a file made just
//!   now in the same directory says what time it is there. So the clocks of machines need not agree, but
//!   where a file system takes the time from its clients, as Lustre does.
//! - **Fencing.** An owner that was stopped for long finds out before it writes: see [`Lease::check`].
//!
//! Files are opened before they are asked for their size and time: NFS answers from a cache otherwise.
//! `flock` takes no part in this: over a network it may hold on one machine alone, or not at all.

mod clock;
mod process;
mod renewal;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub(super) use clock::Clock;
pub use renewal::Lease;

use super::error::StoreError;
use super::records::FORMAT_VERSION;
use process::Process;

/// The environment variable that sets the length of leases, in seconds.
pub const SECONDS: &str = "KDX_LEASE_SECONDS";

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaseTimes {
    /// Time without a sign of life after which an owner counts as gone. It gives one every quarter of it.
    pub length: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { length: Duration::from_secs(60) }
    }
}

impl LeaseTimes {
    /// The default, or what `KDX_LEASE_SECONDS` says.
    ///
    /// # Errors
    /// Where it says something that is no number of seconds from 0.1 to a day.
    pub fn from_env() -> Result<Self, StoreError> {
        let Some(found) = std::env::var_os(SECONDS) else { return Ok(Self::default()) };
        let seconds = found.to_str().and_then(|text| text.trim().parse::<f64>().ok());
        match seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds)) {
            Some(seconds) => Ok(Self { length: Duration::from_secs_f64(seconds) }),
            None => Err(StoreError::LeaseSeconds { found: found.to_string_lossy().into_owned() }),
        }
    }

    fn renewal(self) -> Duration {
        self.length / 4
    }

    /// How long a renewal is believed without looking.
    fn trust(self) -> Duration {
        self.length / 2
    }
}

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
struct Record {
    format_version: u32,
    /// Unlike that of any other file.
    nonce: String,
    host: String,
    #[serde(flatten)]
    process: Process,
    /// The owner's lease.
    seconds: f64,
}

impl Record {
    fn new(times: LeaseTimes) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            nonce: process::nonce(),
            host: process::host(),
            process: Process::this(),
            seconds: times.length.as_secs_f64(),
        }
    }

    fn owner(&self) -> Owner {
        Owner { host: self.host.clone(), pid: Some(self.process.pid) }
    }
}

/// What a lease file says.
enum Claim {
    /// The file is not there any more.
    Gone,
    /// Nobody's, or that of an owner that is gone.
    Free,
    Held(Owner),
}

/// Where the files of a lease are: `DIRECTORY/NAME.N`.
#[derive(Debug, Clone)]
pub struct LeasePlace {
    directory: PathBuf,
    name: String,
}

impl LeasePlace {
    /// A lease of this name in a directory, there or not.
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { directory: directory.into(), name: name.into() }
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{}.{generation}", self.name))
    }

    /// The generations that are there, the highest first.
    fn generations(&self) -> Result<Vec<u64>, StoreError> {
        let failed = || StoreError::io("read", &self.directory);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&self.name)?.strip_prefix('.'));
            found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// Who holds the lease; none where nobody does. Takes nothing.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn owner(&self) -> Result<Option<Owner>, StoreError> {
        let generations = match self.generations() {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        self.holder(&generations, LeaseTimes::from_env()?)
    }

    /// The owner of the highest of these that is held.
    fn holder(&self, generations: &[u64], times: LeaseTimes) -> Result<Option<Owner>, StoreError> {
        let mut clock = Clock::new(&self.directory);
        for &generation in generations {
            if let Claim::Held(owner) = self.claim(generation, times, &mut clock)? {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    fn claim(&self, generation: u64, times: LeaseTimes, clock: &mut Clock) -> Result<Claim, StoreError> {
        let path = self.path(generation);
        let Some((content, changed)) = read(&path).map_err(StoreError::io("read", &path))? else {
            return Ok(Claim::Gone);
        };
        if content.is_empty() {
            return Ok(Claim::Free);
        }
        let record = decode(&content);
        if record.as_ref().is_some_and(|record| record.process.is_gone()) {
            return Ok(Claim::Free);
        }
        // Of what cannot be read only the age is known.
        let length = record.as_ref().and_then(|record| Duration::try_from_secs_f64(record.seconds).ok());
        let age = clock.now().duration_since(changed).unwrap_or_default();
        if age > length.unwrap_or(times.length) {
            return Ok(Claim::Free);
        }
        let unknown = || Owner { host: "an unknown process".to_owned(), pid: None };
        Ok(Claim::Held(record.map_or_else(unknown, |record| record.owner())))
    }

    /// Takes the lease; none where another holds it, or was faster.
    ///
    /// # Errors
    /// Where the directory cannot be read or written.
    pub fn try_acquire(&self, times: LeaseTimes) -> Result<Option<Lease>, StoreError> {
        // Each further turn means that another process took or removed a file meanwhile.
        const TURNS: usize = 16;
        for _ in 0..TURNS {
            let generations = self.generations()?;
            if self.holder(&generations, times)?.is_some() {
                return Ok(None);
            }
            let generation = generations.first().map_or(1, |highest| highest.saturating_add(1));
            let record = Record::new(times);
            let renewed = renewal::Renewed::now();
            if !self.create(generation, &record)? {
                continue;
            }
            let path = self.path(generation);
            let now_there = self.generations()?;
            let is_highest = now_there.first() == Some(&generation);
            let others: Vec<u64> = now_there.into_iter().filter(|&other| other != generation).collect();
            if !is_highest || self.holder(&others, times)?.is_some() {
                let _ = fs::remove_file(path);
                return Ok(None);
            }
            for other in others {
                // One that stays is lower, and so is nobody's.
                let _ = fs::remove_file(self.path(other));
            }
            return Ok(Some(Lease::start(self.clone(), generation, record.nonce, times, renewed)));
        }
        Ok(None)
    }

    /// Makes the file of a generation; false where it is there.
    fn create(&self, generation: u64, record: &Record) -> Result<bool, StoreError> {
        let path = self.path(generation);
        let text = serde_json::to_vec(record)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let written = super::file::temporary(&self.directory, "lease-").and_then(|mut file| {
            file.write_all(&text)?;
            // Closed before it is linked: over NFS the content is at the server then.
            Ok(file.into_temp_path())
        });
        let written = written.map_err(StoreError::io("write", &path))?;
        match fs::hard_link(&written, &path) {
            Ok(()) => Ok(true),
            // Over NFS the answer to a link that was made may be lost, and the question asked again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(holds(&path, &record.nonce).unwrap_or(false))
            }
            // A holder that clears away what is left behind took it for that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // No links here. Until it is filled the file looks free: who takes the next generation for
            // that looks again, and so do we.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let filled = file.write_all(&text).and_then(|()| file.sync_data());
                    filled.map(|()| true).map_err(|error| {
                        let _ = fs::remove_file(&path);
                        StoreError::io("write", &path)(error)
                    })
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(StoreError::io("write", &path)(error)),
            },
        }
    }
}

/// A file's content and the time of its last change, as the file server has them now; none where it is not
/// there any more.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
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

fn decode(content: &[u8]) -> Option<Record> {
    let record: Record = serde_json::from_slice(content).ok()?;
    (1..=FORMAT_VERSION).contains(&record.format_version).then_some(record)
}

/// Whether the file at `path` is the one with this nonce.
fn holds(path: &Path, nonce: &str) -> io::Result<bool> {
    let found = read(path)?;
    Ok(found.and_then(|(content, _)| decode(&content)).is_some_and(|record| record.nonce == nonce))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}
