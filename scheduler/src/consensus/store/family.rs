//! Row families beside the one that counts: what snapshots are read from and received into.

use super::{APPLIED, FAMILY, MEMBERSHIP, Store, StoreError, options, read_state};
use crate::consensus::{
    rows::{Db, family_name},
    write::SnapshotMark,
};
use domain::port::Row;
use rocksdb::{
    Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Numbers the directories of checkpoints within one process.
static CHECKPOINTS: AtomicU64 = AtomicU64::new(1);

/// A frozen copy of the store, on hard links, gone when dropped.
pub struct Checkpointed {
    pub(super) db: Option<Db>,
    pub(super) dir: PathBuf,
    rows: String,
    mark: SnapshotMark,
}

impl Store {
    fn checkpoints(&self) -> PathBuf {
        let mut name = self.dir.as_os_str().to_owned();
        name.push("-checkpoints");
        PathBuf::from(name)
    }

    /// Removes what an earlier process left of its checkpoints.
    pub fn forget_checkpoints(&self) {
        // What cannot be removed takes space and does no other harm.
        let _ = std::fs::remove_dir_all(self.checkpoints());
    }

    /// A place for a copy, where nothing is.
    pub(super) fn fresh_checkpoint(&self) -> Result<PathBuf, StoreError> {
        let parent = self.checkpoints();
        std::fs::create_dir_all(&parent)
            .map_err(|source| StoreError::Directory { dir: parent.clone(), source })?;
        let dir = parent.join(CHECKPOINTS.fetch_add(1, Ordering::Relaxed).to_string());
        let _ = std::fs::remove_dir_all(&dir);
        Ok(dir)
    }

    /// Freezes the store as it is now. The mark is read within the copy, so rows and mark agree.
    ///
    /// # Errors
    /// When the copy cannot be made or read.
    pub fn checkpoint(&self) -> Result<Checkpointed, StoreError> {
        let dir = self.fresh_checkpoint()?;
        Checkpoint::new(&*self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&dir))
            .map_err(|fault| StoreError::new(&self.dir, fault))?;
        Checkpointed::open(dir)
    }

    /// Makes a fresh family to receive rows into.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn create_family(&self) -> Result<u64, StoreError> {
        let family = self.new_family();
        let name = family_name(family);
        self.db
            .create_cf(&name, &options::family_options(&name))
            .map_err(|fault| StoreError::new(&self.dir, fault))?;
        Ok(family)
    }

    /// Adds rows to a family that does not count yet, without the write-ahead log: a crash drops
    /// the whole family.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn fill(&self, family: u64, rows: &[Row]) -> Result<(), StoreError> {
        let handle = self.handle_of(family)?;
        let mut batch = WriteBatch::default();
        for (key, value) in rows {
            batch.put_cf(&handle, key, value);
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|fault| StoreError::new(&self.dir, fault))
    }

    /// Makes all rows of a filled family durable.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn seal_family(&self, family: u64) -> Result<(), StoreError> {
        let handle = self.handle_of(family)?;
        self.db.flush_cf(&handle).map_err(|fault| StoreError::new(&self.dir, fault))
    }

    /// Drops every family made before `kept`.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn drop_older(&self, kept: u64) -> Result<(), StoreError> {
        (0..kept).try_for_each(|family| self.drop_family(family))
    }

    /// Drops a family that does not count, if it is there.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn drop_family(&self, family: u64) -> Result<(), StoreError> {
        let name = family_name(family);
        if self.db.cf_handle(&name).is_none() {
            return Ok(());
        }
        self.db.drop_cf(&name).map_err(|fault| StoreError::new(&self.dir, fault))
    }

    fn handle_of(
        &self,
        family: u64,
    ) -> Result<std::sync::Arc<rocksdb::BoundColumnFamily<'_>>, StoreError> {
        let name = family_name(family);
        let handle = self.db.cf_handle(&name);
        handle.ok_or_else(|| StoreError::NoFamily { dir: self.dir.clone(), family: name })
    }
}

impl Checkpointed {
    fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let options = options::database();
        let failed = |fault| StoreError::new(&dir, fault);
        let names = Db::list_cf(&options, &dir).map_err(failed)?;
        let families = names.iter().map(|name| options::family(name));
        let db =
            Db::open_cf_descriptors_read_only(&options, &dir, families, false).map_err(failed)?;
        let family = read_state(&db, &dir, FAMILY)?.unwrap_or(0);
        let mark = SnapshotMark {
            applied: read_state(&db, &dir, APPLIED)?.unwrap_or_default(),
            membership: read_state(&db, &dir, MEMBERSHIP)?.unwrap_or_default(),
        };
        Ok(Self { db: Some(db), dir, rows: family_name(family), mark })
    }

    /// What the copy contains.
    #[must_use]
    pub fn mark(&self) -> &SnapshotMark {
        &self.mark
    }

    /// Where the copy is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Rows from `from` on, until `bytes` of them are gathered.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn page(&self, from: &[u8], bytes: usize) -> Result<Vec<Row>, StoreError> {
        let failed = |fault| StoreError::new(&self.dir, fault);
        let missing = || StoreError::NoFamily { dir: self.dir.clone(), family: self.rows.clone() };
        let db = self.db.as_ref().ok_or_else(missing)?;
        let family = db.cf_handle(&self.rows).ok_or_else(missing)?;
        let mut page = Vec::new();
        let mut gathered = 0;
        // Each row is read once: what others read often is not to make room for it.
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let start = IteratorMode::From(from, Direction::Forward);
        for row in db.iterator_cf_opt(&family, options, start) {
            let (key, value) = row.map_err(failed)?;
            gathered += key.len() + value.len();
            page.push((key.into_vec(), value.into_vec()));
            if gathered >= bytes {
                break;
            }
        }
        Ok(page)
    }
}

impl Drop for Checkpointed {
    fn drop(&mut self) {
        self.db.take();
        // What cannot be removed is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
