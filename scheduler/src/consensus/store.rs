//! A replica's disk: log, raft state and rows in one RocksDB with one write-ahead log.

mod error;
mod family;
pub mod history;
mod options;
mod restore;

pub use error::StoreError;
pub use family::Checkpointed;
pub use history::{Fork, History, PastLog, Window};
pub use restore::{RESTORED_AHEAD, Saved};

use super::{
    boot::{BootError, BootState},
    codec::{entry_from_bytes, state_from_bytes, state_to_bytes},
    rows::{Db, RocksRows, family_name},
    write::{LogStart, WriteOp},
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::ReplicaId;
use history::Retained;
use rocksdb::{Direction, IteratorMode, WriteBatch, WriteOptions};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const LOG: &str = "log";
const RAFT: &str = "raft";

const APPLIED: &str = "applied";
const CONDEMNED: &str = "condemned";
const FAMILY: &str = "family";
const HARD_STATE: &str = "hard_state";
const IDENTITY: &str = "identity";
const LOG_START: &str = "log_start";
const MEMBERSHIP: &str = "membership";

/// Whose disk it is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// The server.
    pub id: ReplicaId,
}

/// A replica's disk. Clones share it.
#[derive(Clone)]
pub struct Store {
    db: Arc<Db>,
    dir: PathBuf,
    rows: RocksRows,
    next_family: Arc<AtomicU64>,
    retained: Arc<Retained>,
}

/// Stands in the directory while a disk is being made.
const MAKING: &str = "MAKING";

/// Makes the directory, and says whether a disk is to be made in it. One that was not made to its
/// end holds nothing that anybody was told of: it is made anew.
fn begin(dir: &Path) -> io::Result<bool> {
    if dir.join(MAKING).exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    let fresh = !dir.join("CURRENT").exists();
    if fresh {
        File::create(dir.join(MAKING))?.sync_all()?;
        File::open(dir)?.sync_all()?;
    }
    Ok(fresh)
}

/// A disk is made. Not before this is on the disk may anything else be.
fn made(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(MAKING))?;
    File::open(dir)?.sync_all()
}

impl Store {
    /// Opens or makes the disk of `identity` in `dir`. A new disk first gets `genesis`.
    ///
    /// # Errors
    /// When the directory is in use, another server's, damaged, or cannot be written.
    pub fn open(dir: &Path, identity: &Identity, genesis: &WriteOp) -> Result<Self, StoreError> {
        let failed = |fault| StoreError::new(dir, fault);
        let refused = |source| StoreError::Directory { dir: dir.to_owned(), source };
        let options = options::database();
        let fresh = begin(dir).map_err(refused)?;
        if fresh {
            history::forget(dir).map_err(refused)?;
        }
        let names = match fresh {
            true => vec![LOG.to_owned(), RAFT.to_owned(), family_name(0)],
            false => Db::list_cf(&options, dir).map_err(failed)?,
        };
        let families = names.iter().map(|name| options::family(name));
        let db = Arc::new(Db::open_cf_descriptors(&options, dir, families).map_err(failed)?);
        let newest = names.iter().filter_map(|name| name.strip_prefix("rows-")?.parse().ok());
        let next = newest.max().map_or(1, |family: u64| family + 1);
        let rows = RocksRows::new(Arc::clone(&db), 0);
        let next_family = Arc::new(AtomicU64::new(next));
        let retained = Arc::new(Retained::of(dir));
        let store = Self { db, dir: dir.to_owned(), rows, next_family, retained };
        store.claim(identity, genesis)?;
        if fresh {
            made(dir).map_err(refused)?;
        }
        let family = store.read(FAMILY)?.unwrap_or(0);
        store.rows.switch(family);
        for name in names.iter().filter(|name| name.starts_with("rows-")) {
            if *name != family_name(family) {
                store.db.drop_cf(name).map_err(failed)?;
            }
        }
        Ok(store)
    }

    /// Takes an unclaimed disk for `identity`, or checks that it is the one.
    fn claim(&self, identity: &Identity, genesis: &WriteOp) -> Result<(), StoreError> {
        match self.read::<Identity>(IDENTITY)? {
            None => {
                let mut batch = WriteBatch::default();
                self.put(&mut batch, IDENTITY, identity);
                self.add(&mut batch, genesis, &mut family_name(0));
                self.commit(batch, true)
            }
            Some(found) if found == *identity => Ok(()),
            Some(found) => Err(StoreError::Boot(BootError::Foreign {
                found: found.id,
                found_cluster: found.cluster,
                wanted: identity.id,
                wanted_cluster: identity.cluster.clone(),
            })),
        }
    }

