//! What a replica asks its store to write, as one ordered stream.

use super::membership::Membership;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{Digest, LogIndex, port::RowChange};
use raft::eraftpb;

/// Raft's term, vote and commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HardState {
    /// The newest term that was seen.
    pub term: u64,
    /// The server that got this server's vote in that term; 0 for none.
    pub vote: u64,
    /// The newest index that is known to be committed.
    pub commit: u64,
}

impl From<&eraftpb::HardState> for HardState {
    fn from(from: &eraftpb::HardState) -> Self {
        Self { term: from.term, vote: from.vote, commit: from.commit }
    }
}

impl From<HardState> for eraftpb::HardState {
    fn from(from: HardState) -> Self {
        Self { term: from.term, vote: from.vote, commit: from.commit }
    }
}

/// The entry before the first that the log still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogStart {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// How far the rows have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AppliedMark {
    /// The newest entry that the rows contain.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The machine's digest after it; none before anything was applied.
    pub digest: Option<Digest>,
}

/// What a snapshot says of itself beside its rows.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotMark {
    /// The newest entry that its rows contain.
    pub applied: AppliedMark,
    /// The members as of that entry.
    pub membership: Membership,
}

/// A log entry in its stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index.
    pub index: u64,
    /// Its bytes: see [`super::codec`].
    pub bytes: Vec<u8>,
}

/// Puts a received snapshot in the place of log and rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// The row family that holds the received rows.
    pub family: u64,
    /// Its mark.
    pub mark: SnapshotMark,
}

/// One atomic write. A store performs them in order, may merge neighbours, and reports each as
/// written when it is readable and, where `sync` is set, durable.
///
/// Within one, the order is: `install`, `truncate_from`, `entries`, `compact_to`, the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOp {
    /// Switch to another row family, set the log's start, and clear the log.
    pub install: Option<Install>,
    /// Remove entries from this index on.
    pub truncate_from: Option<u64>,
    /// Entries to add, contiguous.
    pub entries: Vec<StoredEntry>,
    /// Remove entries up to and including this one.
    pub compact_to: Option<LogStart>,
    /// Raft's hard state.
    pub hard_state: Option<HardState>,
    /// The members as of `applied`.
    pub membership: Option<Membership>,
    /// How far `rows` have come.
    pub applied: Option<AppliedMark>,
    /// Changed rows, in order.
    pub rows: Vec<RowChange>,
    /// This replica is never to serve again.
    pub condemned: Option<String>,
    /// Whether messages depend on this being durable.
    pub sync: bool,
}

impl WriteOp {
    /// The first write of each founder of a cluster: entry 1 is the founding, already compacted,
    /// so that a server which joins later can only begin from a snapshot with the members in it.
    #[must_use]
    pub fn genesis(membership: Membership) -> Self {
        Self {
            compact_to: Some(LogStart { index: 1, term: 1 }),
            hard_state: Some(HardState { term: 1, vote: 0, commit: 1 }),
            applied: Some(AppliedMark { index: 1, term: 1, digest: None }),
            membership: Some(membership),
            sync: true,
            ..Self::default()
        }
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds entries that follow, or replace the end of, those already here.
    pub fn append(&mut self, stored_last: u64, entries: Vec<StoredEntry>) {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return;
        };
        if first <= stored_last {
            let from = self.truncate_from.map_or(first, |earlier| earlier.min(first));
            self.truncate_from = Some(from);
        }
        self.entries.retain(|entry| entry.index < first);
        self.entries.extend(entries);
    }

    /// Starts anew from a received snapshot: what was to be written of log and rows is void.
    pub fn start_from(&mut self, install: Install) {
        self.truncate_from = None;
        self.entries.clear();
        self.compact_to = None;
        self.rows.clear();
        self.applied = Some(install.mark.applied);
        self.membership = Some(install.mark.membership.clone());
        self.install = Some(install);
        self.sync = true;
    }
}

impl SnapshotMark {
    /// As raft-rs wants it.
    #[must_use]
    pub fn to_raft(&self) -> eraftpb::Snapshot {
        let data = borsh::to_vec(self).expect("writing to memory cannot fail");
        let mut snapshot = eraftpb::Snapshot { data, ..eraftpb::Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.applied.index;
        metadata.term = self.applied.term;
        metadata.conf_state = Some(self.membership.conf_state());
        snapshot
    }

    /// The mark within a snapshot message.
    ///
    /// # Errors
    /// When the message holds none, or one that contradicts its own metadata.
    pub fn from_raft(snapshot: &eraftpb::Snapshot) -> Result<Self, super::codec::CodecError> {
        let mark: Self = borsh::from_slice(&snapshot.data)
            .map_err(|fault| super::codec::CodecError::Damaged(fault.to_string()))?;
        let metadata = snapshot.get_metadata();
        if (metadata.index, metadata.term) != (mark.applied.index, mark.applied.term) {
            return Err(super::codec::CodecError::Damaged("snapshot names two indexes".into()));
        }
        Ok(mark)
    }

    /// The index of the newest entry within.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        LogIndex(self.applied.index)
    }
}

impl From<&AppliedMark> for LogStart {
    fn from(mark: &AppliedMark) -> Self {
        Self { index: mark.index, term: mark.term }
    }
}
