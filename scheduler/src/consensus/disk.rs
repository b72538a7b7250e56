//! A store in memory: the meaning of [`WriteOp`], and the simulator's disk.

use super::{
    boot::{BootError, BootState},
    codec::entry_from_bytes,
    membership::Membership,
    write::{AppliedMark, HardState, LogStart, WriteOp},
};
use std::collections::BTreeMap;

/// Rows by key.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a store holds after a sequence of writes.
///
/// The RocksDB store is tested to agree with it. The simulator keeps two of them for each replica
/// (what was written, what survives a crash) and flips bits in `log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Stored log entries by index.
    pub log: BTreeMap<u64, Vec<u8>>,
    /// The entry before the first.
    pub log_start: LogStart,
    /// Raft's hard state.
    pub hard_state: HardState,
    /// The members.
    pub membership: Membership,
    /// How far the rows have come.
    pub applied: AppliedMark,
    /// Row families: the current one, and those that snapshots are received into.
    pub families: BTreeMap<u64, Rows>,
    /// The family that counts.
    pub family: u64,
    /// Why this replica is never to serve again.
    pub condemned: Option<String>,
}

impl Disk {
    /// Performs one write.
    pub fn write(&mut self, op: &WriteOp) {
        if let Some(install) = &op.install {
            self.log.clear();
            self.families.retain(|family, _| *family == install.family);
            self.family = install.family;
            let LogStart { index, term } = (&install.mark.applied).into();
            self.log_start = LogStart { index, term };
        }
        if let Some(from) = op.truncate_from {
            self.log.split_off(&from);
        }
        for entry in &op.entries {
            self.log.insert(entry.index, entry.bytes.clone());
        }
        if let Some(start) = op.compact_to {
            self.log = self.log.split_off(&(start.index + 1));
            self.log_start = start;
        }
        if let Some(state) = op.hard_state {
            self.hard_state = state;
        }
        if let Some(membership) = &op.membership {
            self.membership.clone_from(membership);
        }
        if let Some(applied) = op.applied {
            self.applied = applied;
        }
        let rows = self.families.entry(self.family).or_default();
        for change in &op.rows {
            match &change.value {
                Some(value) => rows.insert(change.key.clone(), value.clone()),
                None => rows.remove(&change.key),
            };
        }
        if op.condemned.is_some() {
            self.condemned.clone_from(&op.condemned);
        }
    }

    /// The rows that count.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.families.get(&self.family).cloned().unwrap_or_default()
    }

    /// What a replica starts from.
    ///
    /// # Errors
    /// When something is damaged or missing.
    pub fn boot(&self) -> Result<BootState, BootError> {
        if let Some(why) = &self.condemned {
            return Err(BootError::Condemned { why: why.clone() });
        }
        let mut entries = Vec::with_capacity(self.log.len());
        for (&index, bytes) in &self.log {
            let entry = entry_from_bytes(index, bytes)
                .map_err(|fault| BootError::Entry { index, fault })?;
            entries.push(entry);
        }
        let boot = BootState {
            hard_state: self.hard_state,
            membership: self.membership.clone(),
            log_start: self.log_start,
            applied: self.applied,
            entries,
        };
        boot.check()?;
        Ok(boot)
    }
}
