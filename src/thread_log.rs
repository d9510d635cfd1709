//! Logs of threads: where several runs share a process, each has its own.
//!
//! A process has one standard error. A thread that does something for a run enters the run's log, and the
//! threads that it starts carry it on; what is traced and what a panic says there goes into that file. All
//! other threads write to standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

thread_local! {
    static LOG: RefCell<Option<ThreadLog>> = const { RefCell::new(None) };
}

/// A file that takes what some threads of this process have to say.
#[derive(Debug, Clone)]
pub struct ThreadLog(Arc<File>);

impl ThreadLog {
    /// Goes on with the log at `path`.
    ///
    /// # Errors
    /// Where it can be neither opened nor made.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// The log of this thread.
    pub fn current() -> Option<Self> {
        // A thread that is about to end has none any more.
        LOG.try_with(|log| log.borrow().clone()).ok().flatten()
    }

    /// Makes it the log of this thread, or none.
    pub fn enter(log: Option<Self>) {
        LOG.with_borrow_mut(|current| *current = log);
    }
}

/// Work for another thread, which writes to the log of this one.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let log = ThreadLog::current();
    move || {
        ThreadLog::enter(log);
        work()
    }
}

/// Writes to the log of the thread that uses it.
#[derive(Debug)]
pub struct Writer(Option<ThreadLog>);

/// A writer for this thread.
pub fn writer() -> Writer {
    Writer(ThreadLog::current())
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(ThreadLog(file)) => (&**file).write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.0 {
            Some(ThreadLog(file)) => (&**file).flush(),
            None => io::stderr().flush(),
        }
    }
}

/// From now on what a panic says goes to the log of the thread that panics.
pub fn take_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if ThreadLog::current().is_none() {
            return before(panic);
        }
        let thread = std::thread::current();
        let mut text = format!("thread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text += &format!("stack backtrace:\n{trace}\n");
        }
        // There is nowhere else to say it.
        let _ = writer().write_all(text.as_bytes());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_writes_to_its_own_log_and_so_do_those_that_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        std::thread::scope(|scope| {
            for path in &paths {
                scope.spawn(|| {
                    ThreadLog::enter(Some(ThreadLog::open(path).unwrap()));
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    writeln!(writer(), "{name}").unwrap();
                    std::thread::spawn(carried(move || writeln!(writer(), "of {name}")))
                        .join()
                        .unwrap()
                        .unwrap();
                });
            }
        });
        assert!(ThreadLog::current().is_none());
        let [a, b] = paths.map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!((a.as_str(), b.as_str()), ("a\nof a\n", "b\nof b\n"));
    }
}
