//! Restores one server of a cluster from a backup, before it is started: its blobs, and a log that
//! begins where the backup's rows end. All servers of the new cluster are restored from one backup.

use crate::consensus::{
    AppliedMark, Identity, Membership, Store, StoreError,
    store::{RESTORED_AHEAD, Saved},
};
use domain::{Bytes, Digest, LogIndex, ReplicaId, limit};
use registry::{
    backup::{BackupFault, Folder, RowsReader, SavedCheckpoint},
    blob::{
        chunks::{ChunkFault, ChunkStore, Piece},
        local::{BlobError, BlobStore},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Stands in the data directory until a restore is done.
const MARKER: &str = "RESTORING";
/// Blobs up to this size are written together.
const SMALL: u64 = 64 << 10;
/// Bytes of small blobs after which they are written.
const BATCH: usize = 8 << 20;
/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// What is to be restored, and into what.
#[derive(Clone, Debug)]
pub struct RestoreConfig {
    /// The server's id.
    pub id: ReplicaId,
    /// The cluster's identity.
    pub cluster: String,
    /// The server's data directory: not there, or empty.
    pub dir: PathBuf,
    /// All servers of the restored cluster with their addresses, this one among them.
    pub members: BTreeMap<ReplicaId, String>,
    /// The folder of backups.
    pub backup: PathBuf,
    /// The log entry of the backup; by default the newest.
    pub at: Option<LogIndex>,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The newest log entry of the backup.
    pub log_index: LogIndex,
    /// Where the restored log begins.
    pub begins: LogIndex,
    /// How many blobs.
    pub blobs: u64,
    /// What they hold together.
    pub size: Bytes,
    /// How many checkpoints.
    pub checkpoints: u64,
}

/// Why a server cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// The new log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new store of blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The new store of checkpoints.
    #[error(transparent)]
    Chunks(#[from] ChunkFault),
    /// The backup is another cluster's.
    #[error(
        "the backup is of cluster `{found}`, the configuration is of `{wanted}`; events and proofs \
         carry the name, so it has to stay: set `cluster = \"{found}\"`"
    )]
    Foreign {
        /// That of the backup.
        found: String,
        /// That of the configuration.
        wanted: String,
    },
    /// The configuration names no members, or not this server.
    #[error(
        "the configuration of {id} names no members, or not {id}; list all servers of the restored \
         cluster in `members`, the same in each configuration, and leave `join` out"
    )]
    Members {
        /// The server.
        id: ReplicaId,
    },
    /// There is data.
    #[error(
        "{} holds data; nothing was changed: restore into an empty folder, or move that one away \
         first", .0.display()
    )]
    Taken(PathBuf),
    /// A restore was cut off.
    #[error("a restore into {} was not finished; run `assay restore` again", .0.display())]
    Unfinished(PathBuf),
    /// The disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Refuses a data directory into which a restore was cut off.
///
/// # Errors
/// When it is one.
pub fn check_finished(dir: &Path) -> Result<(), RestoreError> {
    match dir.join(MARKER).exists() {
        true => Err(RestoreError::Unfinished(dir.to_owned())),
        false => Ok(()),
    }
}

/// Restores a server. What an earlier try left is begun anew.
///
/// # Errors
/// When the backup is damaged or another cluster's, or the directory holds data or cannot be
/// written. The server then does not start from what is there.
pub fn restore(config: RestoreConfig) -> Result<Restored, RestoreError> {
    let RestoreConfig { id, cluster, dir, members, backup, at } = config;
    if !members.contains_key(&id) {
        return Err(RestoreError::Members { id });
    }
    let folder = Folder::at(&backup);
    let manifest = folder.manifest(at)?;
    if manifest.cluster != cluster {
        return Err(RestoreError::Foreign { found: manifest.cluster, wanted: cluster });
    }
    // Before anything is made: damage that can be seen now is seen now.
    folder.check(&manifest.rows)?;
    let mut blobs = folder.blobs(&manifest)?;
    let checkpoints = folder.checkpoints(&manifest)?;
    // The lists of their chunks are kept with the chunks.
    let lists: BTreeSet<Digest> = checkpoints.iter().map(|saved| saved.list).collect();
    blobs.retain(|digest| !lists.contains(digest));
    begin(&dir)?;
    let store = BlobStore::open(&dir.join("blobs"))?;
    let size = copy(&folder, &blobs, &store)?;
    drop(store);
    let store = ChunkStore::open(&dir.join("chunks"))?;
    checkpoints.iter().try_for_each(|saved| keep(&folder, saved, &store))?;
    drop(store);
    let pages = RowsReader::open(folder.file(&manifest.rows.file)?)?;
    let applied = AppliedMark {
        index: manifest.log_index.0,
        term: manifest.log_term,
        digest: manifest.state,
    };
    let saved = Saved { applied, members: Membership::founders(members) };
    let pages = pages.map(|page| page.map_err(RestoreError::from));
    Store::restore(&dir.join("log"), &Identity { cluster, id }, saved, pages)?;
    end(&dir).map_err(|source| RestoreError::Io { path: dir, source })?;
    Ok(Restored {
        log_index: manifest.log_index,
        begins: LogIndex(manifest.log_index.0 + RESTORED_AHEAD),
        blobs: blobs.len() as u64,
        size,
        checkpoints: checkpoints.len() as u64,
    })
}

