//! What becomes of a replica whose disk a scrub has found damaged.

use super::{Damage, Replica, StopReason};
use crate::consensus::machine::Machine;
use domain::port::RowRead;

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// Stops for good, after its leadership has gone to another.
    pub(super) fn damaged(&mut self, damage: Damage) {
        let server = self.id();
        let reason = match damage {
            Damage::Differs { at, stored, found } => StopReason::Rows { server, at, stored, found },
            Damage::Unreadable { why } => {
                StopReason::Unreadable { server, at: self.applied.index, why }
            }
        };
        self.end_after_handover(reason);
    }
}
