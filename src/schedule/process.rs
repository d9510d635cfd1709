//! Workers: each in a process of its own, or beside others in one of several runs. And the threads that listen
//! to them.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::device::DeviceName;
use super::events::Event;
use super::failure::Exit;
use super::host::{Guest, Host};
use crate::spec::RunId;
use crate::store::{Store, StoreError};

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
    /// A worker is gone; nothing more comes from it.
    Exited {
        /// The slot of the worker.
        slot: usize,
        /// How it ended.
        exit: Exit,
    },
    /// The user asked to stop.
    Stop,
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

/// A running worker. Dropping one that has a process of its own closes its standard input, which asks it to stop.
#[derive(Debug)]
pub struct Worker(Place);

#[derive(Debug)]
enum Place {
    Process { stdin: Option<ChildStdin>, child: Arc<Mutex<Child>> },
    Host(Guest),
}

/// Starts workers.
#[derive(Debug)]
pub struct Workers {
    messages: Sender<Message>,
    /// The processes of several runs, by their devices.
    hosts: HashMap<DeviceName, Arc<Host>>,
}

impl Workers {
    /// Those whose messages arrive at `messages`, the last one of each being `Exited`.
    pub fn new(messages: Sender<Message>) -> Self {
        Self { messages, hosts: HashMap::new() }
    }

    /// Starts a worker in a process of its own. What a process of several runs that are over keeps of the
    /// device is given back first.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start_alone(&mut self, command: &WorkerCommand<'_>, slot: usize) -> Result<Worker, StoreError> {
        self.hosts.remove(command.device);
        Worker::spawn(command, slot, self.messages.clone())
    }

    /// Starts a worker in the process of its device's runs, which is begun where there is none.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start_in_host(&mut self, command: &WorkerCommand<'_>, slot: usize) -> Result<Worker, StoreError> {
        loop {
            let host = match self.hosts.get(command.device) {
                Some(host) => Arc::clone(host),
                None => {
                    let host = Arc::new(Host::spawn(command, self.messages.clone())?);
                    self.hosts.insert(command.device.clone(), Arc::clone(&host));
                    host
                }
            };
            if let Some(guest) = host.take_in(command, slot) {
                return Ok(Worker(Place::Host(guest)));
            }
            self.hosts.remove(command.device);
        }
    }
}

/// `kdx worker` for the device of a command.
pub(super) fn worker_process(command: &WorkerCommand<'_>) -> Command {
    let mut process = Command::new(command.program);
    process
        .arg("--store")
        .arg(command.store.root())
        .args(["worker", "--device", &command.device.to_string()])
        .env("RAYON_NUM_THREADS", command.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // A process group of its own: Ctrl-C reaches the dispatcher alone, which stops its workers
    // in good order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    process
}

impl Worker {
    fn spawn(
        command: &WorkerCommand<'_>,
        slot: usize,
        messages: Sender<Message>,
    ) -> Result<Self, StoreError> {
        let log_path = command.store.run_dir(command.id).log_path();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(StoreError::io("write", &log_path))?;
        let mut process = worker_process(command);
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
                each_line(BufReader::new(stdout), |line| listen(line, slot, &messages, &log_path));
            }
            let exit = Exit::Process(wait(&waiting));
            // The receiver is gone only when the dispatcher is.
            let _ = messages.send(Message::Exited { slot, exit });
        });
        Ok(Self(Place::Process { stdin, child }))
    }

    /// Asks the worker to stop in good order.
    pub fn stop(&mut self) {
        match &mut self.0 {
            Place::Process { stdin, .. } => *stdin = None,
            Place::Host(guest) => guest.stop(),
        }
    }

    /// Ends the worker at once; with it all others of its process.
    pub fn kill(&mut self) {
        match &mut self.0 {
            Place::Process { stdin, child } => {
                *stdin = None;
                if let Ok(mut child) = child.lock() {
                    let _ = child.kill();
                }
            }
            Place::Host(guest) => guest.kill(),
        }
    }
}

/// Time between two looks at a process that has closed its output and so is about to end.
pub(super) const ENDING: Duration = Duration::from_millis(2);

/// Waits for a process to end, without keeping others from ending it.
pub(super) fn wait(child: &Mutex<Child>) -> Option<ExitStatus> {
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
pub(super) fn each_line(mut from: impl BufRead, mut take: impl FnMut(&[u8]) -> bool) {
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
fn listen(line: &[u8], slot: usize, messages: &Sender<Message>, log_path: &Path) -> bool {
    match Event::from_line(String::from_utf8_lossy(line).trim_end()) {
        Some(event) => messages.send(Message::Event { slot, event }).is_ok(),
        None => {
            // Losing chatter harms nothing.
            let log = OpenOptions::new().append(true).open(log_path);
            let _ = log.and_then(|mut log| log.write_all(line));
            true
        }
    }
}
