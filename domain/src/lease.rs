//! The right of one attempt to use named GPUs until it expires.

use crate::{
    checkpoint::Checkpoint,
    digest::Digest,
    id::{AttemptNo, ElementId, LeaseId, NodeId},
    isolation::Isolation,
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One task's place on a node.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct TaskPlace {
    /// The task's rank in the gang.
    pub rank: u32,
    /// Its GPUs, by the driver's index on the node.
    pub gpus: Vec<u32>,
}

/// The part of a gang on one node.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its tasks, ascending by rank.
    pub tasks: Vec<TaskPlace>,
}

/// How far an attempt is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Nodes lay out code and data; no task may start before all are ready.
    Preparing {
        /// Nodes that are ready.
        ready: BTreeSet<NodeId>,
    },
    /// All were ready: tasks may run.
    Started {
        /// Nodes all of whose tasks have ended well, each with the digest of its log.
        done: BTreeMap<NodeId, Digest>,
    },
    /// To be stopped: cancelled, failed elsewhere in the gang, or drained.
    Stopping {
        /// Nodes that have not yet said that nothing of it runs.
        remaining: BTreeSet<NodeId>,
        /// Why.
        cause: crate::job::EndCause,
    },
}

/// A granted lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, which is also its fence.
    pub id: LeaseId,
    /// What runs under it.
    pub element: ElementId,
    /// The attempt's number.
    pub attempt: AttemptNo,
    /// When it was granted, by the log's clock.
    pub granted: Millis,
    /// The nodes and GPUs, ascending by first rank; the first member holds rank 0.
    pub members: Vec<Member>,
    /// How far it is.
    pub phase: Phase,
    /// The checkpoint to resume from.
    pub resume_from: Option<Checkpoint>,
    /// Fixed at the first grant and kept by later attempts.
    pub build_key: Digest,
    /// The least isolation of its tasks: the greater of what job and queue said when it was
    /// granted.
    #[serde(default)]
    pub isolation: Isolation,
    /// That it is to end soon, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<crate::interrupt::Notice>,
}

impl Lease {
    /// The node that holds rank 0, which seals the output.
    #[must_use]
    pub fn lead(&self) -> NodeId {
        self.members.first().map_or(NodeId(0), |member| member.node)
    }

    /// The part of the gang on `node`.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }
}
