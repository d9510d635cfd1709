//! The dispatcher's side of a process that the runs of a device share.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::process::{ENDING, Outbox, WorkerCommand, WorkerMessage, read_lines, wait};
use crate::schedule::executor::{Handle, Stop};
use crate::schedule::failure::Exit;
use crate::schedule::shared_process::protocol::{Report, Request, lock, to_line};
use crate::store::StoreError;

/// A process that trains several runs of one device. Dropping it closes its standard input and waits for its
/// end.
#[derive(Debug)]
pub struct SharedProcess {
    stdin: Mutex<Option<ChildStdin>>,
    child: Arc<Mutex<Child>>,
    runs: Arc<Mutex<Runs>>,
}

/// A run in a shared process.
#[derive(Debug)]
pub struct RunThread {
    process: Arc<SharedProcess>,
    number: u64,
}

/// The runs of a shared process, by their numbers there.
#[derive(Debug, Default)]
struct Runs {
    running: BTreeMap<u64, Run>,
    /// How many there have been.
    count: u64,
    /// Whether it takes no more: it is about to end, or gone.
    is_closed: bool,
}

#[derive(Debug)]
struct Run {
    attempt: Handle,
    log: PathBuf,
}

impl SharedProcess {
    /// Starts a process for runs like that of `command`, and the threads that listen to it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(command: &WorkerCommand<'_>, outbox: Outbox) -> Result<Self, StoreError> {
        let mut process = command.build_process();
        process.arg("--shared").stderr(Stdio::piped());
        let mut child = process.spawn().map_err(StoreError::io("start", command.program))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        let runs = Arc::new(Mutex::new(Runs::default()));
        let logs = Arc::clone(&runs);
        let chatter = std::thread::spawn(move || {
            if let Some(stderr) = stderr {
                read_lines(BufReader::new(stderr), |line| log_to_all(&logs, line));
            }
        });
        let (waiting, known) = (Arc::clone(&child), Arc::clone(&runs));
        std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                read_lines(BufReader::new(stdout), |line| pass_on(line, &known, &outbox));
            }
            // What it said last tells why it ended.
            let _ = chatter.join();
            let status = wait(&waiting);
            let mut runs = lock(&known);
            runs.is_closed = true;
            for (_, run) in std::mem::take(&mut runs.running) {
                let _ = outbox.send(WorkerMessage::Exited(run.attempt, Exit::Shared(status)));
            }
        });
        Ok(Self { stdin: Mutex::new(stdin), child, runs })
    }

    /// Starts a run on a thread of the process; none where it takes no more.
    pub fn start_run(self: &Arc<Self>, command: &WorkerCommand<'_>, attempt: Handle) -> Option<RunThread> {
        let mut runs = lock(&self.runs);
        if runs.is_closed {
            return None;
        }
        runs.count += 1;
        let number = runs.count;
        let log = command.store.run_dir(command.id).log_path();
        runs.running.insert(number, Run { attempt, log });
        drop(runs);
        self.write(&Request::Start {
            number,
            run: command.id.clone(),
            threads: command.threads,
            until: command.until,
        });
        Some(RunThread { process: Arc::clone(self), number })
    }

    /// A process that does not read is gone, and those that listen to it say so.
    fn write(&self, request: &Request) {
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            let _ = stdin.write_all((to_line(request) + "\n").as_bytes()).and_then(|()| stdin.flush());
        }
    }
}

/// How long a process without runs may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Drop for SharedProcess {
    fn drop(&mut self) {
        lock(&self.runs).is_closed = true;
        *lock(&self.stdin) = None;
        let closed = Instant::now();
        loop {
            let mut child = lock(&self.child);
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            if closed.elapsed() >= PATIENCE {
                let _ = child.kill();
            }
            drop(child);
            std::thread::sleep(ENDING);
        }
    }
}

impl RunThread {
    /// Asks the run to stop, while the others of its process go on; or ends the process with all its runs,
    /// since a thread cannot be ended.
    pub fn stop(&self, how: Stop) {
        match how {
            Stop::InGoodOrder => self.process.write(&Request::Stop { number: self.number }),
            Stop::AtOnce => {
                lock(&self.process.runs).is_closed = true;
                let _ = lock(&self.process.child).kill();
            }
        }
    }
}

/// Passes a report on under the attempt that it is about; what is none is chatter. False where nobody
/// listens.
fn pass_on(line: &[u8], runs: &Mutex<Runs>, outbox: &Outbox) -> bool {
    let message = match serde_json::from_slice(line) {
        Ok(Report::Event { number, event }) => {
            let attempt = lock(runs).running.get(&number).map(|run| run.attempt);
            attempt.map(|attempt| WorkerMessage::Event(attempt, event))
        }
        Ok(Report::Over { number, panic }) => {
            let run = lock(runs).running.remove(&number);
            run.map(|run| WorkerMessage::Exited(run.attempt, Exit::Thread { panic }))
        }
        Err(_) => return log_to_all(runs, line),
    };
    message.is_none_or(|message| outbox.send(message))
}

/// Writes into the logs of all runs of a process what is no single one's.
fn log_to_all(runs: &Mutex<Runs>, line: &[u8]) -> bool {
    for run in lock(runs).running.values() {
        // Losing chatter harms nothing.
        let log = OpenOptions::new().create(true).append(true).open(&run.log);
        let _ = log.and_then(|mut log| log.write_all(line));
    }
    true
}
