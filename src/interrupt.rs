//! A request to stop, and a sign of life of the one who looks for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A request to stop in good order. Long work looks for it at each of its small parts, so the number of
/// looks also tells work that goes on from work that hangs.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: AtomicBool,
    looks: AtomicU64,
}

impl Interrupt {
    /// Nobody asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked to stop.
    pub fn is_asked(&self) -> bool {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.asked.load(Ordering::Relaxed)
    }

    /// How often someone looked.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}
