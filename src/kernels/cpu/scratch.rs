//! Working memory that is allocated once and used again.
//!
//! Fresh memory costs a page fault per 4 KiB, more than many kernels spend on what they then write there.
//! Each thread keeps the buffers that were dropped on it; [`Scratch::take`] hands out the smallest one that
//! is large enough. A buffer is owned while it is in use, so a thread that steals another task in the middle
//! of a kernel simply takes another one.

use bytemuck::{Pod, Zeroable};
use std::cell::RefCell;

/// A cache line of 32-bit words: vectors start at its boundaries.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// 32-bit words that start at a cache line.
#[derive(Default)]
pub struct Words {
    lines: Vec<Line>,
    len: usize,
}

impl Words {
    /// Makes it `len` words long. What they hold is unspecified: zeros or what was there before.
    pub fn resize(&mut self, len: usize) {
        let lines = len.div_ceil(16);
        if lines > self.lines.len() {
            if lines > self.lines.capacity() {
                // Nothing to keep: a new zeroed allocation instead of a copy.
                self.lines = Vec::new();
                self.lines = vec![Line::zeroed(); lines];
            } else {
                self.lines.resize(lines, Line::zeroed());
            }
        }
        self.len = len;
    }

    /// As numbers.
    pub fn f32(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// As numbers.
    pub fn f32_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }
}

thread_local! {
    static FREE: RefCell<Vec<Words>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread keeps; more are freed, the smallest first.
const KEPT: usize = 12;

/// A borrowed buffer, given back on drop.
pub struct Scratch(Words);

impl Scratch {
    /// A buffer of `len` words with unspecified contents.
    pub fn take(len: usize) -> Scratch {
        let mut words = FREE.with_borrow_mut(|free| {
            let fitting = free.iter().enumerate().filter(|(_, words)| words.lines.len() * 16 >= len);
            let best = fitting.min_by_key(|(_, words)| words.lines.len()).map(|(i, _)| i);
            // None is large enough: let the largest grow rather than keep both.
            let largest =
                || free.iter().enumerate().max_by_key(|(_, words)| words.lines.len()).map(|(i, _)| i);
            best.or_else(largest).map(|i| free.swap_remove(i)).unwrap_or_default()
        });
        words.resize(len);
        Scratch(words)
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// As numbers.
    pub fn f32(&self) -> &[f32] {
        self.0.f32()
    }

    /// As numbers.
    pub fn f32_mut(&mut self) -> &mut [f32] {
        self.0.f32_mut()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let words = std::mem::take(&mut self.0);
        // The thread may be ending: then there is nobody to keep it for.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            free.push(words);
            if free.len() > KEPT
                && let Some((smallest, _)) =
                    free.iter().enumerate().min_by_key(|(_, words)| words.lines.len())
            {
                free.swap_remove(smallest);
            }
        });
    }
}

/// Frees the buffers that the calling thread keeps.
pub fn release() {
    FREE.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_nested_ones_are_distinct() {
        release();
        let mut outer = Scratch::take(100);
        outer.f32_mut().fill(1.0);
        let address = outer.f32().as_ptr();
        assert_eq!(address as usize % 64, 0);
        let mut inner = Scratch::take(50);
        inner.f32_mut().fill(2.0);
        assert!(outer.f32().iter().all(|&x| x == 1.0));
        drop(inner);
        drop(outer);
        assert_eq!(Scratch::take(97).f32().as_ptr(), address);
        assert_eq!(Scratch::take(0).f32().len(), 0);
    }
}
