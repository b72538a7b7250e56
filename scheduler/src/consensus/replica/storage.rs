//! The log since its last compaction, in memory, as raft-rs reads it.

use crate::consensus::write::{LogStart, SnapshotMark};
use prost_raft::Message as _;
use raft::{
    GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

/// The log since its last compaction.
///
/// The disk holds the same; it is read at start only.
pub(super) struct LogTail {
    initial: RaftState,
    start: LogStart,
    entries: VecDeque<Entry>,
    bytes: u64,
    snapshots: RefCell<Snapshots>,
}

/// raft-rs asks for snapshots through a shared reference.
#[derive(Default)]
struct Snapshots {
    wanted: BTreeSet<u64>,
    built: BTreeMap<u64, SnapshotMark>,
}

fn size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + 24) as u64
}

impl LogTail {
    pub(super) fn new(
        hard_state: HardState,
        conf_state: ConfState,
        start: LogStart,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            initial: RaftState { hard_state, conf_state },
            start,
            bytes: entries.iter().map(size).sum(),
            entries: entries.into(),
            snapshots: RefCell::default(),
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.start.index + self.entries.len() as u64
    }

    pub(super) fn start(&self) -> LogStart {
        self.start
    }

    /// Number of entries and their bytes.
    pub(super) fn weight(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes)
    }

    /// Adds entries that follow, or replace the end of, those that it holds.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first().map(|entry| entry.index) else { return };
        assert!(self.start.index < first && first <= self.last() + 1, "the log has no gaps");
        while self.last() >= first {
            let removed = self.entries.pop_back().expect("the log reaches to `first`");
            self.bytes -= size(&removed);
        }
        self.bytes += entries.iter().map(size).sum::<u64>();
        self.entries.extend(entries);
    }

    /// Forgets entries up to `index`, which it must hold.
    pub(super) fn compact(&mut self, index: u64) -> LogStart {
        while self.start.index < index {
            let removed = self.entries.pop_front().expect("only what is held is compacted");
            self.bytes -= size(&removed);
            self.start = LogStart { index: removed.index, term: removed.term };
        }
        self.start
    }

    /// How far to compact so that at most `bytes` are kept, given that nothing after `applied`
    /// may go.
    pub(super) fn index_for_bytes(&self, bytes: u64, applied: u64) -> u64 {
        let mut held = self.bytes;
        let mut index = self.start.index;
        for entry in &self.entries {
            if held <= bytes || entry.index > applied {
                break;
            }
            held -= size(entry);
            index = entry.index;
        }
        index
    }

    /// Starts anew after a snapshot.
    pub(super) fn start_from(&mut self, start: LogStart) {
        self.start = start;
        self.entries.clear();
        self.bytes = 0;
    }

    /// Takes whom raft-rs wants to send a snapshot to.
    pub(super) fn take_wanted(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.snapshots.borrow_mut().wanted)
    }

    /// A snapshot for `to` was built.
    pub(super) fn offer(&self, to: u64, mark: SnapshotMark) {
        self.snapshots.borrow_mut().built.insert(to, mark);
    }

    /// Forgets snapshots that were built: this server leads no more.
    pub(super) fn withdraw(&self) {
        *self.snapshots.borrow_mut() = Snapshots::default();
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.start.index - 1).expect("the log fits in memory")
    }
}

impl Storage for LogTail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "raft-rs asks for entries that were never appended");
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut taken = 0u64;
        let mut entries = Vec::new();
        for entry in self.entries.range(self.position(low)..self.position(high)) {
            taken = taken.saturating_add(entry.encoded_len() as u64);
            if !entries.is_empty() && taken > max {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.index {
            return Ok(self.start.term);
        }
        if index < self.start.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        match self.entries.get(self.position(index)) {
            Some(entry) => Ok(entry.term),
            None => Err(raft::Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let mut snapshots = self.snapshots.borrow_mut();
        let fits = |mark: &SnapshotMark| mark.applied.index >= request_index.max(self.start.index);
        match snapshots.built.remove(&to).filter(fits) {
            Some(mark) => Ok(mark.to_raft()),
            None => {
                snapshots.wanted.insert(to);
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
