//! Why an attempt at a run came to nothing, as far as its dispatcher can tell.

use std::fmt;
use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use super::worker::timestamp;
use crate::store::{FORMAT_VERSION, RunDir, RunState, RunStatus, StoreError};

/// An attempt that ended without a result, and that may go better another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The worker vanished, or could not be started; in words.
    Crashed(String),
    /// The worker was ended because memory ran out; in words.
    OutOfMemory(String),
    /// The worker gave no sign of life for so long, and was ended.
    Stalled(Duration),
}

/// How a worker ended.
#[derive(Debug)]
pub enum Exit {
    /// Its process is gone; none where the system could not say how it ended.
    Process(Option<ExitStatus>),
    /// The process that it shared with other runs is gone; as above.
    Shared(Option<ExitStatus>),
    /// Its thread is done, in a process that goes on.
    Thread {
        /// What it panicked of, where it did.
        panic: Option<String>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashed(how) | Self::OutOfMemory(how) => f.write_str(how),
            Self::Stalled(time) => write!(
                f,
                "its worker gave no sign of life for {} and was ended (resources.stall_timeout)",
                humantime::format_duration(*time)
            ),
        }
    }
}

/// What CubeCL, CUDA's driver and Vulkan's say when a GPU's memory is full, as it stands in a panic's
/// message.
const DEVICE_IS_FULL: [&str; 5] = [
    "out of device memory allocating",
    "out-of-memory error happened during launch",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "ERROR_OUT_OF_DEVICE_MEMORY",
    "OutOfMemory {",
];

impl Failure {
    /// Why a worker ended without a report. `log` is the end of what it printed, `was_killed_for_memory`
    /// whether the system ended processes to get memory back while it ran.
    pub fn of(exit: &Exit, log: &str, was_killed_for_memory: bool) -> Self {
        if DEVICE_IS_FULL.iter().any(|words| log.contains(words)) {
            return Self::OutOfMemory("its worker ended: out of memory on its GPU".to_owned());
        }
        match exit {
            Exit::Process(status) => Self::of_process(*status, log, was_killed_for_memory),
            Exit::Shared(status) => {
                let and_others = |how| format!("{how}; so did the other runs of its process");
                match Self::of_process(*status, log, was_killed_for_memory) {
                    Self::Crashed(how) => Self::Crashed(and_others(how)),
                    Self::OutOfMemory(how) => Self::OutOfMemory(and_others(how)),
                    Self::Stalled(time) => Self::Stalled(time),
                }
            }
            Exit::Thread { panic: Some(panic) } => Self::Crashed(format!("its worker panicked: {panic}")),
            Exit::Thread { panic: None } => Self::Crashed("its worker ended without a report".to_owned()),
        }
    }

    fn of_process(status: Option<ExitStatus>, log: &str, was_killed_for_memory: bool) -> Self {
        let Some(status) = status else { return Self::Crashed("its worker vanished".to_owned()) };
        let no_allocation = log.contains("memory allocation of") && log.contains("failed");
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return match signal {
                9 if was_killed_for_memory => {
                    Self::OutOfMemory("its worker was killed by the system: out of memory".to_owned())
                }
                6 if no_allocation => Self::OutOfMemory(
                    "its worker aborted: it could not get the memory it asked for".to_owned(),
                ),
                9 => Self::Crashed("its worker was killed (signal 9)".to_owned()),
                11 => Self::Crashed("its worker crashed (signal 11, segmentation fault)".to_owned()),
                6 => Self::Crashed("its worker aborted (signal 6)".to_owned()),
                other => Self::Crashed(format!("its worker was ended by signal {other}")),
            };
        }
        let how = match status.code() {
            Some(code) => format!("its worker ended with exit code {code} and no report"),
            None => "its worker ended without a report".to_owned(),
        };
        if no_allocation { Self::OutOfMemory(how) } else { Self::Crashed(how) }
    }
}

