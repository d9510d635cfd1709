//! A worker process for several runs of one device, each on a thread of its own.
//!
//! The runs share what a process has once for a device: CUDA's context, compiled kernels, the server's
//! thread. CubeCL gives each run a stream, whose launches wait for no other's, and a pool of memory.
//!
//! ```text
//! protocol   what the dispatcher and the process say to each other
//! serve      the process: a thread, a pool of threads, a log and a stream for each run
//! ```
//!
//! The dispatcher's side is `executor/local/shared.rs`. It writes a request a line to the process's standard
//! input, the process a report a line to its standard output. A process without a run waits for the next one
//! until its standard input ends. What it prints to standard error is no single run's, so it goes into the
//! logs of all.

pub mod protocol;
pub mod serve;
