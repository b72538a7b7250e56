//! What a server keeps of its past: frozen copies of its disk, each as of some entry, and the log
//! from the oldest of them on. From there every later state can be had again.
//!
//! A copy is made of hard links, so it costs what the disk has changed since. Two are kept, the
//! older of which is let go when a third is made; so the log is kept for one window at least, for
//! two at most. Raft knows nothing of it: to it the log begins where it was compacted.

use super::{APPLIED, Checkpointed, FAMILY, LOG, Store, StoreError, options, read_state};
use crate::consensus::{
    boot::BootError,
    codec::entry_from_bytes,
    rows::{Db, RocksRows, family_name},
    write::AppliedMark,
};
use domain::port::RowChange;
use raft::eraftpb;
use rocksdb::{Direction, IteratorMode, SnapshotWithThreadMode, WriteBatch, WriteOptions};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Copies that are kept.
const COPIES: usize = 2;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Entries after which a new copy is made; 0 keeps nothing.
    pub entries: u64,
    /// Bytes of log after which it is made even so.
    pub bytes: u64,
}

/// What a store is told of the past that is kept, and tells of what it has written.
pub(super) struct Retained {
    /// The entry of the oldest copy: those after it stay when the log is compacted.
    after: AtomicU64,
    /// Bytes of entries written since the store was opened.
    logged: AtomicU64,
}

impl Retained {
    /// What an earlier process has kept.
    pub(super) fn of(dir: &Path) -> Self {
        let oldest = copies(&place(dir)).first().copied();
        Self { after: AtomicU64::new(oldest.unwrap_or(u64::MAX)), logged: AtomicU64::new(0) }
    }

    /// The last entry that may go when the log is compacted to `start`.
    pub(super) fn compactable(&self, start: u64) -> u64 {
        start.min(self.after.load(Ordering::Acquire))
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.logged.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn keep_after(&self, index: u64) {
        self.after.store(index, Ordering::Release);
    }
}

/// Where a disk's copies are.
fn place(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push("-history");
    PathBuf::from(name)
}

/// The entries of the copies that are there, ascending.
fn copies(place: &Path) -> Vec<u64> {
    let names = fs::read_dir(place).into_iter().flatten().flatten();
    let mut all: Vec<u64> =
        names.filter_map(|name| name.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all
}

/// Forgets what another disk in this place has kept.
pub(super) fn forget(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place(dir)) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the keeper of the past remembers.
struct Kept {
    copies: Vec<u64>,
    /// Bytes of log that had been written when the newest copy was made.
    logged: u64,
}

/// Keeps a server's past.
pub struct History {
    store: Store,
    window: Window,
    kept: Mutex<Kept>,
}

impl History {
    /// Takes over what an earlier process has kept.
    #[must_use]
    pub fn open(store: Store, window: Window) -> Self {
        let kept = Kept { copies: copies(&place(&store.dir)), logged: 0 };
        Self { store, window, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What it holds is true whenever nobody holds it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of the copies, ascending.
    #[must_use]
    pub fn copies(&self) -> Vec<u64> {
        self.kept().copies.clone()
    }

    /// How much is kept.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// One look: lets go of what is of no use, and makes a copy when it is time. `roomy` says
    /// whether the disk has room for a past. True when a copy was made.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn turn(&self, applied: u64, roomy: bool) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        if self.window.entries == 0 || !roomy {
            return self.let_go(&mut kept, 0).map(|()| false);
        }
        // After a snapshot came in there is no way from an older copy to now.
        let dead = kept.copies.iter().take_while(|at| applied > **at && !self.holds(**at + 1));
        let living = kept.copies.len() - dead.count();
        self.let_go(&mut kept, living)?;
        let logged = self.store.retained.logged.load(Ordering::Relaxed) - kept.logged;
        let due = match kept.copies.last() {
            None => applied > 0,
            Some(newest) => {
                let entries = applied.saturating_sub(*newest);
                entries >= self.window.entries || (entries > 0 && logged >= self.window.bytes)
            }
        };
        if due {
            self.make(&mut kept)?;
        }
        Ok(due)
    }

    /// Makes a copy now.
    #[cfg(test)]
    pub(crate) fn freeze(&self) -> Result<(), StoreError> {
        self.make(&mut self.kept())
    }

    fn make(&self, kept: &mut Kept) -> Result<(), StoreError> {
        let place = place(&self.store.dir);
        let refused = |source| StoreError::Directory { dir: place.clone(), source };
        fs::create_dir_all(&place).map_err(refused)?;
        if kept.copies.is_empty() {
            // Nothing may go between the copy and the word that it is there.
            self.store.retained.keep_after(0);
        }
        let logged = self.store.retained.logged.load(Ordering::Relaxed);
        let made = self.store.checkpoint().and_then(|copy| {
            let index = copy.mark().applied.index;
            copy.keep_as(&place.join(index.to_string())).map_err(refused)?;
            Ok(index)
        });
        if let Ok(index) = &made {
            kept.copies.retain(|at| at != index);
            kept.copies.push(*index);
            kept.logged = logged;
        }
        self.let_go(kept, COPIES)?;
        made.map(|_| ())
    }

    /// Lets all copies go but the newest few. The log is let go first: a copy without its log is
    /// seen to be of no use, a log without its copy would stay.
    fn let_go(&self, kept: &mut Kept, left: usize) -> Result<(), StoreError> {
        let gone = kept.copies.len().saturating_sub(left);
        let stays = kept.copies.get(gone).copied().unwrap_or(u64::MAX);
        self.store.retained.keep_after(stays);
        for index in kept.copies.drain(..gone) {
            let dir = place(&self.store.dir).join(index.to_string());
            match fs::remove_dir_all(&dir) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Directory { dir, source: fault });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn holds(&self, index: u64) -> bool {
        let log = self.store.handle(LOG);
        matches!(self.store.db.get_pinned_cf(&log, index.to_be_bytes()), Ok(Some(_)))
    }

    /// The log as it stands now, whatever goes meanwhile.
    #[must_use]
    pub fn log(&self) -> PastLog<'_> {
        PastLog { store: &self.store, frozen: self.store.db.snapshot() }
    }

    /// A copy of the copy as of an entry, to go on from; gone when dropped. None when it is not
    /// there any more.
    ///
    /// # Errors
    /// When it cannot be read, or the disk refuses.
    pub fn fork(&self, index: u64) -> Result<Option<Fork>, StoreError> {
        let kept = self.kept();
        if !kept.copies.contains(&index) {
            return Ok(None);
        }
        let from = place(&self.store.dir).join(index.to_string());
        let dir = self.store.fresh_checkpoint()?;
        // Removes what was begun, also where it cannot be finished.
        let fork = Fork { db: None, rows: None, dir: dir.clone(), family: String::new() };
        link_all(&from, &dir).map_err(|source| StoreError::Directory { dir, source })?;
        drop(kept);
        fork.open().map(Some)
    }
}

/// Links what RocksDB never writes to again, and copies the rest.
fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let (source, target) = (from.join(&name), to.join(&name));
        match Path::new(&name).extension() {
            Some(end) if end == "sst" => fs::hard_link(source, target)?,
            _ => fs::copy(source, target).map(|_| ())?,
        }
    }
    Ok(())
}

