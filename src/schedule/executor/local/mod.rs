//! Attempts as worker processes of this machine, in slots of its devices: one a run, or one a device.
//!
//! ```text
//! workers   starts either
//! process   a process of one run, and how any is started and listened to
//! shared    a process that the runs of a device share
//! ```

mod process;
mod shared;
mod workers;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};

use self::process::{Outbox, WorkerCommand, WorkerMessage};
use self::workers::{Worker, Workers};
use super::error::SweepError;
use super::{AtInterrupt, End, Executor, Handle, IgnoredKey, Message, Report, Request, Stop, Update};
use crate::schedule::device::DeviceName;
use crate::schedule::events::Event;
use crate::schedule::failure::{Exit, Failure, in_words, memory_kills};
use crate::schedule::job::Job;
use crate::spec::ResourcesConfig;
use crate::store::{RunDir, RunState, Store};

/// Where and how workers are started on this machine.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The program to start as worker: this same binary.
    pub program: PathBuf,
    /// Where the runs are kept.
    pub store: Store,
    /// The device of each slot.
    pub slots: Vec<DeviceName>,
    /// CPU threads to split between the workers.
    pub threads: usize,
    /// CPU threads of each worker, where the user fixed them.
    pub threads_per_worker: Option<usize>,
    /// Bytes that the runs on a device may take together, by their estimates; no limit on a device that is
    /// not here. A run that takes more than this by itself is started when it has the device for itself.
    pub memory: HashMap<DeviceName, u64>,
    /// The devices whose runs share a process, but those that must have the device for themselves.
    pub shared: HashSet<DeviceName>,
}

/// The workers of this machine.
#[derive(Debug)]
pub struct LocalExecutor {
    options: LocalOptions,
    slots: Vec<Option<Running>>,
    workers: Workers,
    messages: Receiver<WorkerMessage>,
    /// What the next poll tells first.
    updates: Vec<Update>,
    /// Attempts so far.
    started: usize,
}

/// What happens in a slot.
#[derive(Debug)]
struct Running {
    attempt: Handle,
    worker: Worker,
    dir: RunDir,
    threads: usize,
    /// Bytes that the run takes on its device, by its estimate.
    memory: u64,
    /// Whether it must have its device for itself.
    is_alone: bool,
    /// Whether other workers ran on the device at any time of this attempt.
    had_company: bool,
    /// See [`memory_kills`], when the worker was started.
    memory_kills: Option<u64>,
    /// Bytes that earlier attempts left in the run's log.
    log_before: u64,
    /// What the worker said of the run's end.
    ended: Option<(RunState, Option<String>)>,
    /// Whether another process has the run.
    is_locked: bool,
}

impl LocalExecutor {
    /// All slots free. `wake` is the dispatcher's.
    pub fn new(options: LocalOptions, wake: Sender<Message>) -> Self {
        let (sender, messages) = mpsc::channel();
        let slots = options.slots.iter().map(|_| None).collect();
        let workers = Workers::new(Outbox { messages: sender, wake });
        Self { options, slots, workers, messages, updates: Vec::new(), started: 0 }
    }

    /// The first free slot where a job may be started beside what runs on the same device.
    fn find_slot(&self, job: &Job, is_alone: bool) -> Option<usize> {
        (0..self.slots.len()).find(|&slot| self.slots[slot].is_none() && self.fits_into(slot, job, is_alone))
    }

    fn fits_into(&self, slot: usize, job: &Job, is_alone: bool) -> bool {
        let mut beside = self.beside(slot).peekable();
        if beside.peek().is_none() {
            return true;
        }
        if is_alone {
            return false;
        }
        let device = &self.options.slots[slot];
        let mut taken = job.estimate.memory_on(device);
        for running in beside {
            if running.is_alone {
                return false;
            }
            taken = taken.saturating_add(running.memory);
        }
        self.options.memory.get(device).is_none_or(|&memory| taken <= memory)
    }

    /// What runs in the other slots of the same device.
    fn beside(&self, slot: usize) -> impl Iterator<Item = &Running> {
        let device = &self.options.slots[slot];
        let others = self.slots.iter().enumerate();
        let others = others.filter(move |(other, _)| *other != slot && self.options.slots[*other] == *device);
        others.filter_map(|(_, running)| running.as_ref())
    }

    /// Marks all workers of a slot's device as having company, where there is more than one.
    fn note_company(&mut self, slot: usize) {
        if self.beside(slot).next().is_none() {
            return;
        }
        let device = &self.options.slots[slot];
        for (running, of) in self.slots.iter_mut().zip(&self.options.slots) {
            if let Some(running) = running.as_mut().filter(|_| of == device) {
                running.had_company = true;
            }
        }
    }

    /// Splits the free CPU threads between a job and the others that could start beside it.
    fn split_threads(&self, others_ready: usize) -> usize {
        if let Some(threads) = self.options.threads_per_worker {
            return threads;
        }
        let used: usize = self.slots.iter().flatten().map(|running| running.threads).sum();
        let free = self.options.threads.saturating_sub(used);
        let free_slots = self.slots.iter().filter(|s| s.is_none()).count();
        (free / (others_ready + 1).min(free_slots).max(1)).max(1)
    }

    fn slot_of(&mut self, attempt: Handle) -> Option<&mut Option<Running>> {
        self.slots.iter_mut().find(|slot| slot.as_ref().is_some_and(|running| running.attempt == attempt))
    }

