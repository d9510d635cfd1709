//! Which process holds a lease, and whether it is still there.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A process, told from all others that had or will have its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Boot and process namespace: where these are the same, numbers of processes mean the same. None where
    /// the system does not say.
    pub(super) host_key: Option<String>,
    pub(super) pid: u32,
    /// Clock ticks from the boot to its start.
    pub(super) started: Option<u64>,
}

impl Process {
    /// This one.
    pub(super) fn this() -> Self {
        let started = match look(std::process::id()) {
            Look::Running { started } => Some(started),
            Look::Ended | Look::Unknown => None,
        };
        Self { host_key: host_key(), pid: std::process::id(), started }
    }

    /// Whether it is known to have ended. False where that cannot be told from here.
    pub(super) fn is_gone(&self) -> bool {
        if self.host_key.is_none() || self.host_key != host_key() {
            return false;
        }
        match (look(self.pid), self.started) {
            (Look::Ended, _) => true,
            (Look::Running { started }, Some(expected)) => started != expected,
            _ => false,
        }
    }
}

/// What `/proc` says of a process.
enum Look {
    Running { started: u64 },
    Ended,
    Unknown,
}

fn look(pid: u32) -> Look {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => parse(&stat).unwrap_or(Look::Unknown),
        // The processes of other users may be hidden; the first one is there always.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::exists("/proc/1/stat").unwrap_or(false) =>
        {
            Look::Ended
        }
        Err(_) => Look::Unknown,
    }
}

/// Reads a line of `/proc/PID/stat`, see proc_pid_stat(5).
fn parse(stat: &str) -> Option<Look> {
    // The name, in parentheses, may hold anything; the state, field 3, comes after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, threads, started) = (*fields.first()?, *fields.get(17)?, fields.get(19)?.parse().ok()?);
    // A process that waits for its parent to take note does nothing more, once its last thread is gone.
    if matches!(state, "Z" | "X") && matches!(threads, "0" | "1") {
        return Some(Look::Ended);
    }
    Some(Look::Running { started })
}

fn host_key() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The name of this machine.
pub(super) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "an unnamed machine".to_owned())
}

/// A word that no other lease has.
pub(super) fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {:?} {} {count} {time:?}", host(), host_key(), std::process::id());
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_there_until_it_ends_and_its_number_alone_is_not_it() {
        let this = Process::this();
        assert!(this.started.is_some() && this.host_key.is_some());
        assert!(!this.is_gone());
        assert!(Process { started: this.started.map(|ticks| ticks + 1), ..this.clone() }.is_gone());
        assert!(!Process { host_key: Some("elsewhere".to_owned()), pid: 1 << 30, ..this.clone() }.is_gone());
        assert!(!Process { host_key: None, pid: 1 << 30, ..this.clone() }.is_gone());
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let Look::Running { started } = look(child.id()) else { panic!("the child runs") };
        let process = Process { pid: child.id(), started: Some(started), ..this };
        assert!(!process.is_gone());
        child.kill().unwrap();
        // Ended, but not yet waited for.
        while !process.is_gone() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.is_gone());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "12 (a) Z (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 4 18 777 20";
        assert!(matches!(parse(stat), Some(Look::Running { started: 777 })));
        assert!(parse("12 (a) S 1 2").is_none());
    }
}
