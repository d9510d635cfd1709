//! The process that several runs share.

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

use super::protocol::{Report, Request, lock, to_line};
use crate::interrupt::Interrupt;
use crate::schedule::device::{DeviceError, DeviceName, keep_kernels};
use crate::schedule::worker::{Supervision, Task, print_line, stop_at_signal, work_until};
use crate::store::Store;
use crate::thread_log::{self, ThreadLog, carried};

/// Exit code of a process whose device no longer computes.
const DEVICE_LOST: i32 = 76;

/// How long its end may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Trains the runs that come over standard input, at the same time, until it ends and they are done: what
/// `kdx worker --shared` does. A signal that asks the process to end stops them all, as the end of standard
/// input does, each with a checkpoint.
///
/// # Errors
/// Where the device is not there.
pub fn serve(store: &Store, device: &DeviceName) -> Result<(), DeviceError> {
    keep_kernels(&store.cache_dir(), device);
    let runs = Arc::new(SharedRuns {
        store: store.clone(),
        name: device.clone(),
        device: device.to_burn()?,
        running: Mutex::default(),
        streams: Mutex::default(),
    });
    let all = Arc::clone(&runs);
    stop_at_signal(move || {
        if all.stop_all() {
            std::process::exit(0);
        }
    });
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for request in std::io::stdin().lock().lines() {
        let Ok(request) = request else { break };
        match serde_json::from_str(&request) {
            Ok(Request::Start { number, run, threads: count, until }) => {
                threads.retain(|thread| !thread.is_finished());
                let (stop, runs) = (runs.add(number), Arc::clone(&runs));
                threads.push(std::thread::spawn(move || {
                    let task = Task { store: &runs.store, id: &run, device: &runs.name, until };
                    let panic = runs.train(number, &task, count, &stop);
                    runs.remove(number, panic);
                }));
            }
            Ok(Request::Stop { number }) => {
                if let Some(stop) = lock(&runs.running).by_number.get(&number) {
                    stop.ask();
                }
            }
            Err(error) => tracing::warn!("a request that cannot be read: {error}"),
        }
    }
    runs.stop_all();
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// The runs of this process, and what they share.
struct SharedRuns {
    store: Store,
    name: DeviceName,
    device: Device,
    running: Mutex<Running>,
    /// Streams of runs that are over.
    streams: Mutex<Vec<StreamId>>,
}

#[derive(Default)]
struct Running {
    /// What stops each run.
    by_number: BTreeMap<u64, Arc<Interrupt>>,
    /// Whether the process ends with them.
    is_closing: bool,
}

impl SharedRuns {
    /// Stops all runs, and those that come yet; true where there are none.
    fn stop_all(&self) -> bool {
        let mut running = lock(&self.running);
        running.is_closing = true;
        running.by_number.values().for_each(|stop| stop.ask());
        running.by_number.is_empty()
    }

    /// Adds a run; what stops it.
    fn add(&self, number: u64) -> Arc<Interrupt> {
        let stop = Arc::new(Interrupt::new());
        let mut running = lock(&self.running);
        if running.is_closing {
            stop.ask();
        }
        running.by_number.insert(number, Arc::clone(&stop));
        stop
    }

    /// Trains a run; gives what it panicked of.
    fn train(&self, number: u64, task: &Task<'_>, threads: usize, stop: &Arc<Interrupt>) -> Option<String> {
        let log = task.store.run_dir(task.id).log_path();
        let panic = self.work_on_own_threads(&log, threads, || {
            if let Err(error) = work_until(task, Supervision::SharedProcess { number }, stop) {
                // As the process of one run says it.
                let _ = writeln!(thread_log::writer(), "{:?}", miette::Report::new(error));
            }
        });
        if panic.is_some() && !self.device_computes() {
            tracing::error!("{} no longer computes: the process of these runs ends itself", self.name);
            end_process();
        }
        panic
    }

    /// Does a run's work on threads, a stream and with a log of its own; gives what it panicked of.
    ///
    /// A thread that waits for the others of a pool takes up any work there: in a pool that runs share, one
    /// would begin another from within its own step.
    fn work_on_own_threads(&self, log: &Path, threads: usize, work: impl FnOnce() + Send) -> Option<String> {
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
        panic.map(|panic| describe_panic(&*panic))
    }

    /// Whether the device still works: an error within a kernel may leave it unusable to the whole process.
    fn device_computes(&self) -> bool {
        let compute = || {
            let device = self.device.clone().without_autodiff();
            let sum = Tensor::<1>::ones([4], &device) + Tensor::<1>::ones([4], &device);
            sum.into_data().iter::<f64>().all(|number| number == 2.0)
        };
        // On a thread, and so a stream, that no failed work has been on.
        std::thread::scope(|scope| scope.spawn(carried(compute)).join()).unwrap_or(false)
    }

    /// Says that a run is over.
    fn remove(&self, number: u64, panic: Option<String>) {
        let mut running = lock(&self.running);
        running.by_number.remove(&number);
        print_line(&to_line(&Report::Over { number, panic }));
        if running.is_closing && running.by_number.is_empty() {
            // A signal: nobody may ever close standard input.
            std::process::exit(0);
        }
    }
}

/// Ends the process of a lost device. Nothing can be saved: its runs go on from their checkpoints, in another
/// one.
fn end_process() -> ! {
    std::thread::spawn(|| {
        std::thread::sleep(LAST_WORDS);
        // A driver may wait for its device in vain.
        std::process::abort();
    });
    std::process::exit(DEVICE_LOST)
}

/// What a panic was about.
fn describe_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "an unknown reason".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_own_run_s_and_the_others_have_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let runs = SharedRuns {
            store: Store::new(folder.path()),
            name: DeviceName::Cpu,
            device: Device::flex(),
            running: Mutex::default(),
            streams: Mutex::default(),
        };
        thread_log::take_panics();
        let logs = ["a", "b"].map(|name| folder.path().join(name));
        let (meet, runs) = (std::sync::Barrier::new(2), &runs);
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
                scope.spawn(move || runs.work_on_own_threads(log, which + 1, work))
            };
            [work(0), work(1)].map(|thread| thread.join().unwrap())
        });
        assert_eq!((lost.as_deref(), kept), (Some("run 0 is lost"), None));
        assert!(runs.device_computes());
        let [lost, kept] = logs.map(|log| std::fs::read_to_string(log).unwrap());
        assert!(lost.contains("panicked at") && lost.contains("run 0 is lost"), "{lost}");
        assert_eq!(kept, "");
        assert_eq!(lock(&runs.streams).len(), 2);
    }
}