    /// What a worker's message says of its attempt; none where nobody waits for it.
    fn report(&mut self, message: WorkerMessage) -> Option<Update> {
        Some(match message {
            WorkerMessage::Event(attempt, event) => {
                let running = self.slot_of(attempt)?.as_mut()?;
                match &event {
                    Event::Ended { state, reason } => running.ended = Some((*state, reason.clone())),
                    Event::Locked => running.is_locked = true,
                    _ => {}
                }
                Update::Attempt(attempt, Report::Event(event))
            }
            WorkerMessage::Exited(attempt, exit) => {
                let running = self.slot_of(attempt)?.take()?;
                Update::Attempt(attempt, Report::Ended(running.end(&exit)))
            }
        })
    }
}

impl Executor for LocalExecutor {
    fn slots(&self, _: usize) -> usize {
        self.slots.len()
    }

    fn capacity(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_none()).count()
    }

    fn fits(&self, job: &Job, is_alone: bool) -> bool {
        self.find_slot(job, is_alone).is_some()
    }

    fn start(&mut self, request: &Request<'_>) -> Result<Handle, Failure> {
        let &Request { job, is_alone, until, others_ready } = request;
        let Some(slot) = self.find_slot(job, is_alone) else {
            return Err(Failure::Crashed("no slot was free for its worker".to_owned()));
        };
        let threads = self.split_threads(others_ready);
        let device = &self.options.slots[slot];
        let command = WorkerCommand {
            program: &self.options.program,
            store: &self.options.store,
            id: job.id(),
            device,
            threads,
            until,
        };
        let dir = job.dir(&self.options.store);
        let log_before = log_length(&dir);
        self.started += 1;
        let attempt = Handle(self.started);
        let is_shared = self.options.shared.contains(device) && !is_alone;
        let started = if is_shared {
            self.workers.start_shared(&command, attempt)
        } else {
            self.workers.start_alone(&command, attempt)
        };
        let worker = started.map_err(|error| Failure::Crashed(in_words(&error)))?;
        let place = format!("{device}, {threads} thread{}", if threads == 1 { "" } else { "s" });
        self.updates.push(Update::Attempt(attempt, Report::Started { place }));
        self.slots[slot] = Some(Running {
            attempt,
            worker,
            dir,
            threads,
            memory: job.estimate.memory_on(device),
            is_alone,
            had_company: false,
            memory_kills: memory_kills(),
            log_before,
            ended: None,
            is_locked: false,
        });
        self.note_company(slot);
        Ok(attempt)
    }

    fn poll(&mut self) -> Result<Vec<Update>, SweepError> {
        let mut updates = std::mem::take(&mut self.updates);
        while let Ok(message) = self.messages.try_recv() {
            updates.extend(self.report(message));
        }
        Ok(updates)
    }

    fn stop(&mut self, attempt: Handle, how: Stop) {
        if let Some(running) = self.slot_of(attempt).and_then(Option::as_mut) {
            running.worker.stop(how);
        }
    }

    /// The first request lets workers stop in good order, the second ends them at once.
    fn at_interrupt(&self, is_first: bool) -> AtInterrupt {
        AtInterrupt::Stop(if is_first { Stop::InGoodOrder } else { Stop::AtOnce })
    }

    fn hears_signs_of_life(&self) -> bool {
        true
    }

    fn ignored_keys(&self, resources: &ResourcesConfig) -> Vec<IgnoredKey> {
        ignored_keys(resources, &self.options.slots)
    }
}

/// The keys of `[resources]` that are set and that change nothing for runs on these devices.
pub fn ignored_keys(resources: &ResourcesConfig, devices: &[DeviceName]) -> Vec<IgnoredKey> {
    let ResourcesConfig {
        // Slots and threads are made of these.
        per_device: _,
        threads: _,
        share_process,
        // The dispatcher's.
        attempts: _,
        stall_timeout: _,
        time_limit: _,
    } = resources;
    let is_in_vain = *share_process && devices.iter().all(DeviceName::is_cpu);
    let reason = || "on the processors: only runs of a GPU share a process".to_owned();
    is_in_vain.then(|| IgnoredKey { key: "share_process", reason: reason() }).into_iter().collect()
}

impl Running {
    /// How the attempt ended, now that its worker is gone.
    fn end(self, exit: &Exit) -> End {
        if self.is_locked {
            return End::Elsewhere;
        }
        if let Some((state, reason)) = self.ended {
            return End::Left(state, reason);
        }
        let were_killed = self.memory_kills.zip(memory_kills()).is_some_and(|(a, b)| b > a);
        let written = log_length(&self.dir).saturating_sub(self.log_before);
        let log = self.dir.log_end(written.min(LOG_END)).unwrap_or_default();
        End::Failed { failure: Failure::of(exit, &log, were_killed), had_company: self.had_company }
    }
}

/// Bytes of a log's end in which the cause of a crash is looked for.
const LOG_END: u64 = 4096;

/// Bytes in the log of a run; 0 where there is none.
fn log_length(dir: &RunDir) -> u64 {
    std::fs::metadata(dir.log_path()).map_or(0, |log| log.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Interface;
    use crate::spec::PerDevice;

    #[test]
    fn a_key_that_changes_nothing_is_named() {
        let gpu = DeviceName::Gpu(Interface::Cuda, 0);
        let shared = ResourcesConfig { share_process: true, ..ResourcesConfig::default() };
        assert_eq!(ignored_keys(&shared, &[DeviceName::Cpu, gpu]), []);
        let [ignored] = &ignored_keys(&shared, &[DeviceName::Cpu])[..] else { panic!("one key") };
        assert_eq!(
            ignored.to_string(),
            "resources.share_process has no effect on the processors: only runs of a GPU share a process"
        );
        let honoured = ResourcesConfig { threads: 2, per_device: PerDevice::Count(3), ..shared };
        assert_eq!(ignored_keys(&honoured, &[DeviceName::Cpu]).len(), 1);
    }
}