impl Checkpointed {
    /// Gives the copy another place, where it stays.
    fn keep_as(mut self, dir: &Path) -> io::Result<()> {
        self.db.take();
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::rename(&self.dir, dir)?;
        dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }
}

/// Rows of the past that may be changed: nobody else sees it.
pub struct Fork {
    db: Option<Arc<Db>>,
    rows: Option<RocksRows>,
    dir: PathBuf,
    family: String,
}

impl Fork {
    fn open(mut self) -> Result<Self, StoreError> {
        let options = options::database();
        let failed = |fault| StoreError::new(&self.dir, fault);
        let names = Db::list_cf(&options, &self.dir).map_err(failed)?;
        let families = names.iter().map(|name| options::family(name));
        let db = Db::open_cf_descriptors(&options, &self.dir, families).map_err(failed)?;
        let db = Arc::new(db);
        let family = read_state(&db, &self.dir, FAMILY)?.unwrap_or(0);
        self.family = family_name(family);
        self.rows = Some(RocksRows::new(Arc::clone(&db), family));
        self.db = Some(db);
        Ok(self)
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &RocksRows {
        self.rows.as_ref().expect("an open fork has rows")
    }

    /// What the rows contained when they were kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mark(&self) -> Result<AppliedMark, StoreError> {
        let db = self.db.as_ref().expect("an open fork has a database");
        Ok(read_state(db, &self.dir, APPLIED)?.unwrap_or_default())
    }

    /// Takes changes in.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn change(&self, changes: &[RowChange]) -> Result<(), StoreError> {
        let db = self.db.as_ref().expect("an open fork has a database");
        let missing =
            || StoreError::NoFamily { dir: self.dir.clone(), family: self.family.clone() };
        let family = db.cf_handle(&self.family).ok_or_else(missing)?;
        let mut batch = WriteBatch::default();
        for change in changes {
            match &change.value {
                Some(value) => batch.put_cf(&family, &change.key, value),
                None => batch.delete_cf(&family, &change.key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        db.write_opt(batch, &options).map_err(|fault| StoreError::new(&self.dir, fault))
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        self.rows.take();
        self.db.take();
        // What cannot be removed is removed at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The log as it stood when it was asked for.
pub struct PastLog<'a> {
    store: &'a Store,
    frozen: SnapshotWithThreadMode<'a, Db>,
}

impl PastLog<'_> {
    /// The entries from `from` to `to`, which are all there, one after the other.
    pub fn entries(
        &self,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Result<eraftpb::Entry, StoreError>> {
        let log = self.store.handle(LOG);
        let first = from.to_be_bytes();
        let mode = IteratorMode::From(&first, Direction::Forward);
        let mut rows = self.frozen.iterator_cf(&log, mode);
        (from..=to).map(move |index| match rows.next() {
            None => Err(BootError::Missing { index }.into()),
            Some(Err(fault)) => Err(StoreError::new(&self.store.dir, fault)),
            Some(Ok((key, _))) if *key != index.to_be_bytes() => {
                Err(BootError::Missing { index }.into())
            }
            Some(Ok((_, value))) => entry_from_bytes(index, &value)
                .map_err(|fault| BootError::Entry { index, fault }.into()),
        })
    }
}
