//! The rows of the scheduler's tables.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Digest, LeaseId, LogIndex, Millis, NodeId, RequestKey,
    checkpoint::Checkpoint,
    job::{ElementState, EndCause, JobSpec},
    lease::Member,
    node::{Inventory, NodeState},
    view::ElementCounts,
};
use std::collections::BTreeSet;

use super::command::Reply;

/// Counters of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Meta {
    /// The log's clock, which never runs backwards.
    pub now: Millis,
    /// The newest applied entry.
    pub applied: LogIndex,
    /// Jobs ever taken in.
    pub jobs: u64,
    /// Nodes ever registered.
    pub nodes: u32,
    /// Number of the oldest stored reply.
    pub reply_first: u64,
    /// Number of the next stored reply.
    pub reply_next: u64,
}

/// What a job was submitted as.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Submitted {
    /// The specification.
    pub spec: JobSpec,
    /// Its recipe.
    pub recipe: Digest,
    /// When.
    pub time: Millis,
    /// In which entry.
    pub at: LogIndex,
    /// Where it is to run, if it repeats another job.
    pub pin: Option<Pin>,
}

/// The hardware class to repeat a job in, and the nodes to stay away from where others fit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pin {
    /// The class of the repeated run.
    pub class: String,
    /// Where it ran.
    pub away_from: BTreeSet<NodeId>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Progress {
    /// Elements from here on were never placed.
    pub next: u32,
    /// Elements below `next` that wait to be placed again.
    pub requeued: BTreeSet<u32>,
    /// Elements under a lease.
    pub running: u32,
    /// Elements with an open ticket.
    pub sealing: u32,
    /// Sealed elements.
    pub completed: u32,
    /// Elements without a result.
    pub failed: u32,
    /// Cancelled elements.
    pub cancelled: u32,
    /// When the last element ended.
    pub ended: Option<Millis>,
}

impl Progress {
    /// Elements that wait, of `count`.
    #[must_use]
    pub fn waiting(&self, count: u32) -> u32 {
        count - self.next + self.requeued.len() as u32
    }

    /// As lists show it.
    #[must_use]
    pub fn counts(&self, count: u32) -> ElementCounts {
        ElementCounts {
            waiting: self.waiting(count),
            running: self.running,
            sealing: self.sealing,
            completed: self.completed,
            failed: self.failed,
            cancelled: self.cancelled,
        }
    }

    /// One word for the job: the most alive state of its elements.
    #[must_use]
    pub fn word(&self, count: u32) -> &'static str {
        if self.running > 0 {
            "running"
        } else if self.waiting(count) > 0 {
            "waiting"
        } else if self.sealing > 0 {
            "sealing"
        } else if self.failed > 0 {
            "failed"
        } else if self.cancelled > 0 {
            "cancelled"
        } else {
            "completed"
        }
    }
}

/// An element that was placed at least once.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ElementRow {
    /// Where it stands.
    pub state: ElementState,
    /// Attempts so far.
    pub attempts: u32,
    /// Attempts that failed by the job's own fault.
    pub faults: u32,
    /// Attempts that ended by a node's fault.
    pub node_faults: u32,
    /// Build key and hardware class, fixed at the first grant.
    pub build: Option<(Digest, String)>,
    /// Nodes where it failed by the node's fault.
    pub avoid: BTreeSet<NodeId>,
    /// The newest committed checkpoint.
    pub newest: Option<Checkpoint>,
}

impl Default for ElementRow {
    fn default() -> Self {
        Self {
            state: ElementState::Waiting,
            attempts: 0,
            faults: 0,
            node_faults: 0,
            build: None,
            avoid: BTreeSet::new(),
            newest: None,
        }
    }
}

/// One attempt, for the record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AttemptRow {
    /// Its lease.
    pub lease: LeaseId,
    /// Where.
    pub members: Vec<Member>,
    /// When it was granted.
    pub granted: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// Why it ended without a result.
    pub cause: Option<EndCause>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NodeRow {
    /// What it has.
    pub inventory: Inventory,
    /// Whether it takes work.
    pub state: NodeState,
    /// The entry of its newest registration.
    pub registered_at: LogIndex,
}

/// A stored reply.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplyRow {
    /// Digest of the command that was answered.
    pub command: Digest,
    /// The answer.
    pub reply: Reply,
}

/// A stored reply's place in the order of age.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplyAge {
    /// Its key.
    pub key: RequestKey,
    /// When it was stored.
    pub time: Millis,
}
