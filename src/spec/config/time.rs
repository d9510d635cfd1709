//! Lengths of time in experiment files.

use std::time::Duration;

/// A length of time in seconds, none where it is 0.
pub(super) fn positive_seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}
