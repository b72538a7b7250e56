//! What a replica starts from, and what keeps it from starting.

use super::{
    codec::CodecError,
    membership::Membership,
    write::{AppliedMark, HardState, LogStart},
};
use domain::{
    Digest, ReplicaId,
    version::{ClusterVersion, Understood},
};
use raft::eraftpb;

/// All that a store knows of a replica, beside its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootState {
    /// Raft's hard state.
    pub hard_state: HardState,
    /// The members as of `applied`.
    pub membership: Membership,
    /// The entry before the first of `entries`.
    pub log_start: LogStart,
    /// How far the rows have come.
    pub applied: AppliedMark,
    /// The log.
    pub entries: Vec<eraftpb::Entry>,
}

const REPLACE: &str = "this server must not serve; remove it with `assay cluster remove`, then add \
                       a new one with a new id and an empty disk";

/// Why a replica does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// A log entry cannot be read.
    #[error("log entry {index} {fault}: {REPLACE}")]
    Entry {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        fault: CodecError,
    },
    /// A log entry is not there.
    #[error("log entry {index} is missing: {REPLACE}")]
    Missing {
        /// The entry.
        index: u64,
    },
    /// Terms along the log run backwards.
    #[error("log entry {index} has term {term}, its predecessor {before}: {REPLACE}")]
    Terms {
        /// The entry.
        index: u64,
        /// Its term.
        term: u64,
        /// The one before.
        before: u64,
    },
    /// A piece of the replica's own state cannot be read.
    #[error("stored {what} {fault}: {REPLACE}")]
    State {
        /// Which.
        what: String,
        /// What is wrong with it.
        fault: CodecError,
    },
    /// Log, commit index and applied index do not fit.
    #[error(
        "the log ends at {last} and was committed to {commit}, the rows are at {applied}: entries \
         that were acknowledged are lost; {REPLACE}"
    )]
    Lost {
        /// Last entry.
        last: u64,
        /// Committed index.
        commit: u64,
        /// Applied index.
        applied: u64,
    },
    /// The rows are not those that were written.
    #[error("the rows at entry {at} have digest {found}, {stored} was stored: {REPLACE}")]
    Rows {
        /// The applied index.
        at: u64,
        /// What was stored beside them.
        stored: Digest,
        /// What they give.
        found: Digest,
    },
    /// The rows are of a version that this release does not understand.
    #[error(
        "the cluster runs at version {stored}, this release understands {} to {}; nothing is \
         lost: start another release on the same directory",
        understands.oldest, understands.newest
    )]
    Version {
        /// What the rows were written at.
        stored: ClusterVersion,
        /// What this release understands.
        understands: Understood,
    },
    /// It was found out before.
    #[error("{why}: {REPLACE}")]
    Condemned {
        /// Why.
        why: String,
    },
    /// The directory belongs to another server.
    #[error(
        "the data directory belongs to {found} of cluster `{found_cluster}`, this server is \
         {wanted} of cluster `{wanted_cluster}`; give it its own directory"
    )]
    Foreign {
        /// Whose it is.
        found: ReplicaId,
        /// The cluster of that server.
        found_cluster: String,
        /// Who asks.
        wanted: ReplicaId,
        /// The cluster of this server.
        wanted_cluster: String,
    },
    /// raft-rs refuses the configuration.
    #[error("raft refuses to start: {why}")]
    Raft {
        /// Its words.
        why: String,
    },
}

impl BootState {
    /// What each founder starts from.
    #[must_use]
    pub fn genesis(membership: Membership) -> Self {
        let mut disk = super::disk::Disk::default();
        disk.write(&super::write::WriteOp::genesis(membership));
        disk.boot().expect("a disk with nothing but the founding is whole")
    }

    /// The last entry's index.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.entries.last().map_or(self.log_start.index, |entry| entry.index)
    }

    /// Checks that log, commit and rows fit together.
    ///
    /// # Errors
    /// When they do not: something that was acknowledged is lost.
    pub fn check(&self) -> Result<(), BootError> {
        let mut before = self.log_start;
        for entry in &self.entries {
            if entry.index != before.index + 1 {
                return Err(BootError::Missing { index: before.index + 1 });
            }
            if entry.term < before.term {
                return Err(BootError::Terms {
                    index: entry.index,
                    term: entry.term,
                    before: before.term,
                });
            }
            before = LogStart { index: entry.index, term: entry.term };
        }
        let (start, commit, applied) =
            (self.log_start.index, self.hard_state.commit, self.applied.index);
        let fits = start <= applied && applied <= commit && commit <= before.index;
        if fits && before.term <= self.hard_state.term {
            Ok(())
        } else {
            Err(BootError::Lost { last: before.index, commit, applied })
        }
    }
}
