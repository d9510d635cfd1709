//! The host's side.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use burn::tensor::{Device, Tensor};
use cubecl_environment::stream::StreamId;

use super::{Report, Request, line, lock};
use crate::interrupt::Interrupt;
use crate::schedule::device::{DeviceError, DeviceName};
use crate::schedule::worker::{Supervision, Task, print_line, stop_at_signal, work_until};
use crate::store::Store;
use crate::thread_log::{self, ThreadLog, carried};

/// Exit code of a host whose device no longer computes.
const DEVICE_LOST: i32 = 76;

/// How long the end of such a host may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Trains the runs that come over standard input, at the same time, until it ends and they are done: what
/// `kdx worker --host` does. A signal that asks the process to end stops them all, as the end of standard input
/// does, each with a checkpoint.
///
/// # Errors
/// Where the device is not there.
pub fn serve(store: &Store, device: &DeviceName) -> Result<(), DeviceError> {
    crate::schedule::device::keep_kernels(&store.cache_dir(), device);
    let house = Arc::new(House {
        store: store.clone(),
        name: device.clone(),
        device: device.to_burn()?,
        guests: Mutex::default(),
        streams: Mutex::default(),
    });
    let all = Arc::clone(&house);
    stop_at_signal(move || {
        if all.close() {
            std::process::exit(0);
        }
    });
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for request in std::io::stdin().lock().lines() {
        let Ok(request) = request else { break };
        match serde_json::from_str(&request) {
            Ok(Request::Start { guest, run, threads: count, until }) => {
                threads.retain(|thread| !thread.is_finished());
                let (stop, house) = (house.register(guest), Arc::clone(&house));
                threads.push(std::thread::spawn(move || {
                    let task = Task { store: &house.store, id: &run, device: &house.name, until };
                    let panic = house.accommodate(guest, &task, count, &stop);
                    house.see_off(guest, panic);
                }));
            }
            Ok(Request::Stop { guest }) => {
                if let Some(stop) = lock(&house.guests).running.get(&guest) {
                    stop.ask();
                }
            }
            Err(error) => tracing::warn!("a request that cannot be read: {error}"),
        }
    }
    house.close();
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// What the runs of a host share.
struct House {
    store: Store,
    name: DeviceName,
    device: Device,
    guests: Mutex<Guests>,
    /// Streams of runs that are over.
    streams: Mutex<Vec<StreamId>>,
}

#[derive(Default)]
struct Guests {
    running: BTreeMap<u64, Arc<Interrupt>>,
    is_closing: bool,
}

impl House {
    /// Stops all runs, and those that come yet; true where there are none.
    fn close(&self) -> bool {
        let mut guests = lock(&self.guests);
        guests.is_closing = true;
        guests.running.values().for_each(|stop| stop.ask());
        guests.running.is_empty()
    }

    /// What stops a run.
    fn register(&self, guest: u64) -> Arc<Interrupt> {
        let stop = Arc::new(Interrupt::new());
        let mut guests = lock(&self.guests);
        if guests.is_closing {
            stop.ask();
        }
        guests.running.insert(guest, Arc::clone(&stop));
        stop
    }

    /// Trains a run; gives what it panicked of.
    fn accommodate(
        &self,
        guest: u64,
        task: &Task<'_>,
        threads: usize,
        stop: &Arc<Interrupt>,
    ) -> Option<String> {
        let log = task.store.run_dir(task.id).log_path();
        let panic = self.on_own_threads(&log, threads, || {
            if let Err(error) = work_until(task, Supervision::Host { guest }, stop) {
                // As the process of one run says it.
                let _ = writeln!(thread_log::writer(), "{:?}", miette::Report::new(error));
            }
        });
        if panic.is_some() && !self.computes() {
            tracing::error!("{} no longer computes: the process of these runs ends itself", self.name);
            end_for_all();
        }
        panic
    }

    /// Does a run's work on threads, a stream and with a log of its own; gives what it panicked of.
    ///
    /// A thread that waits for the others of a pool takes up any work there: in a pool that runs share, one
    /// would begin another from within its own step.
    fn on_own_threads(&self, log: &Path, threads: usize, work: impl FnOnce() + Send) -> Option<String> {
        let log = match ThreadLog::open(log) {
            Ok(log) => log,
            Err(error) => return Some(format!("its log cannot be written: {error}")),
        };
        ThreadLog::enter(Some(log.clone()));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .start_handler(move |_| ThreadLog::enter(Some(log.clone())))
            .build();
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => return Some(format!("it got no threads: {error}")),
        };
        let stream = lock(&self.streams).pop().unwrap_or_else(StreamId::allocate);
        let panic = pool.install(|| {
            stream.executes(|| {
                let panic = catch_unwind(AssertUnwindSafe(work)).err();
                // The next run on this stream may be of other sizes, and those beside it may need the memory.
                let cleanup = || self.device.memory_cleanup();
                panic.or(catch_unwind(AssertUnwindSafe(cleanup)).err())
            })
        });
        lock(&self.streams).push(stream);
        panic.map(|panic| in_words(&*panic))
    }

    /// Whether the device still works: an error within a kernel may leave it unusable to the whole process.
    fn computes(&self) -> bool {
        let compute = || {
            let device = self.device.clone().without_autodiff();
            let sum = Tensor::<1>::ones([4], &device) + Tensor::<1>::ones([4], &device);
            sum.into_data().iter::<f64>().all(|number| number == 2.0)
        };
        // On a thread, and so a stream, that no failed work has been on.
        std::thread::scope(|scope| scope.spawn(carried(compute)).join()).unwrap_or(false)
    }

    /// Says that a run is over.
    fn see_off(&self, guest: u64, panic: Option<String>) {
        let mut guests = lock(&self.guests);
        guests.running.remove(&guest);
        print_line(&line(&Report::Over { guest, panic }));
        if guests.is_closing && guests.running.is_empty() {
            // A signal: nobody may ever close standard input.
            std::process::exit(0);
        }
    }
}

