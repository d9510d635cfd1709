//! The devices of a sweep that names none.

use std::str::FromStr;

use super::name::{DeviceError, DeviceName, Interface, parse_devices};
use super::open::why_none;

/// Devices for runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The devices; one at least.
    pub devices: Vec<DeviceName>,
    /// Why it is the processors, where a GPU was to be expected; in words.
    pub notice: Option<String>,
}

/// Devices as a user names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What there is: see [`automatic`].
    Automatic,
    /// These.
    Named(Vec<DeviceName>),
}

impl FromStr for Wanted {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Automatic) } else { parse_devices(text).map(Self::Named) }
    }
}

impl Wanted {
    /// The devices.
    pub fn choose(&self) -> Choice {
        match self {
            Self::Automatic => automatic(),
            Self::Named(devices) => Choice { devices: devices.clone(), notice: None },
        }
    }
}

/// All GPUs of this machine with memory of their own, by CUDA before Vulkan, since both have the same cards;
/// the processors where there are none.
pub fn automatic() -> Choice {
    Seen::here().choose()
}

/// What the choice depends on.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Devices of CUDA, or why there are none; none where it is not built in.
    cuda: Option<Result<usize, String>>,
    /// The numbers of Vulkan's devices with memory of their own; none where it is not built in.
    vulkan: Option<Vec<usize>>,
    /// Cards that NVIDIA's kernel module has.
    nvidia_cards: usize,
}

impl Seen {
    fn here() -> Self {
        let cuda = Interface::Cuda.is_built_in().then(|| match cuda_devices() {
            0 => Err(why_none(Interface::Cuda)),
            n => Ok(n),
        });
        let has_cuda = matches!(cuda, Some(Ok(_)));
        // Not asked where the answer changes nothing.
        let vulkan = (Interface::Vulkan.is_built_in() && !has_cuda).then(cards_of_vulkan);
        Self { cuda, vulkan, nvidia_cards: nvidia_cards() }
    }

    fn choose(self) -> Choice {
        let gpus = |interface, numbers: Vec<usize>| Choice {
            devices: numbers.into_iter().map(|number| DeviceName::Gpu(interface, number)).collect(),
            notice: None,
        };
        let reason = match (self.cuda, self.vulkan) {
            (Some(Ok(n)), _) => return gpus(Interface::Cuda, (0..n).collect()),
            (_, Some(numbers)) if !numbers.is_empty() => return gpus(Interface::Vulkan, numbers),
            (Some(Err(reason)), _) => Some(reason),
            (None, _) if self.nvidia_cards > 0 => Some(
                "this machine has an NVIDIA GPU, but this kdx was built without `cuda` \
                 (`cargo build --release --features cuda`)"
                    .to_owned(),
            ),
            (None, Some(_)) => Some("Vulkan has no device with memory of its own".to_owned()),
            (None, None) => None,
        };
        Choice {
            devices: vec![DeviceName::Cpu],
            notice: reason.map(|reason| format!("runs are placed on the processors: {reason}")),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> usize {
    super::cuda::listed().as_ref().map_or(0, Vec::len)
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> usize {
    0
}

#[cfg(feature = "vulkan")]
fn cards_of_vulkan() -> Vec<usize> {
    use burn::backend::DispatchDevice;
    use burn_cubecl::CubeDevice;
    use burn_cubecl::cubecl::device::WgpuDeviceKind;

    let is_card = |device: &burn::tensor::Device| {
        let DispatchDevice::Cube(CubeDevice::Wgpu(device)) = device.as_dispatch() else { return false };
        matches!(device.kind, WgpuDeviceKind::DiscreteGpu(_))
    };
    // A loader without cards has only software devices, and may complain on the terminal about a missing
    // display.
    if cfg!(target_os = "linux") && !has_cards() {
        return Vec::new();
    }
    let devices = super::open::devices(Interface::Vulkan);
    devices.iter().enumerate().filter(|(_, device)| is_card(device)).map(|(number, _)| number).collect()
}

/// Whether Linux has a card that can compute: a render node, or one of NVIDIA's own driver.
#[cfg(feature = "vulkan")]
fn has_cards() -> bool {
    let nodes = std::fs::read_dir("/sys/class/drm").into_iter().flatten().flatten();
    let mut names = nodes.map(|node| node.file_name());
    names.any(|name| name.to_string_lossy().starts_with("renderD")) || nvidia_cards() > 0
}

/// Cards that NVIDIA's kernel module has.
fn nvidia_cards() -> usize {
    std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count)
}

#[cfg(not(feature = "vulkan"))]
fn cards_of_vulkan() -> Vec<usize> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_names_devices_or_leaves_the_choice() {
        assert_eq!("auto".parse(), Ok(Wanted::Automatic));
        assert_eq!("cpu".parse(), Ok(Wanted::Named(vec![DeviceName::Cpu])));
        assert!("auto,cpu".parse::<Wanted>().is_err());
        assert_eq!("cpu".parse::<Wanted>().unwrap().choose().devices, [DeviceName::Cpu]);
    }

    #[test]
    fn all_gpus_are_taken_and_each_card_once() {
        let both = Seen { cuda: Some(Ok(2)), vulkan: Some(vec![0, 1]), nvidia_cards: 2 };
        let names = |choice: Choice| choice.devices.iter().map(DeviceName::to_string).collect::<Vec<_>>();
        assert_eq!(names(both.choose()), ["cuda:0", "cuda:1"]);
        let other = Seen { cuda: Some(Err("no driver".to_owned())), vulkan: Some(vec![1]), nvidia_cards: 0 };
        assert_eq!(names(other.choose()), ["vulkan:1"]);
    }

    #[test]
    fn the_processors_are_taken_with_the_reason_where_a_gpu_was_to_be_expected() {
        let notice = |seen: Seen| {
            let choice = seen.choose();
            assert_eq!(choice.devices, [DeviceName::Cpu]);
            choice.notice
        };
        assert_eq!(notice(Seen::default()), None);
        let without_driver = Seen { cuda: Some(Err("no driver".to_owned())), ..Seen::default() };
        assert_eq!(notice(without_driver).unwrap(), "runs are placed on the processors: no driver");
        let not_built = notice(Seen { nvidia_cards: 1, ..Seen::default() }).unwrap();
        assert!(not_built.contains("built without `cuda`"), "{not_built}");
        let software = notice(Seen { vulkan: Some(Vec::new()), ..Seen::default() }).unwrap();
        assert!(software.contains("Vulkan"), "{software}");
    }
}
