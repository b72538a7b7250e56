//! Large files: written, forgotten by the page cache, and read past it.

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, OFlags, fadvise};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

/// Bytes read or written at once.
const BLOCK: usize = 4 << 20;
/// What direct reads must be aligned to; no disk asks for more.
const ALIGNMENT: usize = 4 << 10;

/// Writes a file of `size` bytes that no compression shortens, and syncs it.
///
/// # Errors
/// When the disk refuses.
pub fn fill(path: &Path, size: u64, seed: u64) -> Result<()> {
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = vec![0; BLOCK];
    for word in block.chunks_exact_mut(8) {
        // Xorshift: cheap, and without repetition within a block.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut left = size;
    while left > 0 {
        // No two blocks are equal.
        block[..8].copy_from_slice(&left.to_le_bytes());
        let now = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        file.write_all(&block[..now]).with_context(|| path.display().to_string())?;
        left -= now as u64;
    }
    file.sync_all()?;
    Ok(())
}

/// Makes the page cache forget files that are on disk. Says how.
///
/// # Errors
/// When a file cannot be opened.
pub fn forget(files: &[PathBuf]) -> Result<&'static str> {
    for path in files {
        let file = File::open(path)?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    let all = std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok();
    Ok(if all {
        "page cache dropped as root before the read"
    } else {
        "the files' pages dropped by posix_fadvise before the read"
    })
}

/// Bytes a second of reads past the page cache by `readers` at once, or by one if that is faster.
///
/// # Errors
/// When a file cannot be read so.
pub fn read_rate(files: &[PathBuf], readers: usize) -> Result<f64> {
    let together = read_all(files, readers)?;
    // One reader is faster on some disks; a part says so.
    let part = &files[..files.len().min(2)];
    Ok(together.max(read_all(part, 1)?))
}

fn read_all(files: &[PathBuf], readers: usize) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let read = || -> Result<u64> {
        let mut total = 0;
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            total += read_direct(path).with_context(|| path.display().to_string())?;
        }
        Ok(total)
    };
    let total = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..readers).map(|_| scope.spawn(read)).collect();
        let all = readers.into_iter().map(|reader| reader.join().expect("a reader does not panic"));
        all.sum::<Result<u64>>()
    })?;
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

/// Bytes a second of writes past the page cache, to one file that is removed again.
///
/// # Errors
/// When the disk refuses.
pub fn write_rate(path: &Path, size: u64) -> Result<f64> {
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).custom_flags(flags).open(path)?;
    let mut space = vec![0x5a; BLOCK + ALIGNMENT];
    let first = space.as_ptr().align_offset(ALIGNMENT);
    let block = &mut space[first..first + BLOCK];
    let start = Instant::now();
    for number in 0..size / BLOCK as u64 {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(block)?;
    }
    file.sync_all()?;
    let elapsed = start.elapsed();
    std::fs::remove_file(path)?;
    Ok(size as f64 / elapsed.as_secs_f64())
}

fn read_direct(path: &Path) -> Result<u64> {
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut space = vec![0; BLOCK + ALIGNMENT];
    let first = space.as_ptr().align_offset(ALIGNMENT);
    let block = &mut space[first..first + BLOCK];
    let mut total = 0;
    loop {
        match file.read(block)? {
            0 => return Ok(total),
            read => total += read as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_past_the_cache_whole() {
        // Where the temporary folder is in memory, direct reads may be refused.
        let dir = tempfile::tempdir_in(std::env::var("CARGO_MANIFEST_DIR").unwrap()).unwrap();
        let path = dir.path().join("file");
        fill(&path, 5 << 20, 1).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 5 << 20);
        forget(std::slice::from_ref(&path)).unwrap();
        assert_eq!(read_direct(&path).unwrap(), 5 << 20);
    }
}
