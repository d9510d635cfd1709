//! A worker process and the threads that listen to it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    /// The step at which the run pauses; none to train it to its end.
    pub until: Option<u64>,
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
        let mut process = Command::new(command.program);
        process
            .arg("--store")
            .arg(command.store.root())
            .args(["worker", "--role", command.role.as_str(), "--run", &command.id.0])
            .args(["--device", &command.device.to_string()])
            .args(command.until.map(|step| format!("--until={step}")))
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
            let status = wait(&waiting);
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
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
        }
    }
}

/// Time between two looks at a process that has closed its output and so is about to end.
const ENDING: Duration = Duration::from_millis(2);

/// Waits for a process to end, without keeping others from ending it.
fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.lock().ok()?.try_wait().ok()? {
            return Some(status);
        }
        std::thread::sleep(ENDING);
    }
}

/// Longest line that is taken in as one.
const LONGEST_LINE: u64 = 1 << 20;

/// Passes on every event, and writes what is no event into the log.
fn listen(mut stdout: impl BufRead, slot: usize, messages: &Sender<Message>, log_path: &PathBuf) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stdout).take(LONGEST_LINE).read_until(b'\n', &mut line) {
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
