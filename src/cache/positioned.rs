//! Reading and writing at a place of a file, without a shared position.
//!
//! Signals are read with `pread` straight into the buffer of a tensor. Through the page cache that costs what
//! a memory map does (one copy into the tensor either way), and a file that is cut short under a running
//! worker is an error to be handled, not the end of the process by SIGBUS.

use std::fs::File;
use std::io;

/// Fills `buffer` from `offset` on.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all of `bytes` from `offset` on.
#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Fills `buffer` from `offset` on. Each file is read by one thread, so that moving its position is safe.
#[cfg(not(unix))]
pub(super) fn read_exact_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

/// Writes all of `bytes` from `offset` on.
#[cfg(not(unix))]
pub(super) fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
