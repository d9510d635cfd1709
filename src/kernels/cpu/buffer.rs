//! Memory of tensors that is used again.
//!
//! A training step makes the same tensors as the one before. Fresh memory costs a page fault and a cleared
//! page per 4 KiB, so what a tensor leaves behind is kept for the next one of about its size. What has not
//! been wanted for a while is given back to the system.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// A cache line; tensors start at the beginning of one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Smaller tensors are left to the allocator, which keeps them by itself.
const LEAST_BYTES: usize = 1 << 16;
/// A buffer is given back to the system after so many others were asked for.
const STALE: u64 = 512;

/// Buffers that nobody uses, with the number of the request that they were returned at.
struct Pool {
    idle: Vec<(u64, Vec<Line>)>,
    requests: u64,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), requests: 0 });

impl Pool {
    /// The smallest idle buffer that is large enough, and not larger than need be by a quarter.
    fn take(&mut self, lines: usize) -> Option<Vec<Line>> {
        self.requests += 1;
        let oldest = self.requests.saturating_sub(STALE);
        self.idle.retain(|(returned, _)| *returned >= oldest);
        let fits = |len: usize| len >= lines && len <= lines + lines / 4;
        let fitting = self.idle.iter().enumerate().filter(|(_, (_, buffer))| fits(buffer.len()));
        let best = fitting.min_by_key(|(_, (_, buffer))| buffer.len()).map(|(place, _)| place);
        best.map(|place| self.idle.swap_remove(place).1)
    }
}

/// `len` bytes whose contents are unspecified: zeros, or what was there before.
pub fn bytes(len: usize) -> Bytes {
    if len < LEAST_BYTES {
        return Bytes::from_bytes_vec(vec![0; len]);
    }
    let lines = len.div_ceil(size_of::<Line>());
    let idle = POOL.lock().unwrap_or_else(PoisonError::into_inner).take(lines);
    let buffer = Buffer(idle.unwrap_or_else(|| vec![Line::zeroed(); lines]));
    // SAFETY: the buffer has at least so many bytes, all of them initialized.
    unsafe { Bytes::from_controller(Box::new(buffer), len) }
}

/// Gives idle buffers back to the system.
pub fn release() {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).idle.clear();
}

/// A buffer in use; it goes back on drop.
struct Buffer(Vec<Line>);

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pool.requests;
        pool.idle.push((now, std::mem::take(&mut self.0)));
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        // SAFETY: the same bytes; the caller promises to write only initialized ones.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
        // SAFETY: the same bytes, and initialized ones are valid as such.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_tensor_leaves_another_of_about_its_size_gets() {
        // No other test asks for buffers of this size.
        let len = 3 * LEAST_BYTES + 1000;
        let mut first = bytes(len);
        assert_eq!(first.len(), len);
        assert!(first.iter().all(|&byte| byte == 0));
        first.fill(7);
        let place = first.as_ptr();
        assert_eq!(place as usize % 64, 0);
        let second = bytes(len);
        assert_ne!(place, second.as_ptr());
        drop(first);
        let again = bytes(len - 500);
        assert_eq!((again.as_ptr(), again.len()), (place, len - 500));
        assert!(bytes(2 * LEAST_BYTES).as_ptr() != place);
    }
}