/// Makes the directory, with the marker in it before anything else.
fn begin(dir: &Path) -> Result<(), RestoreError> {
    let fault = |source| RestoreError::Io { path: dir.to_owned(), source };
    if dir.join(MARKER).exists() {
        fs::remove_dir_all(dir).map_err(fault)?;
    }
    fs::create_dir_all(dir).map_err(fault)?;
    if fs::read_dir(dir).map_err(fault)?.next().is_some() {
        return Err(RestoreError::Taken(dir.to_owned()));
    }
    let mark = || {
        File::create(dir.join(MARKER))?.sync_all()?;
        File::open(dir)?.sync_all()
    };
    mark().map_err(fault)
}

fn end(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(MARKER))?;
    File::open(dir)?.sync_all()
}

/// Copies blobs, each verified on its way; returns how many bytes.
fn copy(folder: &Folder, blobs: &[Digest], store: &BlobStore) -> Result<Bytes, RestoreError> {
    let (mut size, mut small, mut gathered) = (0, Vec::new(), 0);
    for digest in blobs {
        let path = folder.blob(digest);
        let fault = |source| BackupFault::io(&path, source);
        let file = File::open(&path).map_err(fault)?;
        let len = file.metadata().map_err(fault)?.len();
        size += len;
        if len > SMALL {
            copy_large(file, digest, &path, store)?;
            continue;
        }
        let mut bytes = Vec::new();
        file.take(SMALL + 1).read_to_end(&mut bytes).map_err(fault)?;
        let got = Digest::of(&bytes);
        if got != *digest {
            return Err(BackupFault::Damaged { path, wanted: *digest, got }.into());
        }
        gathered += bytes.len();
        small.push((*digest, bytes));
        if gathered >= BATCH {
            store.put_bytes(&small)?;
            small.clear();
            gathered = 0;
        }
    }
    store.put_bytes(&small)?;
    Ok(Bytes(size))
}

fn copy_large(
    mut file: File,
    digest: &Digest,
    path: &Path,
    store: &BlobStore,
) -> Result<(), RestoreError> {
    let mut writer = store.writer(file.metadata().map_or(0, |meta| meta.len()))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(|source| BackupFault::io(path, source))? {
            0 => break,
            more => writer.write(&piece[..more])?,
        }
    }
    writer.finish(*digest).map_err(|fault| match fault {
        BlobError::Mismatch { wanted, got } => {
            BackupFault::Damaged { path: path.to_owned(), wanted, got }.into()
        }
        other => other.into(),
    })
}

/// Keeps a checkpoint with its chunks, each verified on its way.
fn keep(folder: &Folder, saved: &SavedCheckpoint, store: &ChunkStore) -> Result<(), RestoreError> {
    let (list, chunks) = folder.chunks_of(&saved.list)?;
    let names: Vec<_> = chunks.iter().map(|chunk| chunk.name).collect();
    let lacking = store.lacking(&names).into_iter();
    let (mut pieces, mut gathered) = (Vec::new(), 0);
    for (chunk, _) in chunks.iter().zip(lacking).filter(|(_, lacks)| *lacks) {
        let piece = Piece::of(folder.read_chunk(chunk)?);
        gathered += u64::from(piece.len());
        pieces.push(piece);
        if gathered >= limit::CHUNK_BATCH.0 {
            store.put(&pieces)?;
            pieces.clear();
            gathered = 0;
        }
    }
    if !pieces.is_empty() {
        store.put(&pieces)?;
    }
    store.keep(&list, saved.by)?;
    Ok(())
}
