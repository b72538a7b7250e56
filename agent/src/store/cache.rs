//! Verified blobs on this node, so that the second job with the same code downloads nothing.

use super::{Blobs, StoreError};
use domain::{
    Digest,
    tree::{Tree, TreeFile},
};
use futures::stream::{self, StreamExt, TryStreamExt};
use rustix::fs::ioctl_ficlone;
use std::{
    collections::BTreeSet,
    fs::{self, FileTimes, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Files up to this length are copied: that costs no more than a link, and shares nothing.
const COPY_MAX: u64 = 64 << 10;
/// Blobs that are fetched at the same time.
const FETCHES: usize = 8;
/// Longest description of a tree.
const TREE_MAX: u64 = 512 << 20;

/// The cache's folder.
///
/// An entry is a read-only file with the modification time 0. One that lost either was written to
/// and is fetched anew.
pub struct Cache {
    dir: PathBuf,
    /// Held for reading while entries are laid out, for writing while they are removed.
    in_use: tokio::sync::RwLock<()>,
}

/// A folder that could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A blob is not to be had.
    #[error("{what}: {why}")]
    Blob {
        /// What it is for.
        what: String,
        /// Why not.
        why: StoreError,
    },
    /// A file cannot be written.
    #[error("`{path}` cannot be written: {why}")]
    Write {
        /// The file.
        path: String,
        /// Why not.
        why: io::Error,
    },
}

impl CacheError {
    /// Whether the disk has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Write { why, .. } | Self::Blob { why: StoreError::Local(why), .. } => {
                is_full(why)
            }
            Self::Blob { .. } => false,
        }
    }
}

