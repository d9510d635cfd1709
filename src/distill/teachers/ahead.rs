//! Reading hidden states before they are needed, on a thread of its own: a graphics processor is then kept
//! waiting neither by the disk nor by the copy into memory that it can read by itself.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use burn::tensor::TensorData;
use cubecl_environment::stream::StreamId;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::stored::Stored;
use crate::cache::Damage;
use crate::thread_log::carried;

/// Threads that read at most: enough for a disk, and for copies at the speed of memory.
const READERS: usize = 4;

/// The threads that read, for all runs of this process. Not those that train: they wait for what is read.
fn readers() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(READERS);
    let named = |index| format!("teacher-reader-{index}");
    let pool = || ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build().ok();
    POOL.get_or_init(pool).as_ref()
}

/// Sequences whose states are wanted, in the order of their rows.
type Sequences = Vec<u32>;

/// A thread that reads what it is asked for, in that order. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ahead {
    wanted: Sender<Sequences>,
    read: Mutex<Read>,
}

/// What was asked for and not yet taken.
#[derive(Debug)]
struct Read {
    asked: VecDeque<Sequences>,
    found: Receiver<Result<TensorData, Damage>>,
}

impl Ahead {
    /// None where no thread can be started: then everything is read when it is needed.
    pub(super) fn new(stored: &Arc<Stored>) -> Option<Self> {
        let readers = readers()?;
        let (wanted, requests) = channel::<Sequences>();
        let (results, found) = channel();
        let stored = Arc::clone(stored);
        let read = move || {
            for sequences in requests {
                let states = readers.install(|| stored.states(&sequences)).map(|mut states| {
                    stored.device.staging(std::iter::once(&mut states));
                    states
                });
                if results.send(states).is_err() {
                    break;
                }
            }
        };
        // The memory that it takes is of the run's stream, as all that the run takes.
        let stream = StreamId::current();
        let read = carried(move || stream.executes(read));
        thread::Builder::new().name("teacher-ahead".to_owned()).spawn(read).ok()?;
        let read = Mutex::new(Read { asked: VecDeque::new(), found });
        Some(Self { wanted, read })
    }

    /// Asks for the states of some sequences.
    pub(super) fn ask(&self, sequences: &[u32]) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wanted.send(sequences.to_vec()).is_ok() {
            read.asked.push_back(sequences.to_vec());
        }
    }

    /// The states of some sequences, once they are read. What was asked for before them and never taken is
    /// passed over; none where these were not asked for.
    pub(super) fn take(&self, sequences: &[u32]) -> Option<Result<TensorData, Damage>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.asked.iter().any(|asked| asked == sequences) {
            return None;
        }
        loop {
            let asked = read.asked.pop_front()?;
            let found = read.found.recv().ok()?;
            if asked == sequences {
                return Some(found);
            }
        }
    }
}
