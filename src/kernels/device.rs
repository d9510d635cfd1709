//! What kernels know of devices.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Numbers of a piece of work that a GPU writes and reads again at once: 64 MiB in single precision, near
/// what the cache of a large one holds, and enough to keep it busy.
pub const GPU_PIECE: usize = 1 << 24;

/// Whether tensors of a device are in the processor's memory: its kernels pack weights, and know what they
/// computed at once.
pub fn is_processor(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(_) => is_processor(&device.clone().without_autodiff()),
        #[allow(unreachable_patterns, reason = "there are other devices only with features for GPUs")]
        _ => false,
    }
}
