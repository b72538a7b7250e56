//! What becomes of a leader whose disk does not answer.
//!
//! Its heartbeats go out all the same, for a leader's messages wait for no write. So nobody would
//! be elected in its place, while nothing that it takes in is ever applied.

use super::Replica;
use crate::consensus::machine::Machine;
use domain::{ReplicaId, port::RowRead};

/// Ticks that a leader waits for one synced write, a second: longer than an election takes.
pub(super) const STALLED_TICKS: u64 = 20;

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// On a leader: the other voter whose log is the nearest to its own.
    #[must_use]
    pub fn heir(&self) -> Option<ReplicaId> {
        let others = self.membership.voters.iter().filter(|id| **id != self.id());
        others.max_by_key(|id| self.matched(**id)).copied().filter(|_| self.leads())
    }

    /// At each tick: gives the leadership away where the disk has not answered for too long, and
    /// again as long as it does not and nobody has taken it.
    pub(super) fn tend_disk(&mut self) {
        let waited = self.writes.waited();
        if waited > 0
            && waited.is_multiple_of(STALLED_TICKS)
            && let Some(heir) = self.heir()
        {
            self.node.transfer_leader(heir.0);
        }
    }
}
