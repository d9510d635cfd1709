//! What NVIDIA's management library (NVML) says of memory. It is part of the driver, and loaded when it is
//! asked.

use std::sync::OnceLock;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::memory::Memory;

/// The library; none where there is no driver, or one without it.
fn library() -> Option<&'static Nvml> {
    static LIBRARY: OnceLock<Option<Nvml>> = OnceLock::new();
    LIBRARY.get_or_init(|| Nvml::init().ok()).as_ref()
}

fn memory_of(device: Result<Device<'_>, NvmlError>) -> Option<Memory> {
    let info = device.and_then(|device| device.memory_info()).ok()?;
    Some(Memory { total: info.total, free: Some(info.free) })
}

/// The memory of the card, or the part of one (MIG), with this identifier.
#[cfg(feature = "cuda")]
pub fn memory_by_uuid(uuid: &str) -> Option<Memory> {
    let library = library()?;
    ["GPU", "MIG"].iter().find_map(|kind| memory_of(library.device_by_uuid(format!("{kind}-{uuid}"))))
}

/// The memory of the card at this place of the bus, as `0000:01:00.0`.
#[cfg(feature = "vulkan")]
pub fn memory_by_place(place: &str) -> Option<Memory> {
    memory_of(library()?.device_by_pci_bus_id(place))
}

/// The newest CUDA that the driver supports, as 13 and 0.
#[cfg(feature = "cuda")]
pub fn cuda_version() -> Option<(i32, i32)> {
    let version = library()?.sys_cuda_driver_version().ok()?;
    Some((nvml_wrapper::cuda_driver_version_major(version), nvml_wrapper::cuda_driver_version_minor(version)))
}
