//! `log_agreement`: no two replicas ever apply different entries at one index (Raft: state
//! machine safety), empty ones and changes of members included, and across restarts.
//!
//! Commands are compared as the machines get them ([`crate::record`]); this compares what the
//! log of each replica held at each index when it was applied.

use super::Broken;
use domain::{Digest, ReplicaId};
use std::collections::BTreeMap;

/// What was applied at each index, by whoever came there first.
#[derive(Default)]
pub struct LogAgreement {
    first: BTreeMap<u64, (ReplicaId, Digest)>,
}

/// The log of one replica above what it has applied.
#[derive(Default)]
pub struct Tail {
    entries: BTreeMap<u64, Digest>,
    applied: u64,
}

impl Tail {
    /// As a replica starts: it has applied up to `applied` and holds these entries.
    pub fn restart<'a>(
        &mut self,
        applied: u64,
        entries: impl Iterator<Item = (&'a u64, &'a Vec<u8>)>,
    ) {
        self.applied = applied;
        self.entries.clear();
        self.append(entries.map(|(index, bytes)| (*index, bytes)));
    }

    /// Entries that follow, or replace the end of, those already here.
    pub fn append<'a>(&mut self, entries: impl IntoIterator<Item = (u64, &'a Vec<u8>)>) {
        for (index, bytes) in entries {
            self.entries.split_off(&index);
            if index > self.applied {
                self.entries.insert(index, Digest::of(bytes));
            }
        }
    }

    /// A snapshot has come in the place of the log.
    pub fn skip(&mut self, applied: u64) {
        self.entries.clear();
        self.applied = applied;
    }
}

impl LogAgreement {
    /// A replica has applied up to `index`.
    pub fn applied(&mut self, id: ReplicaId, tail: &mut Tail, index: u64) -> Result<(), Broken> {
        for at in tail.applied + 1..=index {
            let Some(entry) = tail.entries.remove(&at) else {
                return Err(Broken::new(format!(
                    "log_agreement: {id} applied entry {at}, which its log never held"
                )));
            };
            let (first, other) = *self.first.entry(at).or_insert((id, entry));
            if other != entry {
                return Err(Broken::new(format!(
                    "log_agreement: {first} and {id} applied different entries at {at}"
                )));
            }
        }
        tail.applied = index.max(tail.applied);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_at_an_applied_index_breaks_it_and_a_replaced_one_does_not() {
        let mut law = LogAgreement::default();
        let (mut one, mut other) = (Tail::default(), Tail::default());
        let [a, b, x] = [b"a", b"b", b"x"].map(|bytes| bytes.to_vec());
        one.append([(1, &a), (2, &b)]);
        other.append([(1, &a), (2, &x)]);
        assert!(law.applied(ReplicaId(1), &mut one, 2).is_ok());
        assert!(law.applied(ReplicaId(2), &mut other, 1).is_ok());
        other.append([(2, &b)]);
        assert!(law.applied(ReplicaId(2), &mut other, 2).is_ok());
        let mut third = Tail::default();
        third.restart(1, [(&2, &x)].into_iter());
        assert!(law.applied(ReplicaId(3), &mut third, 2).is_err());
        assert!(law.applied(ReplicaId(3), &mut Tail::default(), 1).is_err(), "out of nowhere");
    }
}
