//! Taking a lease.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use super::place::LeasePlace;
use super::record::{Record, holds};
use super::renewal::{Lease, Renewed};
use super::times::LeaseTimes;
use crate::store::error::StoreError;
use crate::store::file::temporary;

impl LeasePlace {
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
            let renewed = Renewed::now();
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
    pub(super) fn create(&self, generation: u64, record: &Record) -> Result<bool, StoreError> {
        let path = self.path(generation);
        let text = serde_json::to_vec(record)
            .map_err(|error| StoreError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let written = temporary(&self.directory, "lease-").and_then(|mut file| {
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
