//! The rows of the scheduler's tables.

mod held;
mod submitted;

pub use held::HealthRow;
pub use submitted::{Brief, Pin, Submitted, Waits};

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Bytes, Digest, ElementId, LeaseId, LogIndex, Millis, NodeId, RequestKey,
    after::{RetryOn, RetryRule},
    checkpoint::Checkpoint,
    job::{ElementState, EndCause},
    lease::Member,
    node::Inventory,
    queue, trailing,
    view::ElementCounts,
};
use std::collections::{BTreeMap, BTreeSet};

use super::command::{NewJob, Reply};

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
    /// Number of the oldest part of a submit that may be kept.
    pub part_first: u64,
    /// Number of the next part of a submit.
    pub part_next: u64,
    /// Bytes of all parts that are kept.
    pub part_bytes: u64,
    /// Stored replies.
    pub replies: u64,
    /// Number of the oldest entry whose replies are stored.
    pub reply_first: u64,
    /// Number of the next entry whose replies are stored.
    pub reply_next: u64,
    /// The newest entry with a plan, whether or not anything of it still held.
    pub planned: LogIndex,
    /// Checks ever opened.
    pub checks: u64,
}

/// What the threads of a hung rank waited for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DumpRow {
    /// The element.
    pub element: ElementId,
    /// The attempt's lease.
    pub lease: LeaseId,
    /// The rank.
    pub rank: u32,
    /// Digest of the text.
    pub dump: Digest,
    /// Its length.
    pub size: Bytes,
    /// When it was recorded.
    pub time: Millis,
}

/// What holds for all queues, with who changed the configuration last, and why.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ConfigRow {
    /// How often the configuration was changed.
    pub version: u64,
    /// Time after which use counts half.
    pub half_life: Millis,
    /// The entry of the newest change.
    pub at: LogIndex,
    /// Its time.
    pub time: Millis,
    /// Who changed it.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Default for ConfigRow {
    fn default() -> Self {
        Self {
            version: 0,
            half_life: queue::HALF_LIFE,
            at: LogIndex(0),
            time: Millis(0),
            by: String::new(),
            why: String::new(),
        }
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Progress {
    /// Elements from here on were never placed.
    pub next: u32,
    /// Elements above `next` that were cancelled before they were ever placed.
    pub struck: BTreeSet<u32>,
    /// Elements below `next` that wait to be placed again.
    pub requeued: u32,
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
    /// Whether a user keeps it from starting.
    pub held: bool,
    /// Its priority, where that was changed since.
    pub priority: Option<i32>,
}

impl Progress {
    /// Elements that were never placed and still may be, of `count`.
    #[must_use]
    pub fn fresh(&self, count: u32) -> u32 {
        count.saturating_sub(self.next).saturating_sub(self.struck.len() as u32)
    }

    /// The next element was placed. Those that were cancelled meanwhile are passed over.
    pub fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
        while self.struck.first() == Some(&self.next) {
            self.struck.pop_first();
            self.next = self.next.saturating_add(1);
        }
    }

    /// Cancels an element that was never placed.
    pub fn strike(&mut self, position: u32) {
        self.cancelled += 1;
        if position == self.next {
            self.advance();
        } else {
            self.struck.insert(position);
        }
    }

    /// Elements that wait, of `count`.
    #[must_use]
    pub fn waiting(&self, count: u32) -> u32 {
        self.fresh(count) + self.requeued
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
            if self.held { "held" } else { "waiting" }
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
    /// Rows of committed checkpoints.
    pub checkpoints: u32,
    /// When it may be placed again, after a failure.
    pub not_before: Option<Millis>,
    /// When the newest checkpoint was committed.
    pub newest_at: Option<Millis>,
    /// What cluster version 2 added.
    #[borsh(serialize_with = "trailing::write", deserialize_with = "trailing::read")]
    pub later: ElementLater,
}

/// What is kept of an element since cluster version 2.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ElementLater {
    /// Failures of each kind that its job bounds.
    pub spent: BTreeMap<RetryOn, u32>,
    /// Time for which its attempts have run, where its queue serves the shortest first.
    pub ran: Millis,
}

impl ElementRow {
    /// Counts a failure of the job's own, if its kind is bounded. Says whether that was one too
    /// many.
    pub(super) fn count(&mut self, rule: &RetryRule, cause: &EndCause) -> bool {
        let Some(kind) = RetryOn::of(cause) else { return false };
        let Some(most) = rule.max.own.get(&kind) else { return false };
        let spent = self.later.spent.entry(kind).or_default();
        *spent = spent.saturating_add(1);
        *spent > *most
    }
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
            checkpoints: 0,
            not_before: None,
            newest_at: None,
            later: ElementLater::default(),
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
    /// Why it was taken out of service, if it was.
    pub drained: Option<String>,
    /// Whether it has been out of contact for longer than a lease.
    pub lost: bool,
    /// The entry of its newest registration.
    pub registered_at: LogIndex,
}

impl NodeRow {
    /// Whether new work may be placed on it.
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.drained.is_none() && !self.lost
    }
}

/// A stored reply.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplyRow {
    /// Digest of the command that was answered.
    pub command: Digest,
    /// The answer.
    pub reply: Reply,
}

/// Jobs of a submit whose last part has not come.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PartRow {
    /// When it was kept.
    pub time: Millis,
    /// Its size in bytes.
    pub size: u64,
    /// The jobs.
    pub jobs: Vec<NewJob>,
}

/// The place of one entry's stored replies in the order of age.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplyAge {
    /// Their keys.
    pub keys: Vec<RequestKey>,
    /// When they were stored.
    pub time: Millis,
}

/// A committed checkpoint whose bytes are kept.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeptRow {
    /// The digest of the list of its chunks.
    pub list: Digest,
    /// The lease under which it was committed.
    pub lease: LeaseId,
    /// When its time is over.
    pub until: Millis,
}
