//! Workers, each in a process of its own or on a thread of a shared one.

use std::collections::HashMap;
use std::sync::Arc;

use super::process::{Outbox, WorkerCommand, WorkerProcess};
use super::shared::{RunThread, SharedProcess};
use crate::schedule::device::DeviceName;
use crate::schedule::executor::{Handle, Stop};
use crate::store::StoreError;

/// A running worker. Dropping one that has a process of its own asks it to stop.
#[derive(Debug)]
pub enum Worker {
    /// It has a process of its own.
    Process(WorkerProcess),
    /// It is a thread of a process that its device's runs share.
    Thread(RunThread),
}

impl Worker {
    /// Asks it to stop, or ends it: with it all others of its process.
    pub fn stop(&mut self, how: Stop) {
        match self {
            Self::Process(process) => process.stop(how),
            Self::Thread(thread) => thread.stop(how),
        }
    }
}

/// Starts workers.
#[derive(Debug)]
pub struct Workers {
    outbox: Outbox,
    /// The processes that runs share, by their devices.
    shared: HashMap<DeviceName, Arc<SharedProcess>>,
}

impl Workers {
    /// Those whose messages arrive at `outbox`.
    pub fn new(outbox: Outbox) -> Self {
        Self { outbox, shared: HashMap::new() }
    }

    /// Starts a worker in a process of its own. The device's shared process gives back what it keeps of the
    /// device first: all its runs are over.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start_alone(
        &mut self,
        command: &WorkerCommand<'_>,
        attempt: Handle,
    ) -> Result<Worker, StoreError> {
        self.shared.remove(command.device);
        WorkerProcess::spawn(command, attempt, self.outbox.clone()).map(Worker::Process)
    }

    /// Starts a worker in the shared process of its device, which is started where there is none.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn start_shared(
        &mut self,
        command: &WorkerCommand<'_>,
        attempt: Handle,
    ) -> Result<Worker, StoreError> {
        loop {
            let process = match self.shared.get(command.device) {
                Some(process) => Arc::clone(process),
                None => {
                    let process = Arc::new(SharedProcess::spawn(command, self.outbox.clone())?);
                    self.shared.insert(command.device.clone(), Arc::clone(&process));
                    process
                }
            };
            if let Some(thread) = process.start_run(command, attempt) {
                return Ok(Worker::Thread(thread));
            }
            self.shared.remove(command.device);
        }
    }
}