/// Whether an error says that there is no room.
#[must_use]
pub fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Cache {
    /// The cache in `dir`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(dir.join("tmp")) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        fs::create_dir_all(dir.join("tmp"))?;
        Ok(Self { dir, in_use: tokio::sync::RwLock::default() })
    }

    /// Lays the tree with this digest out in `folder`, which is made. When the disk is full, what
    /// earlier jobs left in the cache gives way.
    ///
    /// # Errors
    /// When a blob is lost or the disk refuses.
    pub async fn fill(
        self: &Arc<Self>,
        blobs: &impl Blobs,
        digest: Digest,
        what: &str,
        folder: &Path,
    ) -> Result<(), CacheError> {
        match self.try_fill(blobs, digest, what, folder).await {
            Err(fault) if fault.is_full() => {
                tracing::warn!(%fault, "disk full, the cache of blobs gives way");
                self.give_way(folder.to_owned()).await;
                self.try_fill(blobs, digest, what, folder).await
            }
            other => other,
        }
    }

    async fn try_fill(
        self: &Arc<Self>,
        blobs: &impl Blobs,
        digest: Digest,
        what: &str,
        folder: &Path,
    ) -> Result<(), CacheError> {
        let _in_use = self.in_use.read().await;
        let tree = self.fetch(blobs, digest, what).await?;
        let (cache, folder) = (Arc::clone(self), folder.to_owned());
        let laid_out = tokio::task::spawn_blocking(move || {
            let failed = |why| CacheError::Write { path: folder.display().to_string(), why };
            fs::create_dir_all(&folder).map_err(failed)?;
            cache.lay_out(&tree, &folder)
        });
        let failed = |why: tokio::task::JoinError| CacheError::Write {
            path: what.to_owned(),
            why: io::Error::other(why),
        };
        laid_out.await.map_err(failed)?
    }

    /// Removes every entry, and what of a tree is in `folder`. What was laid out before stays.
    pub(crate) async fn give_way(self: &Arc<Self>, folder: PathBuf) {
        let _alone = self.in_use.write().await;
        let cache = Arc::clone(self);
        let removed = tokio::task::spawn_blocking(move || {
            let _ = fs::remove_dir_all(folder);
            cache.trim(0)
        });
        match removed.await.map_err(io::Error::other) {
            Ok(Ok(())) => {}
            Ok(Err(why)) | Err(why) => tracing::warn!(%why, "cache not emptied"),
        }
    }

    /// The tree with this digest, and all of its files in the cache.
    ///
    /// # Errors
    /// When a blob is lost or the disk refuses.
    pub async fn fetch(
        self: &Arc<Self>,
        blobs: &impl Blobs,
        digest: Digest,
        what: &str,
    ) -> Result<Tree, CacheError> {
        let failed = |why| CacheError::Blob { what: what.to_owned(), why };
        let tree = self.tree(blobs, digest).await.map_err(failed)?;
        let lacking: BTreeSet<_> = tree
            .files
            .iter()
            .filter(|file| !self.has(file))
            .map(|file| (file.digest, file.executable))
            .collect();
        stream::iter(lacking)
            .map(|(digest, executable)| self.download(blobs, digest, executable))
            .buffer_unordered(FETCHES)
            .try_collect::<()>()
            .await
            .map_err(failed)?;
        Ok(tree)
    }

    async fn tree(&self, blobs: &impl Blobs, digest: Digest) -> Result<Tree, StoreError> {
        let path = self.entry(digest, false);
        if !is_intact(&path, None) {
            self.download(blobs, digest, false).await?;
        }
        let mut bytes = Vec::new();
        fs::File::open(&path)?.take(TREE_MAX).read_to_end(&mut bytes)?;
        Ok(Tree::decode(&bytes)?)
    }

    async fn download(
        &self,
        blobs: &impl Blobs,
        digest: Digest,
        executable: bool,
    ) -> Result<(), StoreError> {
        let temporary = tempfile::NamedTempFile::new_in(self.dir.join("tmp"))?;
        blobs.get(digest, temporary.reopen()?).await?;
        seal(temporary.as_file(), executable)?;
        let path = self.entry(digest, executable);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        temporary.persist(&path).map_err(|fault| fault.error)?;
        Ok(())
    }

    /// Writes `tree`, all of whose files were fetched, into `folder`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn lay_out(&self, tree: &Tree, folder: &Path) -> Result<(), CacheError> {
        let mut made: Option<PathBuf> = None;
        for file in &tree.files {
            let to = folder.join(&file.path);
            let failed = |why| CacheError::Write { path: to.display().to_string(), why };
            let parent = to.parent().unwrap_or(folder);
            if made.as_deref() != Some(parent) {
                fs::create_dir_all(parent).map_err(failed)?;
                made = Some(parent.to_owned());
            }
            place(&self.entry(file.digest, file.executable), &to, file).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the entries that were read longest ago until at most `max` bytes are left.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn trim(&self, max: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut total = 0;
        for found in walkdir::WalkDir::new(&self.dir).min_depth(2) {
            let found = found.map_err(io::Error::other)?;
            let Ok(meta) = found.metadata() else { continue };
            if meta.is_file() {
                total += meta.size();
                entries.push((meta.atime(), meta.size(), found.into_path()));
            }
        }
        entries.sort();
        for (_, size, path) in entries {
            if total <= max {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    fn has(&self, file: &TreeFile) -> bool {
        is_intact(&self.entry(file.digest, file.executable), Some(file.size.0))
    }

    fn entry(&self, digest: Digest, executable: bool) -> PathBuf {
        let name = digest.to_string();
        let suffix = if executable { ".x" } else { "" };
        self.dir.join(&name[..2]).join(format!("{name}{suffix}"))
    }
}

/// Whether nobody wrote to the entry since it was sealed.
fn is_intact(path: &Path, size: Option<u64>) -> bool {
    path.metadata().is_ok_and(|meta| {
        meta.mtime() == 0
            && meta.permissions().mode() & 0o222 == 0
            && size.is_none_or(|size| meta.len() == size)
    })
}

/// Makes a file read-only, with the one modification time that every laid-out file has.
pub(super) fn seal(file: &fs::File, executable: bool) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(if executable { 0o555 } else { 0o444 }))?;
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
}

/// Puts a copy of an entry at `to`: by sharing blocks, else by a link, else by copying.
fn place(entry: &Path, to: &Path, file: &TreeFile) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).open(to);
    if file.size.0 > COPY_MAX {
        let from = fs::File::open(entry)?;
        let target = create()?;
        if ioctl_ficlone(&target, &from).is_ok() {
            return seal(&target, file.executable);
        }
        fs::remove_file(to)?;
        if fs::hard_link(entry, to).is_ok() {
            return Ok(());
        }
    }
    let mut from = fs::File::open(entry)?;
    let mut target = create()?;
    io::copy(&mut from, &mut target)?;
    seal(&target, file.executable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryBlobs;
    use domain::Bytes;

    fn captured(blobs: &MemoryBlobs, files: &[(&str, &[u8], bool)]) -> Digest {
        let files = files.iter().map(|(path, bytes, executable)| TreeFile {
            digest: blobs.keep(bytes),
            executable: *executable,
            path: (*path).into(),
            size: Bytes(bytes.len() as u64),
        });
        blobs.keep(&Tree { files: files.collect() }.encode())
    }

    #[tokio::test]
    async fn a_tree_is_downloaded_once_and_laid_out_as_captured() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path().join("cache")).unwrap());
        let blobs = MemoryBlobs::default();
        let big = vec![7; 100_000];
        let digest = captured(&blobs, &[("a/run.sh", b"#!/bin/sh\n", true), ("big", &big, false)]);
        for round in ["one", "two"] {
            let tree = cache.fetch(&blobs, digest, "code").await.unwrap();
            let folder = dir.path().join(round);
            cache.lay_out(&tree, &folder).unwrap();
            assert_eq!(fs::read(folder.join("big")).unwrap(), big);
            let meta = folder.join("a/run.sh").metadata().unwrap();
            assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o555, 0));
        }
        assert_eq!(blobs.fetched.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_entry_that_was_written_to_is_fetched_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path().join("cache")).unwrap());
        let blobs = MemoryBlobs::default();
        let digest = captured(&blobs, &[("big", &vec![7; 100_000], false)]);
        let tree = cache.fetch(&blobs, digest, "code").await.unwrap();
        let entry = cache.entry(tree.files[0].digest, false);
        fs::set_permissions(&entry, Permissions::from_mode(0o644)).unwrap();
        fs::write(&entry, vec![8; 100_000]).unwrap();
        cache.fetch(&blobs, digest, "code").await.unwrap();
        cache.lay_out(&tree, &dir.path().join("out")).unwrap();
        assert_eq!(fs::read(dir.path().join("out/big")).unwrap(), vec![7; 100_000]);
    }

    #[tokio::test]
    async fn a_blob_that_no_server_has_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path().join("cache")).unwrap());
        let fault = cache.fetch(&MemoryBlobs::default(), Digest::of(b"x"), "code").await;
        let text = fault.unwrap_err().to_string();
        assert!(text.starts_with("code: blob 2d711642"), "{text}");
    }

    #[tokio::test]
    async fn a_cache_that_gave_way_is_filled_anew_and_what_was_laid_out_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path().join("cache")).unwrap());
        let blobs = MemoryBlobs::default();
        let digest = captured(&blobs, &[("big", &vec![7; 100_000], false)]);
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        cache.fill(&blobs, digest, "code", &first).await.unwrap();
        fs::create_dir(&second).unwrap();
        fs::write(second.join("part"), "of a tree").unwrap();
        cache.give_way(second.clone()).await;
        cache.fill(&blobs, digest, "code", &second).await.unwrap();
        for folder in [&first, &second] {
            assert_eq!(fs::read(folder.join("big")).unwrap(), vec![7; 100_000]);
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        }
        assert_eq!(blobs.fetched.lock().unwrap().len(), 4, "tree and file, twice");
    }

    #[tokio::test]
    async fn trimming_leaves_at_most_so_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(dir.path().join("cache")).unwrap());
        let blobs = MemoryBlobs::default();
        let digest = captured(&blobs, &[("a", &[1; 900], false), ("b", &[2; 900], false)]);
        let tree = cache.fetch(&blobs, digest, "code").await.unwrap();
        cache.trim(1_000).unwrap();
        assert!(tree.files.iter().filter(|file| cache.has(file)).count() < 2);
    }
}
