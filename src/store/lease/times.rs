//! How long a lease lasts.

use std::time::Duration;

use crate::store::error::StoreError;

/// The environment variable that sets the length of leases, in seconds.
const SECONDS: &str = "KDX_LEASE_SECONDS";

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaseTimes {
    /// Time without a sign of life after which an owner counts as gone. It gives one every quarter of it.
    pub length: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { length: Duration::from_secs(60) }
    }
}

impl LeaseTimes {
    /// The default, or what `KDX_LEASE_SECONDS` says.
    ///
    /// # Errors
    /// Where it says something that is no number of seconds from 0.1 to a day.
    pub fn from_env() -> Result<Self, StoreError> {
        let Some(found) = std::env::var_os(SECONDS) else { return Ok(Self::default()) };
        let seconds = found.to_str().and_then(|text| text.trim().parse::<f64>().ok());
        match seconds.filter(|seconds| (0.1..=86_400.0).contains(seconds)) {
            Some(seconds) => Ok(Self { length: Duration::from_secs_f64(seconds) }),
            None => Err(StoreError::LeaseSeconds { found: found.to_string_lossy().into_owned() }),
        }
    }

    /// Time between two signs of life.
    pub(super) fn renewal(self) -> Duration {
        self.length / 4
    }

    /// How long a renewal is believed without looking.
    pub(super) fn trust(self) -> Duration {
        self.length / 2
    }
}
