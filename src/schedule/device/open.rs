//! Opening devices, and why there is none to open.

use burn::tensor::Device;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
use burn::tensor::DeviceType;

use super::name::{DeviceError, DeviceName, Interface};

impl DeviceName {
    /// Checks that runs can be trained on the device, as far as that is known before one is: that it is
    /// there, and that its kernels can be compiled.
    ///
    /// # Errors
    /// Where it is not, or what it needs is not installed.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.to_burn()?;
        #[cfg(feature = "cuda")]
        if matches!(self, Self::Gpu(Interface::Cuda, _)) {
            super::toolkit::check()?;
        }
        Ok(())
    }

    /// Burn's device, without autodiff.
    ///
    /// # Errors
    /// Where the machine has no such device.
    pub fn to_burn(&self) -> Result<Device, DeviceError> {
        let Self::Gpu(interface, index) = self else { return Ok(Device::flex()) };
        let mut devices = devices(*interface);
        if *index < devices.len() {
            return Ok(devices.swap_remove(*index));
        }
        let found = match devices.len() {
            0 => why_none(*interface),
            n => format!("the last one is {}:{}", interface.name(), n - 1),
        };
        Err(DeviceError::Absent { name: self.clone(), found })
    }
}

/// The devices of an interface; none where its driver is not installed.
pub fn devices(interface: Interface) -> Vec<Device> {
    match interface {
        #[cfg(feature = "cuda")]
        Interface::Cuda => Device::enumerate(DeviceType::Cuda).into_vec(),
        #[cfg(feature = "vulkan")]
        Interface::Vulkan => Device::enumerate(DeviceType::Vulkan).into_vec(),
        #[allow(unreachable_patterns, reason = "there is nothing else with all features")]
        _ => Vec::new(),
    }
}

/// Why an interface has no device here, in words.
pub fn why_none(interface: Interface) -> String {
    match interface {
        #[cfg(feature = "cuda")]
        Interface::Cuda => match super::cuda::listed() {
            Err(super::cuda::Trouble::Missing) => {
                "NVIDIA's driver was not found (no libcuda could be loaded)".to_owned()
            }
            Err(super::cuda::Trouble::Refused(reason)) => match std::env::var("CUDA_VISIBLE_DEVICES") {
                Ok(visible) => format!("NVIDIA's driver says: {reason}; CUDA_VISIBLE_DEVICES is `{visible}`"),
                Err(_) => format!("NVIDIA's driver says: {reason}"),
            },
            Ok(_) => "NVIDIA's driver has no device".to_owned(),
        },
        _ => format!("no {} device was found", interface.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_are_always_there_and_what_is_not_says_what_is() {
        assert_eq!(DeviceName::Cpu.check(), Ok(()));
        let beyond = DeviceName::Gpu(Interface::Vulkan, usize::MAX);
        let error = beyond.to_burn().map(drop).unwrap_err();
        assert!(matches!(error, DeviceError::Absent { name, found } if name == beyond && !found.is_empty()));
    }
}
