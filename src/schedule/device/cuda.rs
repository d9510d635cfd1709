//! The devices of CUDA's driver, by the numbers that it gives them.
//!
//! The driver itself is asked, not only NVIDIA's management library: which devices a process sees and in what
//! order (`CUDA_VISIBLE_DEVICES`, `CUDA_DEVICE_ORDER`, parts of cards) is then what its workers see, who
//! inherit the environment. Nothing is opened on a device for that.

use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::{Once, OnceLock};

use cudarc::driver::result::{self, DriverError, device};

/// A device of the driver.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    /// Its identifier, without the kind before it.
    pub uuid: Option<String>,
}

/// Why the driver lists none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no libcuda.
    Missing,
    /// It does not work; in its words.
    Refused(String),
}

/// The devices that this process sees, by number.
pub fn listed() -> &'static Result<Vec<Listed>, Trouble> {
    static LISTED: OnceLock<Result<Vec<Listed>, Trouble>> = OnceLock::new();
    LISTED.get_or_init(|| match quietly(query) {
        Ok(listed) => listed.map_err(|error| Trouble::Refused(in_words(error))),
        // The only one that it has: a library that cannot be loaded.
        Err(_panic) => Err(Trouble::Missing),
    })
}

fn query() -> Result<Vec<Listed>, DriverError> {
    result::init()?;
    (0..device::get_count()?)
        .map(|number| {
            let device = device::get(number)?;
            let uuid = device::get_uuid(device).ok();
            Ok(Listed {
                name: device::get_name(device)?,
                uuid: uuid.map(|uuid| uuid_text(uuid.bytes.map(|byte| byte.to_ne_bytes()[0]))),
            })
        })
        .collect()
}

fn in_words(error: DriverError) -> String {
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{} ({})", text.to_string_lossy(), name.to_string_lossy()),
        _ => format!("{error:?}"),
    }
}

/// An identifier as NVIDIA's tools write it, without the kind before it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::new();
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

/// Runs what panics where a library is missing, without the panic's message on the terminal.
///
/// # Errors
/// What it panicked with.
pub fn quietly<T>(work: impl FnOnce() -> T + UnwindSafe) -> std::thread::Result<T> {
    thread_local!(static IS_QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                others(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    let outcome = catch_unwind(work);
    IS_QUIET.set(false);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_as_those_of_nvidia_smi() {
        let bytes = [0xab, 0x12, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255];
        assert_eq!(uuid_text(bytes), "ab120304-0506-0708-090a-0b0c0d0e0fff");
    }

    #[test]
    fn a_panic_that_is_expected_comes_back_as_a_value() {
        assert!(quietly(|| panic!("no library")).is_err());
        assert_eq!(quietly(|| 3).unwrap(), 3);
    }
}
