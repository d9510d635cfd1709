//! What this machine has to place runs on.

#[cfg(feature = "vulkan")]
use burn::tensor::Device;

use super::memory::{Memory, cpu_threads};
use super::name::DeviceName;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
use super::name::Interface;

/// A device that this machine has.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub name: DeviceName,
    /// What it is, in the words of its driver.
    pub description: String,
    /// Its memory, where somebody says.
    pub memory: Option<Memory>,
}

/// What runs can be placed on here: the processors first, then the GPUs of each interface that is built in.
/// Devices of Vulkan are opened to ask for their names, those of CUDA are not.
pub fn inventory() -> Vec<Found> {
    let threads = cpu_threads();
    let cpu = format!("{threads} processor{}", if threads == 1 { "" } else { "s" });
    let cpu = Found { name: DeviceName::Cpu, description: cpu, memory: Memory::of_processors() };
    std::iter::once(cpu).chain(of_cuda()).chain(of_vulkan()).collect()
}

#[cfg(feature = "cuda")]
fn of_cuda() -> Vec<Found> {
    let listed = super::cuda::listed().as_ref().map_or(&[][..], Vec::as_slice);
    let found = listed.iter().enumerate().map(|(number, device)| Found {
        name: DeviceName::Gpu(Interface::Cuda, number),
        description: device.name.clone(),
        memory: device.uuid.as_deref().and_then(super::nvidia::memory_by_uuid),
    });
    found.collect()
}

#[cfg(not(feature = "cuda"))]
fn of_cuda() -> Vec<Found> {
    Vec::new()
}

#[cfg(feature = "vulkan")]
fn of_vulkan() -> Vec<Found> {
    let devices = super::open::devices(Interface::Vulkan).into_iter().enumerate();
    let found = devices.map(|(number, device)| Found {
        name: DeviceName::Gpu(Interface::Vulkan, number),
        description: device.identity().map_or_else(String::new, |identity| identity.name),
        memory: opened_memory(&device),
    });
    found.collect()
}

#[cfg(not(feature = "vulkan"))]
fn of_vulkan() -> Vec<Found> {
    Vec::new()
}

/// The memory of a device as far as it is known without opening it: nothing of those of Vulkan.
pub fn look_up(name: &DeviceName) -> Option<Memory> {
    match name {
        DeviceName::Cpu => Memory::of_processors(),
        #[cfg(feature = "cuda")]
        DeviceName::Gpu(Interface::Cuda, number) => {
            let uuid = super::cuda::listed().as_ref().ok()?.get(*number)?.uuid.as_deref()?;
            super::nvidia::memory_by_uuid(uuid)
        }
        DeviceName::Gpu(..) => None,
    }
}

/// What a device of CUDA is called.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
pub fn cuda_name(number: usize) -> Option<String> {
    #[cfg(feature = "cuda")]
    return super::cuda::listed().as_ref().ok()?.get(number).map(|device| device.name.clone());
    #[cfg(not(feature = "cuda"))]
    {
        let _ = number;
        None
    }
}

/// The memory of a device that may be opened for it.
#[cfg(feature = "vulkan")]
fn opened_memory(device: &Device) -> Option<Memory> {
    use burn::backend::DispatchDevice;

    let DispatchDevice::Cube(device) = device.as_dispatch() else { return None };
    let client = device.client();
    let properties = client.properties();
    let card = properties.identity.physical.as_ref()?;
    let place = card.pci_address.map(|address| address.to_string());
    place
        .and_then(|place| super::nvidia::memory_by_place(&place).or_else(|| Memory::of_card(&place)))
        .or_else(|| properties.memory.max_memory().map(|total| Memory { total, free: None }))
}
