//! Worker processes: how one is started and ended, and the threads that listen to it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::schedule::device::DeviceName;
use crate::schedule::events::Event;
use crate::schedule::executor::{Handle, Message, Stop};
use crate::schedule::failure::Exit;
use crate::spec::RunId;
use crate::store::{Store, StoreError};

/// What a worker says, by its attempt. The last of each is `Exited`.
#[derive(Debug)]
pub enum WorkerMessage {
    /// It reported.
    Event(Handle, Event),
    /// It is gone.
    Exited(Handle, Exit),
}

/// Where threads that listen to workers put what they hear.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Read by the executor when it is polled.
    pub messages: Sender<WorkerMessage>,
    /// Read by the dispatcher.
    pub wake: Sender<Message>,
}

impl Outbox {
    /// Leaves a message and wakes the dispatcher. False where nobody reads any more.
    pub fn send(&self, message: WorkerMessage) -> bool {
        self.messages.send(message).is_ok() && self.wake.send(Message::News).is_ok()
    }
}

/// What a worker is started with.
#[derive(Debug, Clone, Copy)]
pub struct WorkerCommand<'a> {
    /// The program: this same binary.
    pub program: &'a Path,
    /// The store that holds the run.
    pub store: &'a Store,
    /// The run.
    pub id: &'a RunId,
    /// Where to train.
    pub device: &'a DeviceName,
    /// CPU threads.
    pub threads: usize,
    /// The step at which the run pauses; none to train it to its end.
    pub until: Option<u64>,
}

impl WorkerCommand<'_> {
    /// `kdx worker` for the device; the rest of its arguments is the caller's.
    pub fn build_process(&self) -> Command {
        let mut process = Command::new(self.program);
        process
            .arg("--store")
            .arg(self.store.root())
            .args(["worker", "--device", &self.device.to_string()])
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A process group of its own: Ctrl-C reaches the dispatcher alone, which stops its workers
        // in good order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        process
    }
}

/// The process of one run. Dropping it closes its standard input, which asks it to stop.
#[derive(Debug)]
pub struct WorkerProcess {
    stdin: Option<ChildStdin>,
    child: Arc<Mutex<Child>>,
}

impl WorkerProcess {
    /// Starts it, and the thread that listens to it.
    ///
    /// # Errors
    /// Where the run's log cannot be opened, or the process not be started.
    pub fn spawn(command: &WorkerCommand<'_>, attempt: Handle, outbox: Outbox) -> Result<Self, StoreError> {
        let log_path = command.store.run_dir(command.id).log_path();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(StoreError::io("write", &log_path))?;
        let mut process = command.build_process();
        process
            .args(["--run", &command.id.0])
            .args(command.until.map(|step| format!("--until={step}")))
            .stderr(log);
        let mut child = process.spawn().map_err(StoreError::io("start", command.program))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let child = Arc::new(Mutex::new(child));

        let waiting = Arc::clone(&child);
        std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                read_lines(BufReader::new(stdout), |line| listen(line, attempt, &outbox, &log_path));
            }
            let exit = Exit::Process(wait(&waiting));
            // Nobody reads it only when the sweep is over.
            let _ = outbox.send(WorkerMessage::Exited(attempt, exit));
        });
        Ok(Self { stdin, child })
    }

    /// Asks it to stop, or ends it.
    pub fn stop(&mut self, how: Stop) {
        self.stdin = None;
        if how == Stop::AtOnce
            && let Ok(mut child) = self.child.lock()
        {
            let _ = child.kill();
        }
    }
}

/// Time between two looks at a process that has closed its output and so is about to end.
pub const ENDING: Duration = Duration::from_millis(2);

/// Waits for a process to end, without keeping others from ending it.
pub fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
    loop {
        if let Some(status) = child.lock().ok()?.try_wait().ok()? {
            return Some(status);
        }
        std::thread::sleep(ENDING);
    }
}

/// Longest line that is taken in as one.
const LONGEST_LINE: u64 = 1 << 20;

/// Hands on every line with its end, until `take` has had enough.
pub fn read_lines(mut from: impl BufRead, mut take: impl FnMut(&[u8]) -> bool) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if !take(&line) => return,
            Ok(_) => {}
        }
    }
}

/// Passes on an event, and writes what is no event into the log. False where nobody listens.
fn listen(line: &[u8], attempt: Handle, outbox: &Outbox, log_path: &Path) -> bool {
    match Event::from_line(String::from_utf8_lossy(line).trim_end()) {
        Some(event) => outbox.send(WorkerMessage::Event(attempt, event)),
        None => {
            // Losing chatter harms nothing.
            let log = OpenOptions::new().append(true).open(log_path);
            let _ = log.and_then(|mut log| log.write_all(line));
            true
        }
    }
}
