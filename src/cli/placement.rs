//! How many runs go at once, and on which devices.

use crate::schedule::{self, DeviceName, Job, Room, Slots};
use crate::spec::{PerDevice, ResourcesConfig};

/// The slots of a sweep on these devices, with so many `jobs` on each or as many as the experiment says.
pub fn choose_slots(
    devices: &[DeviceName],
    jobs: Option<u64>,
    resources: &ResourcesConfig,
    pending: &[Job],
) -> Slots {
    let fixed = match (jobs, resources.per_device) {
        (Some(jobs), _) => Some(usize::try_from(jobs).unwrap_or(usize::MAX)),
        (None, PerDevice::Count(count)) => Some(count),
        (None, PerDevice::Auto(_)) => None,
    };
    let rooms: Vec<Room> = devices.iter().map(Room::of).collect();
    let estimates: Vec<_> = pending.iter().map(|job| &job.estimate).collect();
    Slots::new(&rooms, fixed, schedule::cpu_threads(), resources.threads, &estimates)
}
