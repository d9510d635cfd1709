//! Where the time goes: of the parts of a step, and of a call that is made again and again.

use std::time::{Duration, Instant};

use burn::tensor::Device;

use super::error::BenchError;
use crate::distill::{Clock, Part};

/// Calls before the first that is timed: kernels are compiled and chosen among.
const WARMUP: usize = 3;
/// Calls are timed together until they take this long, so that starting them and waiting for them is little
/// of it.
const ROUND: Duration = Duration::from_millis(20);
/// Rounds to take at least.
const LEAST_ROUNDS: usize = 5;
/// How long to look for the best.
const TIME: Duration = Duration::from_millis(300);

/// Seconds of each part of one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times([f64; Part::ALL.len()]);

impl Times {
    pub(super) fn of(&self, part: Part) -> f64 {
        self.0[part as usize]
    }

    /// Seconds of the whole step.
    pub(super) fn whole(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// Gives all time since its last reading to a part.
pub(super) struct Stopwatch<'a> {
    last: Instant,
    times: Times,
    /// The device that it waits for before each reading; without one, work that a device has yet to do falls
    /// to whichever part waits for it.
    device: Option<&'a Device>,
    in_use: u64,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn start(device: Option<&'a Device>) -> Self {
        Self { last: Instant::now(), times: Times::default(), device, in_use: 0 }
    }

    /// The times so far.
    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// Most bytes that tensors on the device took at a reading; 0 where it is not known.
    pub(super) fn in_use(&self) -> u64 {
        self.in_use
    }
}

impl Clock for Stopwatch<'_> {
    type Error = BenchError;

    fn record(&mut self, part: Part) -> Result<(), BenchError> {
        if let Some(device) = self.device {
            wait(device)?;
        }
        let now = Instant::now();
        self.times.0[part as usize] += (now - self.last).as_secs_f64();
        self.last = now;
        if let Some(device) = self.device {
            self.in_use = self.in_use.max(device.memory_pool_usage().map_or(0, |usage| usage.bytes_in_use));
            // Asking took its time.
            self.last = Instant::now();
        }
        Ok(())
    }
}

/// Waits until a device has done all that it was given.
pub(super) fn wait(device: &Device) -> Result<(), BenchError> {
    device.sync().map_err(|error| BenchError::Execution(error.to_string()))
}

/// Seconds of a call, in the fastest of several rounds of calls.
pub(super) fn fastest(device: &Device, mut call: impl FnMut()) -> Result<f64, BenchError> {
    for _ in 0..WARMUP {
        call();
    }
    wait(device)?;
    let begin = Instant::now();
    let (mut calls, mut rounds, mut best) = (1_u32, 0, Duration::MAX);
    while rounds < LEAST_ROUNDS || begin.elapsed() < TIME {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        wait(device)?;
        let round = start.elapsed();
        if round < ROUND && calls < 1 << 12 {
            calls *= 2;
            continue;
        }
        best = best.min(round / calls);
        rounds += 1;
    }
    Ok(best.as_secs_f64())
}
