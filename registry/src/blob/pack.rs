//! Small blobs, one after another in one file, so that many cost one fsync.
//!
//! A record is magic, digest, length, bytes. A record that was cut short by a crash is the last
//! one and is dropped at open; damage within one shows when its digest is checked on reading.

use super::local::BlobError;
use domain::Digest;
use rustix::fs::FallocateFlags;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    ops::Bound,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: [u8; 4] = *b"ABL1";
/// In the place of [`MAGIC`]: the blob was deleted, and its bytes are a hole.
const GONE: [u8; 4] = *b"ABL0";
const HEAD: u64 = 4 + 32 + 4;

/// The file and where each blob is in it.
pub struct Pack {
    path: PathBuf,
    file: File,
    len: u64,
    index: BTreeMap<Digest, (u64, u32)>,
}

impl Pack {
    /// Opens or makes the file at `path`, and reads where its blobs are.
    pub fn open(path: PathBuf) -> Result<Self, BlobError> {
        let fault = |source| BlobError::of(&path, source);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(fault)?;
        let whole = file.metadata().map_err(fault)?.len();
        let (index, len) = scan(&file, whole).map_err(fault)?;
        if len < whole {
            file.set_len(len).map_err(fault)?;
        }
        Ok(Self { path, file, len, index })
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.index.contains_key(digest)
    }

    /// Up to `max` of them after one, in order.
    pub fn after(&self, after: Option<Digest>, max: usize) -> BTreeSet<Digest> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.index.range((from, Bound::Unbounded)).take(max).map(|(digest, _)| *digest).collect()
    }

    pub fn len_of(&self, digest: &Digest) -> Option<u64> {
        self.index.get(digest).map(|(_, len)| u64::from(*len))
    }

    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let Some((at, len)) = self.index.get(digest) else { return Ok(None) };
        let mut bytes = vec![0; *len as usize];
        let read = self.file.read_exact_at(&mut bytes, *at);
        read.map_err(|source| BlobError::of(&self.path, source))?;
        Ok(Some(bytes))
    }

    /// Knows a damaged blob no longer.
    pub fn forget(&mut self, digest: &Digest) {
        self.index.remove(digest);
    }

    /// Deletes a blob, durably. Gives its bytes, if it was here.
    pub fn remove(&mut self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let Some((at, len)) = self.index.get(digest).copied() else { return Ok(None) };
        let marked = self.file.write_all_at(&GONE, at - HEAD).and_then(|()| self.file.sync_data());
        marked.map_err(|source| BlobError::of(&self.path, source))?;
        self.index.remove(digest);
        // Where the file system knows no holes, the room is lost.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, flags, at, u64::from(len));
        Ok(Some(u64::from(len)))
    }

    /// Appends what is new; durable when it returns. After a failure the file is as before.
    pub fn append(&mut self, blobs: &[(Digest, Vec<u8>)]) -> Result<(), BlobError> {
        let mut bytes = Vec::new();
        let mut added = BTreeMap::new();
        for (digest, blob) in blobs {
            if self.has(digest) || added.contains_key(digest) {
                continue;
            }
            let len = u32::try_from(blob.len()).map_err(|_| BlobError::TooLong {
                digest: *digest,
                size: blob.len() as u64,
                max: u64::from(u32::MAX),
            })?;
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&digest.0);
            bytes.extend_from_slice(&len.to_le_bytes());
            added.insert(*digest, (self.len + bytes.len() as u64, len));
            bytes.extend_from_slice(blob);
        }
        if added.is_empty() {
            return Ok(());
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| self.file.write_all(&bytes))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What of it reached the file is cut off, now or at the next open.
            let _ = self.file.set_len(self.len);
            return Err(BlobError::of(&self.path, source));
        }
        self.len += bytes.len() as u64;
        self.index.append(&mut added);
        Ok(())
    }
}

type Index = BTreeMap<Digest, (u64, u32)>;

fn scan(file: &File, whole: u64) -> std::io::Result<(Index, u64)> {
    let mut reader = BufReader::new(file);
    let mut index = BTreeMap::new();
    let mut at = 0;
    while at + HEAD <= whole {
        let mut head = [0; HEAD as usize];
        reader.read_exact(&mut head)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&head[4..36]);
        let len = u32::from_le_bytes([head[36], head[37], head[38], head[39]]);
        let end = at + HEAD + u64::from(len);
        let gone = head[..4] == GONE;
        if head[..4] != MAGIC && !gone {
            // What a crash left unwritten reads as zeros; anything else was written and is damaged.
            let mut rest = head.to_vec();
            reader.read_to_end(&mut rest)?;
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
            let why = format!(
                "record at byte {at} is damaged; nothing was removed: replace this server with \
                 `assay cluster remove` and `add`, its blobs are on others"
            );
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        if end > whole {
            break;
        }
        if gone {
            index.remove(&Digest(digest));
        } else {
            index.insert(Digest(digest), (at + HEAD, len));
        }
        reader.seek_relative(i64::from(len))?;
        at = end;
    }
    Ok((index, at))
}

/// The path of a store's pack.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("pack")
}