    /// The rows that count.
    #[must_use]
    pub fn rows(&self) -> RocksRows {
        self.rows.clone()
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a replica starts from.
    ///
    /// # Errors
    /// When something is damaged or missing: this server must be replaced.
    pub fn boot(&self) -> Result<BootState, StoreError> {
        if let Some(why) = self.read::<String>(CONDEMNED)? {
            return Err(StoreError::Boot(BootError::Condemned { why }));
        }
        let log_start: LogStart = self.read(LOG_START)?.unwrap_or_default();
        let boot = BootState {
            hard_state: self.read(HARD_STATE)?.unwrap_or_default(),
            membership: self.read(MEMBERSHIP)?.unwrap_or_default(),
            log_start,
            applied: self.read(APPLIED)?.unwrap_or_default(),
            entries: self.entries(log_start.index + 1)?,
        };
        boot.check()?;
        Ok(boot)
    }

    fn entries(&self, first: u64) -> Result<Vec<raft::eraftpb::Entry>, StoreError> {
        let family = self.handle(LOG);
        let from = first.to_be_bytes();
        let mut entries = Vec::new();
        let mode = IteratorMode::From(&from, Direction::Forward);
        for (row, index) in self.db.iterator_cf(&family, mode).zip(first..) {
            let (key, value) = row.map_err(|fault| StoreError::new(&self.dir, fault))?;
            if *key != index.to_be_bytes() {
                return Err(BootError::Missing { index }.into());
            }
            let entry = entry_from_bytes(index, &value)
                .map_err(|fault| BootError::Entry { index, fault })?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Performs writes in order as one batch, synced if any of them must be.
    ///
    /// # Errors
    /// When the write fails. What is on the disk is then unknown: the process must end and start
    /// again from the disk, and never try the same write twice.
    pub fn write<'a>(&self, ops: impl IntoIterator<Item = &'a WriteOp>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let mut sync = false;
        let mut rows = self.rows.name();
        for op in ops {
            self.add(&mut batch, op, &mut rows);
            sync |= op.sync;
        }
        self.commit(batch, sync)
    }

    fn commit(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|fault| StoreError::new(&self.dir, fault))
    }

    /// Adds one write to a batch; `rows` names the family that its rows go to.
    fn add(&self, batch: &mut WriteBatch, op: &WriteOp, rows: &mut String) {
        let log = self.handle(LOG);
        if let Some(install) = &op.install {
            batch.delete_range_cf(&log, 0u64.to_be_bytes(), u64::MAX.to_be_bytes());
            self.put(batch, LOG_START, &LogStart::from(&install.mark.applied));
            self.put(batch, FAMILY, &install.family);
            *rows = family_name(install.family);
        }
        if let Some(from) = op.truncate_from {
            batch.delete_range_cf(&log, from.to_be_bytes(), u64::MAX.to_be_bytes());
        }
        for entry in &op.entries {
            batch.put_cf(&log, entry.index.to_be_bytes(), &entry.bytes);
            self.retained.wrote(entry.bytes.len());
        }
        if let Some(start) = op.compact_to {
            let end = (self.retained.compactable(start.index) + 1).to_be_bytes();
            batch.delete_range_cf(&log, 0u64.to_be_bytes(), end);
            self.put(batch, LOG_START, &start);
        }
        let state = &op.hard_state;
        state.iter().for_each(|state| self.put(batch, HARD_STATE, state));
        op.membership.iter().for_each(|members| self.put(batch, MEMBERSHIP, members));
        op.applied.iter().for_each(|applied| self.put(batch, APPLIED, applied));
        op.condemned.iter().for_each(|why| self.put(batch, CONDEMNED, why));
        if !op.rows.is_empty() {
            let family = self.handle(rows);
            for change in &op.rows {
                match &change.value {
                    Some(value) => batch.put_cf(&family, &change.key, value),
                    None => batch.delete_cf(&family, &change.key),
                }
            }
        }
    }

    fn put(&self, batch: &mut WriteBatch, key: &str, value: &impl BorshSerialize) {
        batch.put_cf(&self.handle(RAFT), key, state_to_bytes(value));
    }

    fn read<T: BorshDeserialize>(&self, key: &str) -> Result<Option<T>, StoreError> {
        read_state(&self.db, &self.dir, key)
    }

    fn handle(&self, name: &str) -> Arc<rocksdb::BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("families in use are never dropped")
    }

    fn new_family(&self) -> u64 {
        self.next_family.fetch_add(1, Ordering::Relaxed)
    }
}

fn read_state<T: BorshDeserialize>(
    db: &Db,
    dir: &Path,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let family = db
        .cf_handle(RAFT)
        .ok_or_else(|| StoreError::NoFamily { dir: dir.to_owned(), family: RAFT.to_owned() })?;
    let bytes = db.get_pinned_cf(&family, key).map_err(|fault| StoreError::new(dir, fault))?;
    let decode = |bytes: rocksdb::DBPinnableSlice<'_>| {
        state_from_bytes(&bytes)
            .map_err(|fault| BootError::State { what: key.to_owned(), fault }.into())
    };
    bytes.map(decode).transpose()
}
