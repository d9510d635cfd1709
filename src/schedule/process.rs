//! A worker process and the threads that listen to it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use super::device::DeviceName;
use super::events::Event;
use crate::store::{RunId, RunRole, Store, StoreError};

/// What reaches the dispatcher's event loop.
#[derive(Debug)]
pub enum Message {
    /// A worker reported.
    Event {
        /// The slot of the worker.
        slot: usize,
        /// Its report.
        event: Event,
    },
    /// A worker's process is gone; nothing more comes from it.
    Exited {
        /// The slot of the worker.
        slot: usize,
        /// How it ended; none where the system could not say.
        status: Option<ExitStatus>,
    },
    /// The user asked to stop.
    Stop,
}

/// What a worker process is started with.
#[derive(Debug)]
pub struct WorkerCommand<'a> {
    /// The program: this same binary.
    pub program: &'a Path,
    /// The store that holds the run.
    pub store: &'a Store,
    /// Student or teacher.
    pub role: RunRole,
    /// The run.
    pub id: &'a RunId,
    /// Where to train.
    pub device: &'a DeviceName,
    /// CPU threads.
    pub threads: usize,
}

/// A running worker. Dropping it closes its standard input, which asks it to stop.
#[derive(Debug)]
pub struct Worker {
    stdin: Option<ChildStdin>,
    child: Arc<Mutex<Child>>,
}

impl Worker {
    /// Starts a worker. Its messages arrive at `messages`, the last one being `Exited`.
    pub fn spawn(
        command: &WorkerCommand<'_>,
        slot: usize,
        messages: Sender<Message>,
    ) -> Result<Self, StoreError> {
        let log_path = command.store.run_dir(command.role, command.id).log_path();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(StoreError::io("write", &log_path))?;
        let role = match command.role {
            RunRole::Student => "student",
            RunRole::Teacher => "teacher",
        };
        let mut process = Command::new(command.program);
        process
            .arg("--store")
            .arg(command.store.root())
            .args(["worker", "--role", role, "--run", &command.id.0])
            .args(["--device", &command.device.to_string()])
            .env("RAYON_NUM_THREADS", command.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        // A process group of its own: Ctrl-C reaches the dispatcher alone, which stops its workers
        // in good order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let mut child = process.spawn().map_err(StoreError::io("start", command.program))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let child = Arc::new(Mutex::new(child));

        let waiting = Arc::clone(&child);
        std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                listen(BufReader::new(stdout), slot, &messages, &log_path);
            }
            let status = waiting.lock().ok().and_then(|mut child| child.wait().ok());
            // The receiver is gone only when the dispatcher is.
            let _ = messages.send(Message::Exited { slot, status });
        });
        Ok(Self { stdin, child })
    }

    /// Asks the worker to stop in good order.
    pub fn stop(&mut self) {
        self.stdin = None;
    }

    /// Ends the worker at once.
    pub fn kill(&mut self) {
        self.stop();
        // The waiting thread holds the lock only after the worker closed its output.
        if let Ok(mut child) = self.child.try_lock() {
            let _ = child.kill();
        }
    }
}

/// Passes on every event, and writes what is no event into the log.
fn listen(mut stdout: impl BufRead, slot: usize, messages: &Sender<Message>, log_path: &PathBuf) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match stdout.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        match Event::from_line(text.trim_end()) {
            Some(event) => {
                if messages.send(Message::Event { slot, event }).is_err() {
                    return;
                }
            }
            None => {
                // Losing chatter harms nothing.
                let log = OpenOptions::new().append(true).open(log_path);
                let _ = log.and_then(|mut log| log.write_all(&line));
            }
        }
    }
}

/// How a process ended, in words.
pub fn describe_exit(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "its worker vanished".to_owned() };
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            9 => "its worker was killed (signal 9): out of memory, or ended by hand".to_owned(),
            11 => "its worker crashed (signal 11, segmentation fault)".to_owned(),
            6 => "its worker aborted (signal 6)".to_owned(),
            other => format!("its worker was ended by signal {other}"),
        };
    }
    match status.code() {
        Some(code) => format!("its worker ended with exit code {code} and no report"),
        None => "its worker ended without a report".to_owned(),
    }
}
