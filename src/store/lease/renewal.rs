//! A lease that is held: renewed from a thread of its own, asked before every write, let go when dropped.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::place::LeasePlace;
use super::record::{decode, holds, is_gone, read};
use super::times::LeaseTimes;
use crate::store::error::StoreError;
use crate::thread_log::carried;

/// The right to write in a place, until it is dropped, or lost.
///
/// It is lost where its process, or its way to the file server, stood still for longer than the lease, and
/// another process took the place over.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Held>,
    /// Ends the thread when it is dropped.
    stop: Option<Sender<()>>,
}

/// When a lease was last renewed, by two clocks: one goes on evenly, but may stand still while the machine
/// sleeps; the other does not, but may be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewed(Instant, SystemTime);

impl Renewed {
    pub(super) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn is_younger_than(self, time: Duration) -> bool {
        self.0.elapsed() < time && self.1.elapsed().is_ok_and(|elapsed| elapsed < time)
    }
}

#[derive(Debug, Clone)]
enum Standing {
    Held(Renewed),
    /// With who has it now, in words.
    Lost(String),
}

#[derive(Debug)]
struct Held {
    place: LeasePlace,
    generation: u64,
    nonce: String,
    times: LeaseTimes,
    standing: Mutex<Standing>,
    /// Taken by who works on the file: no renewal comes after the release.
    file: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    /// Begins to renew a lease that was taken.
    pub(super) fn start(
        place: LeasePlace,
        generation: u64,
        nonce: String,
        times: LeaseTimes,
        renewed: Renewed,
    ) -> Self {
        let (standing, file) = (Mutex::new(Standing::Held(renewed)), Mutex::new(()));
        let held = Arc::new(Held { place, generation, nonce, times, standing, file });
        let (stop, stopped) = mpsc::channel();
        let renewed = Arc::clone(&held);
        let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(carried(move || {
            while stopped.recv_timeout(renewed.times.renewal()) == Err(RecvTimeoutError::Timeout) {
                if !renewed.renew_and_say() {
                    return;
                }
            }
        }));
        if let Err(error) = thread {
            // `check` renews a lease that nobody renews.
            tracing::warn!("no thread to renew the lease of {}: {error}", held.place.directory.display());
        }
        Self { held, stop: Some(stop) }
    }

    /// Where the lease is.
    pub fn directory(&self) -> &Path {
        &self.held.place.directory
    }

    /// Whether the lease is still this process's: to be asked before anything is written. Costs nothing
    /// where it was renewed not long ago, and asks the file server otherwise.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] where it is not; or where the file server does not answer.
    pub fn check(&self) -> Result<(), StoreError> {
        self.held.check()
    }

    /// Whether [`Lease::check`] finds nothing wrong.
    pub fn is_ours(&self) -> bool {
        self.check().is_ok()
    }

    /// As if the process stood still: nothing renews the lease any more.
    #[cfg(test)]
    pub(super) fn pause(&mut self) {
        self.stop = None;
        // A renewal that had begun is over.
        drop(lock(&self.held.file));
    }

    /// As if the last renewal were long ago.
    #[cfg(test)]
    pub(in crate::store) fn distrust(&self) {
        *lock(&self.held.standing) = Standing::Held(Renewed(Instant::now(), SystemTime::UNIX_EPOCH));
    }

    /// Lets the lease go and removes its files, where nothing is left that they could be about.
    pub fn remove(mut self) {
        self.stop = None;
        let _file = lock(&self.held.file);
        let path = self.held.path();
        if holds(&path, &self.held.nonce).unwrap_or(false) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop = None;
        let _file = lock(&self.held.file);
        self.held.release();
    }
}

impl Held {
    fn path(&self) -> PathBuf {
        self.place.path(self.generation)
    }

    fn check(&self) -> Result<(), StoreError> {
        if let Some(answer) = self.known() {
            return answer;
        }
        let _file = lock(&self.file);
        if let Some(answer) = self.known() {
            return answer;
        }
        self.renew()?;
        self.known().unwrap_or(Ok(()))
    }

    /// What is known without asking the file server.
    fn known(&self) -> Option<Result<(), StoreError>> {
        match &*lock(&self.standing) {
            Standing::Held(renewed) => renewed.is_younger_than(self.times.trust()).then_some(Ok(())),
            Standing::Lost(owner) => {
                Some(Err(StoreError::LeaseLost { path: self.place.directory.clone(), owner: owner.clone() }))
            }
        }
    }

    /// Renews the lease from the thread; false where it is lost. A file server that does not answer may
    /// answer the next time.
    fn renew_and_say(&self) -> bool {
        let _file = lock(&self.file);
        let directory = self.place.directory.display();
        if let Err(error) = self.renew() {
            tracing::warn!("the lease of {directory} could not be renewed: {error}");
        }
        match &*lock(&self.standing) {
            Standing::Held(_) => true,
            Standing::Lost(owner) => {
                tracing::warn!("the lease of {directory} is lost to {owner}");
                false
            }
        }
    }

    /// Gives a sign of life, and then looks for a higher generation: who makes one looks for a sign of life
    /// after that, so at most one of the two goes on.
    fn renew(&self) -> Result<(), StoreError> {
        if matches!(*lock(&self.standing), Standing::Lost(_)) {
            return Ok(());
        }
        let renewed = Renewed::now();
        let path = self.path();
        let is_there = self.touch(&path).map_err(StoreError::io("write", &path))?;
        let generations = match self.place.generations() {
            // The directory was removed.
            Err(StoreError::Io { source, .. }) if is_gone(&source) => Vec::new(),
            other => other?,
        };
        let highest = generations.first().copied().filter(|&highest| highest > self.generation);
        *lock(&self.standing) = match highest {
            None if is_there => Standing::Held(renewed),
            other => Standing::Lost(self.successor(other)),
        };
        Ok(())
    }

    /// Writes the first byte of the lease file again; false where the file is gone, or another's.
    fn touch(&self, path: &Path) -> io::Result<bool> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if decode(&content).is_none_or(|record| record.nonce != self.nonce) {
            return Ok(false);
        }
        write_first(&mut file, &content[..1])?;
        file.sync_data()?;
        Ok(true)
    }

    /// Who has the place now, in words.
    fn successor(&self, generation: Option<u64>) -> String {
        let generation = generation.unwrap_or(self.generation);
        let found = read(&self.place.path(generation)).ok().flatten();
        match found.and_then(|(content, _)| decode(&content)) {
            Some(record) => record.owner().to_string(),
            None => "another process, which is done with it".to_owned(),
        }
    }

    fn release(&self) {
        let is_held = matches!(*lock(&self.standing), Standing::Held(_));
        let path = self.path();
        // Gone, or of another, where the lease was lost without our knowing.
        if !holds(&path, &self.nonce).unwrap_or(false) {
            return;
        }
        let released = if is_held {
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0))
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = released {
            tracing::warn!("{} stays until it expires: {error}", path.display());
        }
    }
}

#[cfg(unix)]
fn write_first(file: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn write_first(file: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek, Write};
    file.rewind()?;
    file.write_all(bytes)
}
