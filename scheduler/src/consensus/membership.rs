//! Who votes, who learns, where they are reached.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::ReplicaId;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};
use std::collections::{BTreeMap, BTreeSet};

/// The members of the cluster as of an applied entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Membership {
    /// Those whose majority decides.
    pub voters: BTreeSet<ReplicaId>,
    /// Those who follow without a vote.
    pub learners: BTreeSet<ReplicaId>,
    /// While a change is on its way: the voters before it, whose majority is needed too.
    pub voters_outgoing: BTreeSet<ReplicaId>,
    /// While a change is on its way: voters that become learners with it.
    pub learners_next: BTreeSet<ReplicaId>,
    /// Whether the leader ends the change by itself.
    pub auto_leave: bool,
    /// Where each is reached, `host:port`.
    pub addresses: BTreeMap<ReplicaId, String>,
    /// Ids that were members once. They are never used again.
    pub removed: BTreeSet<ReplicaId>,
}

impl Membership {
    /// The founders of a cluster.
    #[must_use]
    pub fn founders(addresses: BTreeMap<ReplicaId, String>) -> Self {
        Self { voters: addresses.keys().copied().collect(), addresses, ..Self::default() }
    }

    /// Everyone who takes part, in order.
    #[must_use]
    pub fn everyone(&self) -> BTreeSet<ReplicaId> {
        let sets = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        sets.into_iter().flatten().copied().collect()
    }

    /// Whether a change of voters is on its way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// As raft-rs wants it.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        let list = |set: &BTreeSet<ReplicaId>| set.iter().map(|id| id.0).collect();
        ConfState {
            voters: list(&self.voters),
            learners: list(&self.learners),
            voters_outgoing: list(&self.voters_outgoing),
            learners_next: list(&self.learners_next),
            auto_leave: self.auto_leave,
        }
    }

    /// Takes over what raft-rs made of an applied change.
    pub(super) fn adopt(&mut self, state: &ConfState, change: Option<&MemberChange>) {
        let set = |list: &[u64]| list.iter().copied().map(ReplicaId).collect();
        let before = self.everyone();
        self.voters = set(&state.voters);
        self.learners = set(&state.learners);
        self.voters_outgoing = set(&state.voters_outgoing);
        self.learners_next = set(&state.learners_next);
        self.auto_leave = state.auto_leave;
        if let Some(MemberChange::AddLearner { id, address }) = change {
            self.addresses.insert(*id, address.clone());
        }
        let after = self.everyone();
        self.removed.extend(before.difference(&after).copied());
        self.addresses.retain(|id, _| after.contains(id));
    }
}

/// A change of the members, one at a time.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum MemberChange {
    /// A new server begins to follow. The leader gives it a vote when it has caught up.
    AddLearner {
        /// Its id, never used before.
        id: ReplicaId,
        /// Where it is reached, `host:port`.
        address: String,
    },
    /// A learner that has caught up gets a vote.
    Promote {
        /// The learner.
        id: ReplicaId,
    },
    /// A server leaves for good.
    Remove {
        /// The server.
        id: ReplicaId,
    },
}

impl MemberChange {
    /// Whom it is about.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        match self {
            Self::AddLearner { id, .. } | Self::Promote { id } | Self::Remove { id } => *id,
        }
    }

    /// As raft-rs wants it, with `context` to be found again when it is applied. Changes of
    /// voters go through a joint configuration that the leader leaves by itself.
    pub(super) fn to_raft(&self, context: Vec<u8>) -> ConfChangeV2 {
        let (kind, transition) = match self {
            Self::AddLearner { .. } => (ConfChangeType::AddLearnerNode, ConfChangeTransition::Auto),
            Self::Promote { .. } => (ConfChangeType::AddNode, ConfChangeTransition::Implicit),
            Self::Remove { .. } => (ConfChangeType::RemoveNode, ConfChangeTransition::Implicit),
        };
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = self.id().0;
        let mut change = ConfChangeV2::default();
        change.set_transition(transition);
        change.changes = vec![single];
        change.context = context;
        change
    }
}

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes members.
    #[error("this server is not the leader; ask {}", leader.map_or("another one".to_owned(), |id| id.to_string()))]
    NotLeader {
        /// The leader, if known.
        leader: Option<ReplicaId>,
    },
    /// One change at a time.
    #[error("another change of members is on its way; try again in a second")]
    Busy,
    /// The id was used before.
    #[error("{id} is or was a member; give the new server an id that was never used")]
    Used {
        /// The id.
        id: ReplicaId,
    },
    /// There is no such member.
    #[error("{id} is not a {wanted}; `assay cluster status` shows the members")]
    NoSuch {
        /// The id.
        id: ReplicaId,
        /// What it should be.
        wanted: String,
    },
    /// The learner lags too far behind to vote.
    #[error("{id} has not caught up; it gets its vote by itself when it has")]
    Behind {
        /// The learner.
        id: ReplicaId,
        /// How far.
        behind: u64,
    },
    /// The leader does not remove itself.
    #[error("{id} leads the cluster; move the leadership first: `assay cluster transfer`")]
    Leads {
        /// The leader.
        id: ReplicaId,
    },
    /// The cluster would be left without a working majority.
    #[error(
        "refused: of the {voters} voters after this change only {active} were heard of lately, \
         {needed} are needed; bring a server back first"
    )]
    Quorum {
        /// Voters after the change.
        voters: u64,
        /// Those that were heard of.
        active: u64,
        /// A majority.
        needed: u64,
    },
    /// The outcome is not known.
    #[error(
        "the leader changed meanwhile; `assay cluster status` shows whether the change was made"
    )]
    Unknown,
    /// The change was in the log but could not be made.
    #[error("the change could not be made: {why}")]
    Void {
        /// Why.
        why: String,
    },
}
