//! A server's disk: what is written, what of it survives a crash.

use crate::chance::Chance;
use domain::port::{Row, RowRead};
use scheduler::consensus::{
    BootError, BootState, WriteOp,
    disk::{Disk, Rows},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

/// The rows as the replica reads them: as written, synced or not.
#[derive(Clone, Default)]
pub struct SharedRows(Rc<RefCell<(u64, BTreeMap<u64, Rows>)>>);

impl RowRead for SharedRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shared = self.0.borrow();
        shared.1.get(&shared.0).and_then(|rows| RowRead::get(rows, key))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let shared = self.0.borrow();
        let rows = shared.1.get(&shared.0);
        rows.map_or_else(Vec::new, |rows| RowRead::range(rows, from, to, limit))
    }
}

/// One server's disk.
pub struct SimDisk {
    durable: Disk,
    unsynced: Vec<WriteOp>,
    queue: VecDeque<(u64, WriteOp)>,
    shared: SharedRows,
    next_family: u64,
    /// How far the rows are written, for a frozen copy.
    pub mark: scheduler::consensus::SnapshotMark,
}

impl SimDisk {
    /// A disk with a first write on it.
    #[must_use]
    pub fn new(genesis: &WriteOp) -> Self {
        let mut durable = Disk::default();
        durable.write(genesis);
        Self {
            mark: mark_of(&durable),
            durable,
            unsynced: Vec::new(),
            queue: VecDeque::new(),
            shared: SharedRows::default(),
            next_family: 100,
        }
    }

    /// The machine loses power: what was not synced is lost but for a first part of it.
    pub fn crash(&mut self, chance: &mut Chance) {
        self.queue.clear();
        let kept = chance.below(self.unsynced.len() as u64 + 1) as usize;
        let mut unsynced = std::mem::take(&mut self.unsynced);
        unsynced.truncate(kept);
        unsynced.iter().for_each(|op| self.sync(op));
    }

    /// A sync fails: what was to be written is in the cache, if there was room for it.
    pub fn fail(&mut self, fits: bool) {
        if let Some((_, op)) = self.queue.pop_front().filter(|_| fits) {
            self.unsynced.push(op);
        }
    }

    /// The stored log entries.
    pub fn log_mut(&mut self) -> Box<dyn Iterator<Item = &mut Vec<u8>> + '_> {
        Box::new(self.durable.log.values_mut())
    }

    /// The values of the stored rows that count.
    pub fn rows_mut(&mut self) -> Box<dyn Iterator<Item = &mut Vec<u8>> + '_> {
        let family = self.durable.family;
        let rows = self.durable.families.get_mut(&family);
        Box::new(rows.into_iter().flat_map(|rows| rows.values_mut()))
    }

    /// What a replica starts from, and the rows it reads.
    ///
    /// # Errors
    /// When log and rows do not fit together.
    pub fn boot(&mut self) -> Result<(BootState, SharedRows), BootError> {
        let boot = self.durable.boot()?;
        let family = self.durable.family;
        self.durable.families.retain(|id, _| *id == family);
        let families = self.durable.families.clone();
        self.shared = SharedRows(Rc::new(RefCell::new((family, families))));
        self.mark = mark_of(&self.durable);
        Ok((boot, self.shared.clone()))
    }

    /// Writes that are not done.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Entries in the log as synced.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.durable.log.len()
    }

    /// Families of rows as written.
    #[must_use]
    pub fn families(&self) -> usize {
        self.shared.0.borrow().1.len()
    }

    /// The log as synced, and how far the rows have come.
    #[must_use]
    pub fn log(&self) -> (&BTreeMap<u64, Vec<u8>>, u64) {
        (&self.durable.log, self.durable.applied.index)
    }

    /// Takes a write to be done later.
    pub fn queue(&mut self, seq: u64, op: WriteOp) {
        self.queue.push_back((seq, op));
    }

    /// Whether writes wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Does the oldest write; gives its number.
    pub fn write_next(&mut self) -> Option<u64> {
        let (seq, op) = self.queue.pop_front()?;
        let install = op.install.as_ref().map(|install| install.family);
        {
            let mut shared = self.shared.0.borrow_mut();
            let family = install.unwrap_or(shared.0);
            let rows = shared.1.entry(family).or_default();
            for change in &op.rows {
                match &change.value {
                    Some(value) => rows.insert(change.key.clone(), value.clone()),
                    None => rows.remove(&change.key),
                };
            }
        }
        if let Some(applied) = op.applied {
            self.mark.applied = applied;
        }
        if let Some(membership) = &op.membership {
            self.mark.membership.clone_from(membership);
        }
        let sync = op.sync;
        self.unsynced.push(op);
        if sync {
            let unsynced = std::mem::take(&mut self.unsynced);
            unsynced.iter().for_each(|op| self.sync(op));
        }
        if let Some(family) = install {
            self.shared.0.borrow_mut().0 = family;
        }
        Some(seq)
    }

    /// A write reaches the disk; received rows had reached it before.
    fn sync(&mut self, op: &WriteOp) {
        if let Some(family) = op.install.as_ref().map(|install| install.family) {
            let rows = self.shared.0.borrow().1.get(&family).cloned();
            self.durable.families.insert(family, rows.unwrap_or_default());
        }
        self.durable.write(op);
    }

    /// The rows as written, for a snapshot.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let shared = self.shared.0.borrow();
        shared.1.get(&shared.0).cloned().unwrap_or_default()
    }

    /// Takes received rows into a family of their own.
    pub fn receive(&mut self, rows: Rows) -> u64 {
        self.next_family += 1;
        self.shared.0.borrow_mut().1.insert(self.next_family, rows);
        self.next_family
    }

    /// Drops a family that did not come to count, or all that came before one that did.
    pub fn settle(&mut self, family: u64, installed: bool) {
        let mut shared = self.shared.0.borrow_mut();
        match installed {
            true => shared.1.retain(|id, _| *id >= family),
            false => drop(shared.1.remove(&family)),
        }
    }
}

fn mark_of(disk: &Disk) -> scheduler::consensus::SnapshotMark {
    let membership = disk.membership.clone();
    scheduler::consensus::SnapshotMark { applied: disk.applied, membership }
}
