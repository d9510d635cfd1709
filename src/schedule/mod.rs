//! Devices, the plan, slots, worker processes, retries.
//!
//! [`Plan`] says what there is to do, [`dispatch`] sees to it that it is done: the one event loop of a sweep.
//! An [`Executor`] starts what it is told to, on this machine or through a cluster's engine.

mod board;
mod device;
mod dispatcher;
mod estimate;
mod events;
pub mod executor;
mod failure;
mod follow;
mod job;
mod plan;
mod rows;
pub mod search;
mod shared_process;
mod slots;
mod watch;
mod watcher;
mod worker;

pub use board::{Board, JobResult, Verdict};
pub use device::{
    Choice, DeviceError, DeviceName, Found, Interface, Memory, Wanted, automatic, cpu_threads, inventory,
    keep_kernels, look_up, parse_devices,
};
pub use dispatcher::{Options, Outcome, dispatch};
pub use estimate::{Estimate, EstimateError, Estimator, Speed, SpeedSource};
pub use events::Event;
pub use executor::error::SweepError;
pub use executor::local::{LocalExecutor, LocalOptions};
pub use executor::{Executor, Message};
pub use failure::{Exit, Failure};
pub use follow::{Follower, Since};
pub use job::{Job, Part, point_label};
pub use plan::{Damaged, Plan, PlanError};
pub use search::Search;
pub use shared_process::serve::serve;
pub use slots::{Room, Slots};
pub use watch::watch;
pub use watcher::Watcher;
pub use worker::{Supervision, Task, WorkerError, timestamp, work};
