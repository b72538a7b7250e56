//! The rows of the scheduler's tables.

mod held;

pub use held::HealthRow;

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Bytes, Digest, ElementId, JobId, LeaseId, LogIndex, Millis, NodeId, RequestKey,
    after::{After, RetryRule},
    check::{CheckRun, Verify},
    checkpoint::Checkpoint,
    interrupt::Interrupt,
    isolation::{Confinement, Isolation},
    job::{Array, ElementState, EndCause, JobSpec, OnDisconnect, Restart},
    lease::Member,
    node::Inventory,
    queue,
    resource::TaskResources,
    topology::Topology,
    view::ElementCounts,
};
use registry::seal::recipe;
use std::{collections::BTreeSet, sync::Arc};

use super::{
    command::{NewJob, Reply},
    usage::Held,
};

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

/// What of a live job is kept in memory: what decides where it runs and whether it is tried
/// again. Everything else is read from its row when it is needed, so that a long queue is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Its name.
    pub name: Box<str>,
    /// Who submitted it.
    pub user: Arc<str>,
    /// Where it waits.
    pub queue: Arc<str>,
    /// Higher goes first.
    pub priority: i32,
    /// Size of the gang.
    pub tasks: u32,
    /// What each task needs.
    pub resources: TaskResources,
    /// Further attempts after its own faults.
    pub retries: u32,
    /// When a lost attempt may be followed.
    pub restart: Restart,
    /// Many elements, if it is an array.
    pub array: Option<Array>,
    /// Where it is to run, if it repeats another job.
    pub pin: Option<Box<Pin>>,
    /// What it waits for, and when it is tried again, where it says so.
    pub waits: Option<Box<Waits>>,
    /// When it was submitted.
    pub time: Millis,
    /// What it says of its own isolation.
    pub confinement: Confinement,
    /// What an agent out of contact does with it.
    pub on_disconnect: OnDisconnect,
    /// The least isolation that its queue demands now.
    pub least: Isolation,
    /// What it says of being interrupted.
    pub interrupt: Interrupt,
    /// What part of its work is run again elsewhere, where it says so.
    pub verify: Option<Verify>,
    /// What it is a run of, if it is a run of a check.
    pub check: Option<Box<CheckRun>>,
    /// Longest time an attempt may run.
    pub time_limit: Option<Millis>,
    /// The window in which alone it runs.
    pub reservation: Option<Box<str>>,
    /// How near the parts of its gang have to be.
    pub topology: Topology,
}

/// What few jobs say: what they wait for, and when they are tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Jobs that have to end first.
    pub after: Vec<After>,
    /// When it is tried again after a failure of its own.
    pub retry: RetryRule,
}

impl Waits {
    fn of(spec: &JobSpec) -> Option<Box<Self>> {
        let waits = Self { after: spec.after.clone(), retry: spec.retry.clone() };
        (waits != Self::default()).then(|| Box::new(waits))
    }
}

impl Submitted {
    /// What of it is kept in memory.
    #[must_use]
    pub fn brief(&self) -> Brief {
        Brief {
            name: self.spec.name.as_str().into(),
            user: self.spec.user.as_str().into(),
            queue: self.spec.queue.as_str().into(),
            priority: self.spec.priority,
            tasks: self.spec.tasks,
            resources: self.spec.resources.clone(),
            retries: self.spec.retries,
            restart: self.spec.restart,
            array: self.spec.array,
            pin: self.pin.clone().map(Box::new),
            waits: Waits::of(&self.spec),
            time: self.time,
            confinement: self.spec.confinement,
            on_disconnect: self.spec.on_disconnect,
            least: Isolation::None,
            interrupt: self.spec.interrupt,
            verify: self.spec.verify,
            check: self.spec.check.clone().map(Box::new),
            time_limit: self.spec.time_limit,
            reservation: self.spec.reservation.as_deref().map(Into::into),
            topology: self.spec.topology,
        }
    }

    /// The recipe of an element.
    #[must_use]
    pub fn recipe_of(&self, element: ElementId) -> Digest {
        match element.index {
            None => self.recipe,
            index => recipe::recipe_of_element(&self.spec, index),
        }
    }
}

impl Brief {
    /// What one element holds.
    #[must_use]
    pub fn gang(&self) -> Held {
        Held::of_gang(self.tasks, &self.resources)
    }

    /// What is owed to it: what it says of its own isolation, raised to what its queue demands.
    #[must_use]
    pub fn owed(&self) -> Confinement {
        self.confinement.at_least(self.least)
    }

    /// Whether its queue demands containers and it names no image.
    #[must_use]
    pub fn lacks_image(&self) -> bool {
        self.least == Isolation::Container && self.confinement.isolation < self.least
    }

    /// Jobs that have to end first.
    #[must_use]
    pub fn after(&self) -> &[After] {
        self.waits.as_ref().map_or(&[], |waits| &waits.after)
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u32 {
        self.array.map_or(1, |array| array.count)
    }

    /// The element at a position.
    #[must_use]
    pub fn element(&self, job: JobId, position: u32) -> ElementId {
        ElementId { job, index: self.array.map(|_| position) }
    }

    /// The position of an element, if the job has it.
    #[must_use]
    pub fn position(&self, element: ElementId) -> Option<u32> {
        match (self.array, element.index) {
            (None, None) => Some(0),
            (Some(array), Some(index)) if index < array.count => Some(index),
            (None, Some(_)) | (Some(_), None | Some(_)) => None,
        }
    }
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
