//! The file of a key, or the right to write it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{CacheError, Damage};
use super::format::Header;
use super::lock::{WriteLock, try_write_lock};
use super::reader::SignalFile;
use crate::interrupt::Interrupt;

/// How often a file that another process writes is looked for.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the signal file of a key is.
pub fn path(cache_dir: &Path, key: &str) -> PathBuf {
    cache_dir.join("signals").join(format!("{key}.bin"))
}

/// What became of asking for a file.
#[derive(Debug)]
pub enum Opened {
    /// It is there.
    Ready(Box<SignalFile>),
    /// It is not, or it is damaged, and this process alone may write it.
    Missing(WriteLock),
    /// `stop` was set while another process was writing it.
    Stopped,
}

/// Opens the file at `path` (see [`SignalFile::open`]), or takes the right to write it, or waits until
/// another process that has this right is done with it, or dies, and calls `waiting` meanwhile. A damaged
/// file is named in a warning.
///
/// # Errors
/// Where the lock beside the file cannot be made.
pub fn open(
    path: &Path,
    expected: &Header,
    rows: &[u64],
    stop: &Interrupt,
    waiting: &mut dyn FnMut(),
) -> Result<Opened, CacheError> {
    let mut has_warned = false;
    let mut look = || match SignalFile::open(path, expected, rows) {
        Ok(file) => file,
        Err(damage) => {
            if !std::mem::replace(&mut has_warned, true) {
                tracing::warn!("{damage}; it is made again");
            }
            None
        }
    };
    let mut has_said = false;
    loop {
        if let Some(file) = look() {
            return Ok(Opened::Ready(Box::new(file)));
        }
        if stop.is_asked() {
            return Ok(Opened::Stopped);
        }
        if let Some(lock) = try_write_lock(path)? {
            // Another process may have finished it between our looking and our locking.
            return Ok(look().map_or(Opened::Missing(lock), |file| Opened::Ready(Box::new(file))));
        }
        if !std::mem::replace(&mut has_said, true) {
            tracing::info!("another run is writing {}; waiting for it", path.display());
        }
        waiting();
        std::thread::sleep(PAUSE);
    }
}

impl SignalFile {
    /// Removes a file whose rows turned out to be damaged, unless it was replaced meanwhile.
    pub fn discard(&self, damage: &Damage) {
        tracing::warn!("{damage}; it is removed");
        if self.is_in_place() {
            let _ = std::fs::remove_file(self.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::super::format::tests::header;
    use super::super::writer::Writer;
    use super::*;

    const ROWS: [u64; 2] = [1, 2];

    fn write(path: &Path, lock: WriteLock) {
        let (mut writer, progress) = Writer::open(path, lock, header(2, 3, 1), &ROWS).unwrap();
        assert_eq!(progress.sequences, 0);
        writer.write(0, &[&[1; 4]]).unwrap();
        writer.write(1, &[&[2; 8]]).unwrap();
        writer.finish(None).unwrap();
    }

    #[test]
    fn one_writes_and_the_others_wait_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let target = path(directory.path(), "0123");
        let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let stop = Interrupt::new();
                    let file = loop {
                        match open(&target, &header(2, 3, 1), &ROWS, &stop, &mut || {}).unwrap() {
                            Opened::Ready(file) => break file,
                            Opened::Missing(lock) => {
                                written.fetch_add(1, Ordering::Relaxed);
                                std::thread::sleep(Duration::from_millis(100));
                                write(&target, lock);
                            }
                            Opened::Stopped => unreachable!(),
                        }
                    };
                    let mut rows = [0; 8];
                    file.read(1, &mut [&mut rows]).unwrap();
                    assert_eq!(rows, [2; 8]);
                });
            }
        });
        assert_eq!(written.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn waiting_ends_on_request_and_with_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let target = path(directory.path(), "0123");
        let lock = try_write_lock(&target).unwrap().unwrap();
        let stop = Interrupt::new();
        stop.ask();
        let opened = open(&target, &header(2, 3, 1), &ROWS, &stop, &mut || {}).unwrap();
        assert!(matches!(opened, Opened::Stopped));
        drop(lock);
        let stop = Interrupt::new();
        let opened = open(&target, &header(2, 3, 1), &ROWS, &stop, &mut || {}).unwrap();
        assert!(matches!(opened, Opened::Missing(_)));
    }

    #[test]
    fn a_damaged_file_is_written_again_and_one_found_so_later_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let target = path(directory.path(), "0123");
        let stop = Interrupt::new();
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(&target, "rubbish").unwrap();
        let Opened::Missing(lock) = open(&target, &header(2, 3, 1), &ROWS, &stop, &mut || {}).unwrap() else {
            panic!()
        };
        write(&target, lock);
        let Opened::Ready(file) = open(&target, &header(2, 3, 1), &ROWS, &stop, &mut || {}).unwrap() else {
            panic!()
        };
        file.discard(&Damage { path: target.clone(), reason: "found so".to_owned() });
        assert!(!target.exists());
    }
}
