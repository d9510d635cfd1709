//! Who may write in a place that several processes share, on one machine or over a shared file system.
//!
//! A lease is a row of files `NAME.N`; the highest number N that is there, its generation, is the owner's.
//!
//! - **Taking.** Where the highest generation is free (its file is empty) or its owner is gone, a file with
//!   the next number is written under another name and linked into place: a link is made once, over NFS too.
//!   Then everything is looked at again: where a higher number is there now, or the owner before has come
//!   back, the new file is removed and nothing is taken. Otherwise the lower ones are removed.
//! - **Letting go.** The owner empties its file and leaves it there. So the highest number never goes down
//!   while the directory lives, and who acts on an old view of it, in which an earlier generation was free,
//!   makes a file that exists already, or one below the owner's, and finds so when it looks again.
//! - **Staying.** The owner writes a byte of its file over and over, so that the file server's time of its
//!   last change moves. It looks for a higher generation after each such write, as who takes over looks for
//!   such a write after making its file: one of the two sees the other.
//! - **Being gone.** An owner of this machine whose process is not there is gone at once. Any other is gone
//!   once its file was not changed for the lease's length, by the clock of the file server: a file made just
//!   now in the same directory says what time it is there. So the clocks of machines need not agree, but
//!   where a file system takes the time from its clients, as Lustre does.
//! - **Fencing.** An owner that was stopped for long finds out before it writes: see [`Lease::check`].
//!
//! Files are opened before they are asked for their size and time: NFS answers from a cache otherwise.
//! `flock` takes no part in this: over a network it may hold on one machine alone, or not at all.

mod acquire;
mod clock;
mod place;
mod process;
mod record;
mod renewal;
#[cfg(test)]
mod tests;
mod times;

pub(super) use clock::Clock;
pub use place::LeasePlace;
pub use record::Owner;
pub use renewal::Lease;
pub use times::LeaseTimes;
