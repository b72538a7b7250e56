//! The port between the log and the state machine behind it.

use crate::state::command::{Applied, Entry};
use domain::{Digest, LogIndex, port::RowRead, version::ClusterVersion};

/// A deterministic state machine whose truth is in rows.
///
/// `apply` is total: it never fails, waits, draws a number or reads a clock, so that every
/// replica which applies the same log holds the same rows.
pub trait Machine: Sized {
    /// The version that rows were written at, which may be newer than what `load` understands.
    fn stored_version(rows: &impl RowRead) -> ClusterVersion;

    /// Builds what is kept in memory from the rows alone.
    fn load(rows: &impl RowRead) -> Self;

    /// Applies the committed entry at `at`. `rows` shows every change before it.
    fn apply(&mut self, rows: &impl RowRead, at: LogIndex, entry: Entry) -> Applied;

    /// The set hash of all rows, for comparison between replicas.
    fn digest(&self) -> Digest;

    /// The version that the cluster runs at.
    fn version(&self) -> ClusterVersion;
}

impl Machine for crate::state::Cluster {
    fn stored_version(rows: &impl RowRead) -> ClusterVersion {
        Self::stored_version(rows)
    }

    fn load(rows: &impl RowRead) -> Self {
        Self::load(rows)
    }

    fn apply(&mut self, rows: &impl RowRead, at: LogIndex, entry: Entry) -> Applied {
        Self::apply(self, rows, at, entry)
    }

    fn digest(&self) -> Digest {
        Self::digest(self)
    }

    fn version(&self) -> ClusterVersion {
        Self::version(self)
    }
}
