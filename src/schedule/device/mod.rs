//! The devices that runs can be placed on.
//!
//! ```text
//! name       devices by name, as `cuda:0`
//! open       Burn's device of a name, or why there is none
//! inventory  what this machine has, with its memory
//! choice     the devices of a sweep that names none
//! memory     bytes that a device has, and that are free
//! nvidia     what NVIDIA's management library says of memory
//! cuda       the devices of CUDA's driver, by its numbers
//! kernels    where compiled kernels are kept
//! toolkit    what CUDA needs to compile kernels
//! ```

mod choice;
#[cfg(feature = "cuda")]
mod cuda;
mod inventory;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod kernels;
mod memory;
mod name;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod nvidia;
mod open;
#[cfg(any(test, feature = "cuda"))]
mod toolkit;

pub use choice::{Choice, Wanted, automatic};
pub use inventory::{Found, inventory, look_up};
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub use kernels::keep_kernels;
pub use memory::{Memory, cpu_threads};
pub use name::{DeviceError, DeviceName, Interface, parse_devices};

/// Nothing is compiled for a device in a build without one of the features for GPUs.
#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
pub fn keep_kernels(_: &std::path::Path, _: &DeviceName) {}
