//! Where a GPU's compiled kernels are kept, and which of several kernels of Burn's was the fastest.
//!
//! All workers of a store share them, at once and one after another: only the first that needs a kernel
//! compiles it. The products of a training step are not among those that are tried out against each other.

use std::path::Path;

use burn_cubecl::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cubecl_environment::persistence::CacheConfig;

use super::inventory::cuda_name;
use super::name::{DeviceName, Interface};

/// Keeps what this process compiles for a GPU under `cache_dir`. To be called before a GPU is opened; later
/// calls change nothing.
pub fn keep_kernels(cache_dir: &Path, device: &DeviceName) {
    let DeviceName::Gpu(interface, number) = device else { return };
    let card = match interface {
        Interface::Cuda => cuda_name(*number),
        Interface::Vulkan => None,
    };
    let mut config = CubeClRuntimeConfig::default().override_from_env();
    config.compilation.cache = true;
    config.environment.name = environment(*interface, card.as_deref());
    config.environment.path = CacheConfig::Directory(cache_dir.join(crate::cache::KERNELS));
    if !CubeClRuntimeConfig::try_set(config) {
        tracing::debug!("kernels are kept where CubeCL was told to keep them before");
    }
}

/// What is fastest on one card is not on another: each has a directory of its own. What is in it, CubeCL
/// keeps apart by its version and, compiled kernels, by this program's build.
fn environment(interface: Interface, card: Option<&str>) -> String {
    let words = format!("{} {}", interface.name(), card.unwrap_or_default());
    let plain =
        words.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_directories_of_their_own() {
        assert_eq!(environment(Interface::Cuda, Some("NVIDIA H200")), "cuda-nvidia-h200");
        assert_eq!(environment(Interface::Vulkan, None), "vulkan");
    }
}
