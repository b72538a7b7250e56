//! The ledger's rows in RocksDB, where production keeps them, filled by the ledger itself.

use anyhow::{Context as _, Result};
use domain::{
    port::{Row, RowRead},
    scratch::Scratch,
};
use registry::ledger::Ledger;
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch};
use std::path::Path;

/// Changes that are written together.
pub const BATCH: u64 = 1_000;

/// Rows on a disk.
pub struct Rows(DB);

impl Rows {
    /// An empty store.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn create(dir: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(2);
        Ok(Self(DB::open(&options, dir).context("the rows cannot be opened")?))
    }

    /// Has the ledger do something, and writes what it changed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn change<T>(
        &self,
        ledger: &mut Ledger,
        work: impl FnOnce(&mut Ledger, &mut Scratch<'_, Self>) -> T,
    ) -> Result<T> {
        let mut rows = Scratch::new(self);
        let done = work(ledger, &mut rows);
        let (changes, _) = rows.finish(Default::default());
        let mut batch = WriteBatch::default();
        for change in changes {
            match change.value {
                Some(value) => batch.put(change.key, value),
                None => batch.delete(change.key),
            }
        }
        self.0.write(batch).context("the rows cannot be written")?;
        Ok(done)
    }

    /// Brings all rows from memory to the disk, as they lie in a cluster that has run for long.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> Result<()> {
        self.0.flush().context("the rows cannot be flushed")?;
        self.0.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }
}

impl RowRead for Rows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).expect("the disk of the bench reads")
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let mut bounds = ReadOptions::default();
        bounds.set_iterate_upper_bound(to);
        let mode = IteratorMode::From(from, Direction::Forward);
        let found = self.0.iterator_opt(mode, bounds).take(limit);
        found
            .map(|row| row.expect("the disk of the bench reads"))
            .map(|(key, value)| (key.into_vec(), value.into_vec()))
            .collect()
    }
}
