//! Devices, the plan, slots, worker processes, retries.
//!
//! [`Plan`] says what there is to do, [`dispatch`] does it: one worker a run, as many at once as
//! there are slots; each in a process of its own, or those of a device in one.

mod board;
mod device;
mod dispatcher;
mod estimate;
mod events;
mod failure;
mod follow;
mod host;
mod plan;
mod process;
pub mod search;
mod slots;
pub mod slurm;
mod watch;
mod worker;

pub use board::{Board, JobResult, Verdict};
pub use device::{
    Choice, DeviceError, DeviceName, Found, Interface, Memory, Wanted, automatic, cpu_threads, inventory,
    keep_kernels, look_up, parse_devices,
};
pub use dispatcher::{Options, Watcher, dispatch};
pub use estimate::{Estimate, EstimateError, Estimator, Speed, SpeedSource};
pub use events::Event;
pub use failure::{Exit, Failure};
pub use follow::{Follower, Since};
pub use host::serve;
pub use plan::{Damaged, Job, Part, Plan, PlanError, point_label};
pub use process::{Message, Worker, WorkerCommand, Workers};
pub use search::Search;
pub use slots::{Room, Slots};
pub use watch::watch;
pub use worker::{Supervision, Task, WorkerError, timestamp, work};
