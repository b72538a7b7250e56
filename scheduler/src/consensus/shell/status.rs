//! What a replica is and knows of the others, as it shows itself.

use crate::{
    consensus::{
        machine::Machine,
        membership::Membership,
        replica::{ProposeError, Replica, Role, too_new},
    },
    state::command::Command,
};
use domain::{
    LogIndex, ReplicaId,
    port::RowRead,
    version::{ClusterVersion, Understood},
};
use std::collections::BTreeMap;

/// A member without a vote, as it is shown.
pub(super) const LEARNER: &str = "learner";

/// One member as others show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// `host:port`.
    pub address: String,
    /// leader, follower or learner.
    pub role: String,
    /// The newest entry it is known to hold, as the leader sees it.
    pub matched: LogIndex,
    /// Whether this server has heard of it within an election time.
    pub active: bool,
    /// The versions that it understands, if it has said so.
    pub understands: Option<Understood>,
}

impl MemberStatus {
    /// Whether it has a vote.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        self.role != LEARNER
    }
}

/// What a replica is and knows of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This server.
    pub id: ReplicaId,
    /// What it is.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<ReplicaId>,
    /// Newest committed entry.
    pub commit: LogIndex,
    /// The version that the cluster runs at, as far as this server has applied.
    pub version: ClusterVersion,
    /// All members.
    pub members: BTreeMap<ReplicaId, MemberStatus>,
}

impl Status {
    /// Why the cluster takes a command not in yet. A leader of an older release cannot even read
    /// what is newer than it, so whoever would forward it asks here.
    #[must_use]
    pub fn too_new(&self, command: &Command) -> Option<ProposeError> {
        let said = |member: &MemberStatus| member.understands.filter(|_| member.active);
        let members = self.members.iter().map(|(id, member)| (*id, said(member)));
        too_new(command, self.version, members)
    }

    /// Whether this server leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub(super) fn of<M: Machine, R: RowRead>(replica: &Replica<M, R>) -> Self {
        let (role, term, leader) = replica.role();
        let (commit, last) = replica.log();
        let membership = replica.membership();
        let member = |id| {
            let own = if id == replica.id() { last } else { LogIndex(0) };
            let status = MemberStatus {
                address: membership.addresses.get(&id).cloned().unwrap_or_default(),
                role: role_of(id, leader, membership).to_owned(),
                matched: replica.matched(id).unwrap_or(own),
                active: replica.is_active(id),
                understands: replica.understood(id),
            };
            (id, status)
        };
        let members = membership.everyone().into_iter().map(member).collect();
        let version = replica.view().0.version();
        Self { id: replica.id(), role, term, leader, commit, version, members }
    }

    /// Whether anything but progress differs.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let shape = |status: &Self| (status.role, status.term, status.leader, status.version);
        let named = |status: &Self| {
            let members = status.members.iter();
            let name = |(id, member): (&ReplicaId, &MemberStatus)| {
                let words = (member.address.clone(), member.role.clone());
                (*id, words, member.active, member.understands)
            };
            members.map(name).collect::<Vec<_>>()
        };
        shape(self) != shape(other) || named(self) != named(other)
    }
}

fn role_of(id: ReplicaId, leader: Option<ReplicaId>, membership: &Membership) -> &'static str {
    if leader == Some(id) {
        "leader"
    } else if membership.learners.contains(&id) {
        LEARNER
    } else {
        "follower"
    }
}
