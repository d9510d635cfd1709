//! What the dispatcher knows of an attempt, and the time that a run has taken.

use std::time::{Duration, Instant};

/// An attempt under way.
#[derive(Debug)]
pub struct Attempt {
    /// The job's index.
    pub index: usize,
    /// When anything was last heard of it.
    pub alive: Instant,
    /// Whether its worker said how it left the run.
    pub has_last_word: bool,
    /// Why the dispatcher ended it.
    pub cut: Option<Cut>,
    /// Whether it was asked to stop because the search gave the run up.
    pub is_given_up: bool,
}

impl Attempt {
    /// One that begins now.
    pub fn new(index: usize) -> Self {
        Self { index, alive: Instant::now(), has_last_word: false, cut: None, is_given_up: false }
    }
}

/// Why the dispatcher ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It gave no sign of life.
    Stalled,
    /// The run has taken as long as it may.
    TimeLimit,
}

/// How long a run was trained: all attempts together, without the time in which it waited for one.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrainingTime {
    before: Duration,
    since: Option<Instant>,
}

impl TrainingTime {
    /// Its worker runs.
    pub fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Its worker runs no longer.
    pub fn pause(&mut self) {
        self.before += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Up to now.
    pub fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_training() {
        let mut time = TrainingTime::default();
        std::thread::sleep(Duration::from_millis(2));
        time.pause();
        assert_eq!(time.total(), Duration::ZERO, "it never ran");
        time.start();
        std::thread::sleep(Duration::from_millis(2));
        time.pause();
        let trained = time.total();
        assert!(trained >= Duration::from_millis(2));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(time.total(), trained);
        time.start();
        std::thread::sleep(Duration::from_millis(2));
        assert!(time.total() >= trained + Duration::from_millis(2));
    }
}
