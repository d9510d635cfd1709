//! How much memory the process has used at most.

/// Peak resident memory of this process in bytes; 0 where the system does not say.
pub(crate) fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Forgets what was used and given back before, where the system allows it (Linux).
pub(crate) fn restart_peak() {
    // Where it does not, the peak is an upper bound, as it was.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_running_process_has_used_memory() {
        assert!(super::peak() > 1 << 20);
    }
}
