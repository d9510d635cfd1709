//! What a sweep through Slurm is made with.

use std::path::PathBuf;
use std::time::Duration;

use crate::schedule::device::DeviceName;
use crate::schedule::executor::IgnoredKey;
use crate::spec::{PerDevice, ResourcesConfig, SlurmConfig};
use crate::store::Store;

/// What a sweep through Slurm is made with.
#[derive(Debug)]
pub struct Options<'a> {
    /// The experiment's name.
    pub experiment: &'a str,
    /// What Slurm is asked for.
    pub slurm: &'a SlurmConfig,
    /// Where the runs are kept; absolute, and on a file system that the nodes share.
    pub store: Store,
    /// The kdx on the nodes.
    pub program: PathBuf,
    /// The device that workers train on.
    pub device: DeviceName,
    /// How long a worker may give no sign of life before it ends itself.
    pub stall_timeout: Option<Duration>,
    /// Whether Ctrl-C cancels the jobs; else they go on.
    pub cancel_on_interrupt: bool,
}

/// The keys of `[resources]` that are set and that change nothing through Slurm.
pub fn ignored_keys(resources: &ResourcesConfig) -> Vec<IgnoredKey> {
    let ResourcesConfig {
        per_device,
        share_process,
        threads,
        // The dispatcher's.
        attempts: _,
        time_limit: _,
        // Given to each worker, which ends itself.
        stall_timeout: _,
    } = resources;
    let keys = [
        (
            matches!(per_device, PerDevice::Count(_)),
            "per_device",
            "a job of the cluster trains one run; slurm.max_tasks (or --jobs) says how many run at once",
        ),
        (*share_process, "share_process", "every run has a process of its own"),
        (*threads > 0, "threads", "slurm.cpus says how many CPU threads a run has"),
    ];
    let ignored = keys.into_iter().filter(|(is_set, ..)| *is_set);
    ignored.map(|(_, key, why)| IgnoredKey { key, reason: format!("with --executor slurm: {why}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_change_nothing_are_named_with_what_to_set_in_their_place() {
        assert_eq!(ignored_keys(&ResourcesConfig::default()), []);
        let resources = ResourcesConfig {
            per_device: PerDevice::Count(2),
            share_process: true,
            threads: 4,
            attempts: 3,
            stall_timeout: 1.0,
            time_limit: 2.0,
        };
        let ignored: Vec<String> = ignored_keys(&resources).iter().map(ToString::to_string).collect();
        assert_eq!(ignored.len(), 3, "{ignored:?}");
        assert!(ignored[0].starts_with("resources.per_device ") && ignored[0].contains("slurm.max_tasks"));
        assert!(ignored[1].starts_with("resources.share_process "));
        assert_eq!(
            ignored[2],
            "resources.threads has no effect with --executor slurm: slurm.cpus says how many CPU threads a \
             run has"
        );
    }
}