/// Ends the process of a lost device. Nothing can be saved: its runs go on from their checkpoints, in another one.
fn end_for_all() -> ! {
    std::thread::spawn(|| {
        std::thread::sleep(LAST_WORDS);
        // A driver may wait for its device in vain.
        std::process::abort();
    });
    std::process::exit(DEVICE_LOST)
}

/// What a panic was about.
fn in_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "an unknown reason".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_own_run_s_and_the_others_have_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let house = House {
            store: Store::new(folder.path()),
            name: DeviceName::Cpu,
            device: Device::flex(),
            guests: Mutex::default(),
            streams: Mutex::default(),
        };
        thread_log::take_panics();
        let logs = ["a", "b"].map(|name| folder.path().join(name));
        let (meet, house) = (std::sync::Barrier::new(2), &house);
        let [lost, kept] = std::thread::scope(|scope| {
            let work = |which: usize| {
                let (meet, log) = (&meet, &logs[which]);
                let work = move || {
                    assert_eq!(rayon::current_num_threads(), which + 1);
                    // Both at once, each in a pool that the other has no part in.
                    meet.wait();
                    let number = which;
                    assert!(number == 1, "run {number} is lost");
                };
                scope.spawn(move || house.on_own_threads(log, which + 1, work))
            };
            [work(0), work(1)].map(|thread| thread.join().unwrap())
        });
        assert_eq!((lost.as_deref(), kept), (Some("run 0 is lost"), None));
        assert!(house.computes());
        let [lost, kept] = logs.map(|log| std::fs::read_to_string(log).unwrap());
        assert!(lost.contains("panicked at") && lost.contains("run 0 is lost"), "{lost}");
        assert_eq!(kept, "");
        assert_eq!(lock(&house.streams).len(), 2);
    }
}
