//! Members: who may be added, promoted and removed, and when.

use super::{Output, Replica};
use crate::consensus::{
    machine::Machine,
    membership::{ChangeError, MemberChange},
};
use domain::{LogIndex, ReplicaId, port::RowRead};
use raft::eraftpb::ConfChangeV2;
use std::collections::BTreeSet;

/// Entries that a learner may lack when it gets its vote.
const LAG_MAX: u64 = 256;

impl<M: Machine, R: RowRead> Replica<M, R> {
    pub(super) fn change(&mut self, token: u64, change: &MemberChange, out: &mut Vec<Output>) {
        let result =
            self.may_change(change).and_then(|()| match self.propose_change(Some(token), change) {
                true => Ok(()),
                false => Err(ChangeError::Busy),
            });
        if let Err(error) = result {
            out.push(Output::Changed { token, result: Err(error) });
        }
    }

    fn propose_change(&mut self, token: Option<u64>, change: &MemberChange) -> bool {
        let context = borsh::to_vec(change).expect("writing to memory cannot fail");
        self.proposals.propose_change(&mut self.node, token, &change.to_raft(context))
    }

    fn may_change(&self, change: &MemberChange) -> Result<(), ChangeError> {
        if !self.leads() || self.ending.is_some() {
            let leader = super::leader(self.node.raft.leader_id);
            return Err(ChangeError::NotLeader { leader });
        }
        if self.node.raft.has_pending_conf() || self.membership.is_joint() {
            return Err(ChangeError::Busy);
        }
        let members = &self.membership;
        let no_such = |id, wanted: &str| ChangeError::NoSuch { id, wanted: wanted.to_owned() };
        let mut voters = members.voters.clone();
        match change {
            MemberChange::AddLearner { id, .. } => {
                let used = members.everyone().contains(id) || members.removed.contains(id);
                return if used || id.0 == 0 { Err(ChangeError::Used { id: *id }) } else { Ok(()) };
            }
            MemberChange::Promote { id } => {
                if !members.learners.contains(id) {
                    return Err(no_such(*id, "learner"));
                }
                let behind = self.behind(*id);
                if behind > LAG_MAX {
                    return Err(ChangeError::Behind { id: *id, behind });
                }
                voters.insert(*id);
            }
            MemberChange::Remove { id } => {
                if !members.everyone().contains(id) {
                    return Err(no_such(*id, "member"));
                }
                if *id == self.id() {
                    return Err(ChangeError::Leads { id: *id });
                }
                voters.remove(id);
            }
        }
        self.has_quorum(&voters)
    }

    /// A majority of the voters after a change must have been heard of lately.
    fn has_quorum(&self, voters: &BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let active = voters.iter().filter(|id| self.is_active(**id)).count() as u64;
        let voters = voters.len() as u64;
        let needed = voters / 2 + 1;
        if active >= needed { Ok(()) } else { Err(ChangeError::Quorum { voters, active, needed }) }
    }

    /// Entries that a member lacks. One that has none at all lacks more than any log holds.
    fn behind(&self, id: ReplicaId) -> u64 {
        let last = self.node.raft.raft_log.last_index();
        match self.matched(id) {
            Some(LogIndex(matched)) if matched > 0 => last.saturating_sub(matched),
            _ => u64::MAX,
        }
    }

    pub(super) fn transfer(&mut self, to: ReplicaId) {
        if self.leads() && self.membership.voters.contains(&to) {
            self.node.transfer_leader(to.0);
        }
    }

    /// On the leader, at each tick: ends a joint configuration that an earlier leader left
    /// behind, and gives learners that have caught up their vote.
    pub(super) fn tend_members(&mut self) {
        if !self.leads() || self.node.raft.has_pending_conf() || self.proposals.changes() {
            return;
        }
        if self.membership.is_joint() {
            self.proposals.propose_change(&mut self.node, None, &ConfChangeV2::default());
            return;
        }
        let ready = self.membership.learners.iter().copied().find(|id| self.has_caught_up(*id));
        if let Some(id) = ready {
            let change = MemberChange::Promote { id };
            if self.may_change(&change).is_ok() {
                self.propose_change(None, &change);
            }
        }
    }

    fn has_caught_up(&self, id: ReplicaId) -> bool {
        self.is_active(id) && self.behind(id) <= LAG_MAX
    }
}
