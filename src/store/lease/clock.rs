//! What time it is at the file server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The clock by which the files of a directory get their times.
#[derive(Debug)]
pub struct Clock {
    directory: PathBuf,
    /// Asked once, when it is first needed.
    read: Option<(SystemTime, Instant)>,
}

impl Clock {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), read: None }
    }

    /// The time now. Where nothing can be written, as where a store may only be read, this machine's.
    pub fn now(&mut self) -> SystemTime {
        let (time, asked) = *self.read.get_or_insert_with(|| {
            (probe(&self.directory).unwrap_or_else(|_| SystemTime::now()), Instant::now())
        });
        time + asked.elapsed()
    }
}

/// The time that a file has which is made now.
fn probe(directory: &Path) -> std::io::Result<SystemTime> {
    let mut file = crate::store::file::temporary(directory, "probe-")?;
    // On a full disk its making has set the time.
    let _ = file.write_all(b"?");
    file.as_file().metadata()?.modified()
}
