//! Files that are written and read past the page cache, where the file system allows it.
//!
//! A checkpoint is written once and read seldom: copied into the page cache it would push out what
//! training reads, and be written by the kernel at a fifth of the disk's rate. Source: ADR-0027.

use bytes::Bytes;
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// What position, length and memory of such a write are multiples of; no disk asks for more.
pub const ALIGNMENT: usize = 4 << 10;

/// The least multiple of the alignment from `length` on.
#[must_use]
pub const fn aligned(length: u64) -> u64 {
    length.next_multiple_of(ALIGNMENT as u64)
}

/// Memory that starts at a multiple of the alignment.
#[derive(Default)]
pub struct Buffer {
    space: Vec<u8>,
    len: usize,
}

impl Buffer {
    fn first(&self) -> usize {
        self.space.as_ptr().align_offset(ALIGNMENT)
    }

    /// Makes it `len` bytes long; what it holds is as before, or zeros.
    pub fn set_len(&mut self, len: usize) {
        if self.space.len() < len + ALIGNMENT {
            // Not grown but made anew: nothing of it is needed, and it may move.
            self.space = vec![0; len + ALIGNMENT];
        }
        self.len = len;
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        let first = self.first();
        &self.space[first..first + self.len]
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let first = self.first();
        &mut self.space[first..first + self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Opens or makes a file.
///
/// # Errors
/// When the system refuses.
pub fn open(path: &Path) -> io::Result<File> {
    let with = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.custom_flags(flags.bits().cast_signed()).open(path)
    };
    match with(OFlags::DIRECT) {
        // File systems in memory, and some over a network, have no such thing.
        Err(why) if why.kind() == io::ErrorKind::InvalidInput => with(OFlags::empty()),
        other => other,
    }
}

/// Reads `len` bytes at `at` into `buffer`, which is then as long as the blocks that hold them.
/// Returns where in it they begin; fewer than `len` follow where the file ends before.
///
/// # Errors
/// When the disk fails.
pub fn read(file: &File, at: u64, len: usize, buffer: &mut Buffer) -> io::Result<usize> {
    let start = at - at % ALIGNMENT as u64;
    let skip = (at - start) as usize;
    buffer.set_len(aligned((skip + len) as u64) as usize);
    let mut filled = 0;
    while filled < skip + len {
        match file.read_at(&mut buffer.bytes_mut()[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
        if filled % ALIGNMENT != 0 {
            // Only the end of the file ends within a block.
            break;
        }
    }
    buffer.len = filled;
    Ok(skip.min(filled))
}

/// Reads `len` bytes at `at`.
///
/// # Errors
/// When the disk fails, or the file ends before.
pub fn read_bytes(file: &File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut buffer = Buffer::default();
    let skip = read(file, at, len, &mut buffer)?;
    if buffer.bytes().len() < skip + len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from_owner(buffer).slice(skip..skip + len))
}
