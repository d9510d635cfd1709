//! The dispatcher's side of a host.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Report, Request, line, lock};
use crate::schedule::failure::Exit;
use crate::schedule::process::{ENDING, Message, WorkerCommand, each_line, wait, worker_process};
use crate::store::StoreError;

/// A process that trains several runs of one device. Dropping it closes its standard input and waits for its end.
#[derive(Debug)]
pub(in crate::schedule) struct Host {
    stdin: Mutex<Option<ChildStdin>>,
    child: Arc<Mutex<Child>>,
    register: Arc<Mutex<Register>>,
}

/// A run in a host.
#[derive(Debug)]
pub(in crate::schedule) struct Guest {
    host: Arc<Host>,
    number: u64,
}

/// Who is in a host.
#[derive(Debug, Default)]
struct Register {
    guests: BTreeMap<u64, Entry>,
    /// How many there have been.
    count: u64,
    /// Whether it takes nobody any more: it is about to end, or gone.
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    slot: usize,
    log: PathBuf,
}

impl Host {
    /// Starts a host for runs like that of `command`.
    pub(in crate::schedule) fn spawn(
        command: &WorkerCommand<'_>,
        messages: Sender<Message>,
    ) -> Result<Self, StoreError> {
        let mut process = worker_process(command);
        process.arg("--host").stderr(Stdio::piped());
        let mut child = process.spawn().map_err(StoreError::io("start", command.program))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        let register = Arc::new(Mutex::new(Register::default()));
        let logs = Arc::clone(&register);
        let chatter = std::thread::spawn(move || {
            if let Some(stderr) = stderr {
                each_line(BufReader::new(stderr), |line| log_to_all(&logs, line));
            }
        });
        let (waiting, guests) = (Arc::clone(&child), Arc::clone(&register));
        std::thread::spawn(move || {
            if let Some(stdout) = stdout {
                each_line(BufReader::new(stdout), |line| pass_on(line, &guests, &messages));
            }
            // What it said last tells why it ended.
            let _ = chatter.join();
            let status = wait(&waiting);
            let mut register = lock(&guests);
            register.is_closed = true;
            for (_, entry) in std::mem::take(&mut register.guests) {
                let _ = messages.send(Message::Exited { slot: entry.slot, exit: Exit::Host(status) });
            }
        });
        Ok(Self { stdin: Mutex::new(stdin), child, register })
    }

    /// Hands a run over; none where the host takes nobody any more.
    pub(in crate::schedule) fn take_in(
        self: &Arc<Self>,
        command: &WorkerCommand<'_>,
        slot: usize,
    ) -> Option<Guest> {
        let mut register = lock(&self.register);
        if register.is_closed {
            return None;
        }
        register.count += 1;
        let number = register.count;
        let log = command.store.run_dir(command.id).log_path();
        register.guests.insert(number, Entry { slot, log });
        drop(register);
        self.write(&Request::Start {
            guest: number,
            run: command.id.clone(),
            threads: command.threads,
            until: command.until,
        });
        Some(Guest { host: Arc::clone(self), number })
    }

    /// A host that does not read is gone, and those that listen to it say so.
    fn write(&self, request: &Request) {
        if let Some(stdin) = lock(&self.stdin).as_mut() {
            let _ = stdin.write_all((line(request) + "\n").as_bytes()).and_then(|()| stdin.flush());
        }
    }
}

/// How long a host without runs may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Drop for Host {
    fn drop(&mut self) {
        lock(&self.register).is_closed = true;
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

impl Guest {
    /// Asks the run to stop in good order; the others of the host go on.
    pub(in crate::schedule) fn stop(&self) {
        self.host.write(&Request::Stop { guest: self.number });
    }

    /// Ends the host at once, with all that it has: a thread cannot be ended.
    pub(in crate::schedule) fn kill(&self) {
        lock(&self.host.register).is_closed = true;
        let _ = lock(&self.host.child).kill();
    }
}

/// Passes a report on to the slot that it comes from; what is none is chatter. False where nobody listens.
fn pass_on(line: &[u8], register: &Mutex<Register>, messages: &Sender<Message>) -> bool {
    let slot_of = |guest: &u64| lock(register).guests.get(guest).map(|entry| entry.slot);
    let message = match serde_json::from_slice(line) {
        Ok(Report::Event { guest, event }) => slot_of(&guest).map(|slot| Message::Event { slot, event }),
        Ok(Report::Over { guest, panic }) => {
            let entry = lock(register).guests.remove(&guest);
            entry.map(|entry| Message::Exited { slot: entry.slot, exit: Exit::Thread { panic } })
        }
        Err(_) => return log_to_all(register, line),
    };
    message.is_none_or(|message| messages.send(message).is_ok())
}

/// Writes into the logs of all runs of a host what is no single one's.
fn log_to_all(register: &Mutex<Register>, line: &[u8]) -> bool {
    for entry in lock(register).guests.values() {
        // Losing chatter harms nothing.
        let log = OpenOptions::new().create(true).append(true).open(&entry.log);
        let _ = log.and_then(|mut log| log.write_all(line));
    }
    true
}
