//! Bytes that a device has, and that are free.

/// The memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it, in bytes.
    pub total: u64,
    /// What is free for new processes, in bytes; none where nobody says.
    pub free: Option<u64>,
}

impl Memory {
    /// That of the machine's processors; none where the system does not say.
    pub fn of_processors() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let field = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self { total: field("MemTotal:")?, free: Some(field("MemAvailable:")?) })
    }

    /// That of a card by its place on the bus, as `0000:01:00.0`, where its driver tells it by files
    /// (amdgpu).
    #[cfg(feature = "vulkan")]
    pub(super) fn of_card(place: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            std::fs::read_to_string(format!("/sys/bus/pci/devices/{place}/{name}")).ok()?.trim().parse().ok()
        };
        let total = field("mem_info_vram_total")?;
        Some(Self { total, free: field("mem_info_vram_used").map(|used| total.saturating_sub(used)) })
    }
}

/// Processors that this process may use.
pub fn cpu_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
