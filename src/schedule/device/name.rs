//! Devices by name.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

/// A device by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceName {
    /// The machine's processors.
    Cpu,
    /// A graphics processor, by its number among those of its interface.
    Gpu(Interface, usize),
}

/// How a graphics processor is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interface {
    /// NVIDIA's own.
    Cuda,
    /// Everybody's.
    Vulkan,
}

impl Interface {
    pub(super) const ALL: [Self; 2] = [Self::Cuda, Self::Vulkan];

    /// The name of devices, and of the feature that builds it in.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
        }
    }

    pub(super) fn is_built_in(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Vulkan => cfg!(feature = "vulkan"),
        }
    }
}

/// A device that runs cannot be placed on.
#[derive(Debug, Error, Diagnostic, PartialEq, Eq)]
pub enum DeviceError {
    /// No name of a device.
    #[error("unknown device `{0}`")]
    #[diagnostic(help("devices are: cpu, cuda:0, cuda:1, …, vulkan:0, …"))]
    Unknown(String),
    /// A name that another build of kdx knows.
    #[error("this kdx was built without `{0}`")]
    #[diagnostic(help("build it with `cargo build --release --features {0}`"))]
    NotBuilt(&'static str),
    /// Kernels for the device cannot be compiled.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    #[diagnostic(transparent)]
    Toolkit(#[from] super::toolkit::ToolkitError),
    /// A number beyond the devices of the machine.
    #[error("there is no device `{name}`: {found}")]
    #[diagnostic(help("`kdx devices` lists what this machine has"))]
    Absent {
        /// The device that was asked for.
        name: DeviceName,
        /// What there is, in words.
        found: String,
    },
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let (name, index) = text.split_once(':').unwrap_or((text, "0"));
        let interface = Interface::ALL.into_iter().find(|interface| interface.name() == name);
        let (Some(interface), Ok(index)) = (interface, index.parse()) else {
            return Err(DeviceError::Unknown(text.to_owned()));
        };
        if !interface.is_built_in() {
            return Err(DeviceError::NotBuilt(interface.name()));
        }
        Ok(Self::Gpu(interface, index))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(interface, index) => write!(f, "{}:{index}", interface.name()),
        }
    }
}

impl DeviceName {
    /// Whether it is the machine's processors.
    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }
}

/// Reads names with commas between, as `cpu` or `cuda:0,2`: a number alone is of the interface before it.
///
/// # Errors
/// As for a [`DeviceName`].
pub fn parse_devices(text: &str) -> Result<Vec<DeviceName>, DeviceError> {
    let mut names: Vec<DeviceName> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let name = match (names.last(), part.parse::<usize>()) {
            (Some(DeviceName::Gpu(interface, _)), Ok(index)) => DeviceName::Gpu(*interface, index),
            _ => part.parse()?,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written_and_others_are_refused() {
        assert_eq!("cpu".parse(), Ok(DeviceName::Cpu));
        for (text, interface) in [("cuda:2", Interface::Cuda), ("vulkan:0", Interface::Vulkan)] {
            match text.parse::<DeviceName>() {
                Ok(name) => assert_eq!((name.to_string(), interface.is_built_in()), (text.to_owned(), true)),
                Err(error) => {
                    assert_eq!(error, DeviceError::NotBuilt(interface.name()));
                    assert!(!interface.is_built_in());
                }
            }
        }
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "tpu:0", "cpu:0"] {
            assert_eq!(text.parse::<DeviceName>(), Err(DeviceError::Unknown(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_list_of_devices_says_each_interface_once() {
        assert_eq!(parse_devices("cpu, cpu"), Ok(vec![DeviceName::Cpu]));
        assert_eq!(parse_devices("1"), Err(DeviceError::Unknown("1".to_owned())));
        assert_eq!(parse_devices("cpu,"), Err(DeviceError::Unknown(String::new())));
        let several = parse_devices("cuda:0,2,cpu");
        if Interface::Cuda.is_built_in() {
            let gpu = |index| DeviceName::Gpu(Interface::Cuda, index);
            assert_eq!(several, Ok(vec![gpu(0), gpu(2), DeviceName::Cpu]));
        } else {
            assert_eq!(several, Err(DeviceError::NotBuilt("cuda")));
        }
    }
}
