//! `gang_whole` and `attempt_once` on the machines themselves: no task of an attempt starts
//! before its lease is in the log and every member of its gang is prepared.

use super::Broken;
use domain::{LeaseId, NodeId, lease::Lease};
use std::collections::{BTreeMap, BTreeSet};

/// Who is prepared for what.
#[derive(Default)]
pub struct GangWhole {
    prepared: BTreeMap<LeaseId, BTreeSet<NodeId>>,
}

impl GangWhole {
    /// A node has laid out all that a lease needs.
    pub fn prepared(&mut self, node: NodeId, lease: LeaseId) {
        self.prepared.entry(lease).or_default().insert(node);
    }

    /// A node starts its tasks of a lease.
    pub fn started(&self, node: NodeId, lease: &Lease, in_log: bool) -> Result<(), Broken> {
        if !in_log {
            return Err(Broken::new(format!(
                "attempt_once: {node} starts tasks of {}, which no replica has applied",
                lease.id
            )));
        }
        let ready = self.prepared.get(&lease.id);
        let lacks = lease
            .members
            .iter()
            .find(|member| !ready.is_some_and(|ready| ready.contains(&member.node)));
        match lacks {
            None => Ok(()),
            Some(member) => Err(Broken::new(format!(
                "gang_whole: {node} starts tasks of {} while {} is not prepared",
                lease.id, member.node
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AttemptNo, Digest, JobId, Millis, lease::Member, lease::Phase};

    #[test]
    fn a_start_before_every_member_is_prepared_breaks_it() {
        let member = |node| Member { node: NodeId(node), tasks: Vec::new() };
        let lease = Lease {
            id: LeaseId { index: 5, ordinal: 0 },
            element: JobId(1).into(),
            attempt: AttemptNo(1),
            granted: Millis(0),
            members: vec![member(1), member(2)],
            phase: Phase::Preparing { ready: BTreeSet::new() },
            resume_from: None,
            build_key: Digest::default(),
            isolation: domain::isolation::Isolation::None,
            notice: None,
        };
        let mut law = GangWhole::default();
        law.prepared(NodeId(1), lease.id);
        assert!(law.started(NodeId(1), &lease, true).is_err());
        law.prepared(NodeId(2), lease.id);
        assert!(law.started(NodeId(1), &lease, true).is_ok());
        assert!(law.started(NodeId(1), &lease, false).is_err());
    }
}