impl Failure {
    /// Writes into a run directory that the run failed, which a worker that is gone could not do itself.
    ///
    /// # Errors
    /// Where the run directory cannot be owned or written.
    pub fn record(dir: &RunDir, reason: &str) -> Result<(), StoreError> {
        // Whoever took the run over meanwhile says how it ended.
        let Some(held) = dir.try_acquire()? else { return Ok(()) };
        let now = timestamp();
        let status = held.status().ok().flatten().unwrap_or(RunStatus {
            format_version: FORMAT_VERSION,
            state: RunState::Failed,
            attempt: 1,
            device: String::new(),
            threads: 0,
            pid: 0,
            started: now.clone(),
            updated: now.clone(),
            reason: None,
        });
        let reason = Some(reason.to_owned());
        held.write_status(&RunStatus { state: RunState::Failed, updated: now, reason, ..status })
    }
}

/// An error with what to do about it, on one line.
pub fn in_words(error: &StoreError) -> String {
    match miette::Diagnostic::help(error) {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

/// How many processes the system has ended to get memory back, on this machine and in this control
/// group; none where it does not say.
pub fn memory_kills() -> Option<u64> {
    let counter = |path: &str, name: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let group = control_group().and_then(|group| counter(&format!("{group}/memory.events"), "oom_kill"));
    let machine = counter("/proc/vmstat", "oom_kill");
    (group.is_some() || machine.is_some()).then(|| group.unwrap_or(0) + machine.unwrap_or(0))
}

/// The directory of this process's control group (version 2).
pub(super) fn control_group() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!("/sys/fs/cgroup{}", path.trim_end_matches('/')))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn memory_is_told_from_other_ends() {
        let of = |raw, log, killed| Failure::of(&Exit::Process(Some(ExitStatus::from_raw(raw))), log, killed);
        let log = "INFO step 3\nmemory allocation of 123 bytes failed\n";
        assert!(matches!(of(9, "", true), Failure::OutOfMemory(_)));
        assert!(matches!(of(9, "", false), Failure::Crashed(_)));
        assert!(matches!(of(6, log, false), Failure::OutOfMemory(_)));
        assert!(matches!(of(6, "panic", true), Failure::Crashed(_)));
        assert!(matches!(of(11, "", true), Failure::Crashed(_)));
        assert_eq!(of(3 << 8, "", false).to_string(), "its worker ended with exit code 3 and no report");
        for log in [
            "thread 'main' panicked: An IO error happened\nCaused by:\n  out of device memory allocating \
             4096 bytes",
            "called `Result::unwrap()` on an `Err` value: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of \
             memory\")",
            "Execute(OutOfMemory { size: 4096 })",
        ] {
            assert!(matches!(of(101 << 8, log, false), Failure::OutOfMemory(_)), "{log}");
        }
        assert!(matches!(of(101 << 8, "DriverError(CUDA_ERROR_INVALID_PTX)", false), Failure::Crashed(_)));
        assert!(Failure::of(&Exit::Process(None), "", false).to_string().contains("vanished"));
    }

    #[test]
    fn a_process_of_several_runs_ends_for_all_and_a_thread_for_its_own() {
        let shared = Exit::Shared(Some(ExitStatus::from_raw(9)));
        let failure = Failure::of(&shared, "", false);
        let Failure::Crashed(how) = &failure else { panic!("{failure:?}") };
        assert!(how.contains("signal 9") && how.contains("other runs"), "{how}");
        assert!(matches!(Failure::of(&shared, "", true), Failure::OutOfMemory(_)));
        let thread = Exit::Thread { panic: Some("no such row".to_owned()) };
        assert_eq!(Failure::of(&thread, "", true).to_string(), "its worker panicked: no such row");
        assert!(matches!(Failure::of(&thread, DEVICE_IS_FULL[0], false), Failure::OutOfMemory(_)));
    }
}
