//! Where a lease is, and who holds it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::clock::Clock;
use super::record::{Owner, decode, read};
use super::times::LeaseTimes;
use crate::store::error::StoreError;

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
    pub(super) directory: PathBuf,
    name: String,
}

impl LeasePlace {
    /// A lease of this name in a directory, there or not.
    pub fn new(directory: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self { directory: directory.into(), name: name.into() }
    }

    pub(super) fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{}.{generation}", self.name))
    }

    /// The generations that are there, the highest first.
    pub(super) fn generations(&self) -> Result<Vec<u64>, StoreError> {
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
    pub(super) fn holder(&self, generations: &[u64], times: LeaseTimes) -> Result<Option<Owner>, StoreError> {
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
}
