//! What can be made again, on disk: the files of teachers' signals, and what a cache directory holds.
//!
//! ```text
//! format      the layout of a signal file: header, data, checksums
//! writer      a signal file in the making: resumed after a kill
//! reader      a finished signal file: checked, and read at any sequence
//! open        the file of a key, or the right to write it
//! lock        who writes
//! positioned  reading and writing at a place of a file
//! space       what a file system still takes
//! list        what a cache directory holds
//! collect     removes what was not used for longest
//! size        bytes as people write them
//! ```

mod collect;
mod error;
mod format;
mod list;
mod lock;
mod open;
mod positioned;
mod reader;
mod size;
mod space;
mod writer;

pub use collect::{Collected, Limits, collect};
pub use error::{CacheError, Damage};
pub use format::{Element, FORMAT_VERSION, Header, Loss, Progress, SignalForm};
pub use list::{Entry, KERNELS, Kind, list};
pub use lock::{WriteLock, try_write_lock};
pub use open::{Opened, open, path};
pub use reader::SignalFile;
pub use size::{ByteSize, NotASize};
pub use space::free;
pub use writer::Writer;
