//! The state machine's rows in RocksDB, as the replica reads them.

use domain::port::{Row, RowRead};
use rocksdb::{DBWithThreadMode, Direction, IteratorMode, MultiThreaded, ReadOptions};
use std::sync::{Arc, PoisonError, RwLock};

/// The database, with column families that come and go.
pub(super) type Db = DBWithThreadMode<MultiThreaded>;

/// The name of a row family.
pub(super) fn family_name(family: u64) -> String {
    format!("rows-{family}")
}

/// A handle on the row family that counts. All clones switch together.
#[derive(Clone)]
pub struct RocksRows {
    db: Arc<Db>,
    name: Arc<RwLock<String>>,
}

impl RocksRows {
    pub(super) fn new(db: Arc<Db>, family: u64) -> Self {
        Self { db, name: Arc::new(RwLock::new(family_name(family))) }
    }

    /// Reads from another family from now on. To be called by the thread that owns the replica,
    /// just before it is told that the snapshot in that family is installed.
    pub fn switch(&self, family: u64) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = family_name(family);
    }

    pub(super) fn name(&self) -> String {
        self.name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with<T>(&self, read: impl FnOnce(&Db, &Family<'_>) -> Result<T, rocksdb::Error>) -> T {
        let name = self.name.read().unwrap_or_else(PoisonError::into_inner);
        let family = self.db.cf_handle(&name).expect("the family that counts is never dropped");
        match read(&self.db, &family) {
            Ok(value) => value,
            Err(fault) => unreadable(&fault),
        }
    }
}

type Family<'a> = Arc<rocksdb::BoundColumnFamily<'a>>;

fn unreadable(fault: &rocksdb::Error) -> ! {
    panic!(
        "a row cannot be read ({fault}): this server must not serve; remove it with `assay \
         cluster remove`, then add a new one with a new id and an empty disk"
    )
}

impl RowRead for RocksRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.with(|db, family| db.get_cf(family, key))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        self.with(|db, family| {
            let mut options = ReadOptions::default();
            options.set_iterate_upper_bound(to);
            let start = IteratorMode::From(from, Direction::Forward);
            db.iterator_cf_opt(family, options, start)
                .take(limit)
                .map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())))
                .collect()
        })
    }
}
