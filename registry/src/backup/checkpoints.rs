//! The checkpoints of a backup: a list of names, and under `chunks/` what they are made of.

use super::{BackupFault, Folder, Manifest, Part, hash};
use bytes::Bytes;
use domain::{
    Digest, LeaseId, LogIndex,
    chunks::{Chunk, ChunkManifest, ChunkName, Pin},
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

/// A checkpoint that a server kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Digest of the list of its chunks, which is among the blobs.
    pub list: Digest,
    /// An attempt that had put it there.
    pub by: Pin,
}

impl Folder {
    /// Where a chunk is.
    #[must_use]
    pub fn chunk(&self, name: ChunkName) -> PathBuf {
        let name = name.to_string();
        self.path().join("chunks").join(&name[..2]).join(name)
    }

    /// Writes the list of a backup's checkpoints.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_checkpoints(
        &self,
        at: LogIndex,
        saved: &[SavedCheckpoint],
    ) -> Result<Part, BackupFault> {
        let name = format!("lists/{:020}.checkpoints", at.0);
        let path = self.path().join(&name);
        let write = || {
            let mut out = BufWriter::new(File::create(&path)?);
            for SavedCheckpoint { list, by } in saved {
                writeln!(out, "{list} {} {}", by.lease, by.step)?;
            }
            out.into_inner()?.sync_all()
        };
        write().map_err(|why| BackupFault::io(&path, why))?;
        let (sha256, size) = hash(&path)?;
        Ok(Part { file: name, sha256, size })
    }

    /// The checkpoints of a backup, from a list that is whole.
    ///
    /// # Errors
    /// When the list is damaged.
    pub fn checkpoints(&self, manifest: &Manifest) -> Result<Vec<SavedCheckpoint>, BackupFault> {
        let part = &manifest.checkpoints.list;
        self.check(part)?;
        let path = self.file(&part.file)?;
        let text = fs::read_to_string(&path).map_err(|why| BackupFault::io(&path, why))?;
        let read = |line: &str| {
            let (list, rest) = line.split_once(' ')?;
            let (lease, step) = rest.split_once(' ')?;
            let lease: LeaseId = lease.parse().ok()?;
            let by = Pin { lease, step: step.parse().ok()? };
            Some(SavedCheckpoint { list: list.parse().ok()?, by })
        };
        let form = |line| BackupFault::form(&path, format!("says `{line}`"));
        text.lines().map(|line| read(line).ok_or_else(|| form(line))).collect()
    }

    /// The list of a checkpoint's chunks, as it was stored, and the chunks, each once.
    ///
    /// # Errors
    /// When the list is not here or damaged.
    pub fn chunks_of(&self, list: &Digest) -> Result<(Vec<u8>, Vec<Chunk>), BackupFault> {
        let path = self.blob(list);
        let bytes = fs::read(&path).map_err(|why| BackupFault::io(&path, why))?;
        let got = Digest::of(&bytes);
        if got != *list {
            return Err(BackupFault::Damaged { path, wanted: *list, got });
        }
        let manifest =
            ChunkManifest::decode(&bytes).map_err(|why| BackupFault::form(&path, why))?;
        let once: BTreeMap<ChunkName, Chunk> =
            manifest.chunks().map(|chunk| (chunk.name, *chunk)).collect();
        Ok((bytes, once.into_values().collect()))
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// When it is not here or damaged.
    pub fn read_chunk(&self, chunk: &Chunk) -> Result<Bytes, BackupFault> {
        let path = self.chunk(chunk.name);
        let bytes = fs::read(&path).map_err(|why| BackupFault::io(&path, why))?;
        let name = ChunkName::of(&bytes);
        if name != chunk.name || bytes.len() != chunk.len as usize {
            let why = format!("has other bytes: their BLAKE3 is {name}");
            return Err(BackupFault::form(&path, why));
        }
        Ok(bytes.into())
    }
}
