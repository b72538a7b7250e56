//! Checkpoints of a backup: what jobs that ran then go on from.

use super::{Context, fault};
use crate::fault::Fault;
use domain::{Digest, LogIndex, chunks::ChunkName};
use registry::backup::{BackupFault, Checkpoints, Folder, Manifest};
use std::{collections::BTreeSet, fs};

/// Checkpoints that were saved.
pub(super) struct Taken {
    /// What the backup says of them.
    pub(super) saved: Checkpoints,
    /// The lists of their chunks, which are blobs.
    pub(super) lists: BTreeSet<Digest>,
    /// What the folder lacked of their chunks. Unit: bytes.
    pub(super) fetched: u64,
}

/// Saves what servers keep. What they let go meanwhile, because newer ones came, is left out.
pub(super) async fn take(context: &Context, folder: &Folder, at: LogIndex) -> Result<Taken, Fault> {
    let local = |why: BackupFault| fault(&why);
    let (mut saved, mut known, mut size, mut fetched) = (Vec::new(), BTreeSet::new(), 0, 0);
    for held in context.client.held_checkpoints().await {
        let Some(bytes) = context.client.chunk_list(held.list).await else { continue };
        let path = folder.blob(&held.list);
        let dir = path.parent().unwrap_or(folder.path());
        fs::create_dir_all(dir).map_err(|why| Fault::file(dir, &why))?;
        fs::write(&path, &bytes).map_err(|why| Fault::file(&path, &why))?;
        let (_, chunks) = folder.chunks_of(&held.list).map_err(local)?;
        // A chunk is checked by its name: one that was cut off is fetched again.
        let lacks = |chunk: &&domain::chunks::Chunk| {
            !known.contains(&chunk.name) && folder.read_chunk(chunk).is_err()
        };
        let lacking: Vec<_> = chunks.iter().filter(lacks).copied().collect();
        match context.client.save_chunks(folder, &lacking).await {
            Ok(()) => {}
            Err(_) if context.client.chunk_list(held.list).await.is_none() => continue,
            Err(fault) => return Err(fault),
        }
        fetched += lacking.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>();
        let new = chunks.iter().filter(|chunk| known.insert(chunk.name));
        size += new.map(|chunk| u64::from(chunk.len)).sum::<u64>();
        saved.push(held);
    }
    let list = folder.write_checkpoints(at, &saved).map_err(local)?;
    let lists = saved.iter().map(|held| held.list).collect();
    Ok(Taken { saved: Checkpoints { count: saved.len() as u64, size, list }, lists, fetched })
}

/// Reads all of them again; returns how many bytes.
pub(super) fn check(folder: &Folder, manifest: &Manifest) -> Result<u64, BackupFault> {
    let (mut known, mut read) = (BTreeSet::<ChunkName>::new(), manifest.checkpoints.list.size);
    for saved in folder.checkpoints(manifest)? {
        let (_, chunks) = folder.chunks_of(&saved.list)?;
        for chunk in chunks.iter().filter(|chunk| known.insert(chunk.name)) {
            read += folder.read_chunk(chunk)?.len() as u64;
        }
    }
    Ok(read)
}
