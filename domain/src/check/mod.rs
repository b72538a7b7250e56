//! Checks: work that is run for the sake of its digest, to see whether a machine's bits are right.

mod verify;
mod vote;

pub use verify::{Verify, VerifyError};
pub use vote::{Verdict, vote};

use crate::{
    checkpoint::Checkpoint,
    digest::Digest,
    id::{CheckId, ElementId, JobId, LeaseId, NodeId},
    isolation::Confinement,
    job::JobSpec,
    lease::Member,
    resource::{GpuLike, GpuShare, TaskResources},
    trailing,
    unit::{LogIndex, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What lists show in place of a queue for runs of checks. No queue can have this name: such runs
/// are in no order, and charged to nobody.
pub const QUEUE: &str = "(checks)";
/// Who submits them.
pub const USER: &str = "assay";
/// The program of a burn-in that every agent brings along.
pub const BUNDLED: &str = "assay:burn-in";

/// What a run of a check does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "task")]
pub enum CheckTask {
    /// The cluster's burn-in, whose digest is the root of its output.
    BurnIn,
    /// An element's way from one checkpoint to the next, whose digest is that checkpoint's root.
    Segment {
        /// The element.
        of: ElementId,
        /// The step whose checkpoint is compared, and at which the run ends.
        until: u64,
    },
}

/// What a job says that is a run of a check.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CheckRun {
    /// The check.
    pub check: CheckId,
    /// What the run does.
    #[serde(flatten)]
    pub task: CheckTask,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Subject {
    /// A GPU in quarantine: whether it gives the digest of its class.
    Gpu {
        /// Its node.
        node: NodeId,
        /// The index that it is offered under.
        index: u32,
        /// Its unique name.
        uuid: String,
        /// When it last had a symptom, as its node told: a later one makes the check void.
        since: Millis,
    },
    /// A class of hardware: what digest its GPUs agree on.
    Class,
    /// A segment of a job's work: whether another node gives the same checkpoint.
    Segment {
        /// The element.
        of: ElementId,
        /// The checkpoint that it begins at; none where it begins at the start.
        from: Option<Checkpoint>,
        /// The checkpoint that it ends at, as the element committed it.
        to: Checkpoint,
    },
    /// A node in quarantine: whether it gives the digest of its class.
    Node {
        /// The node.
        node: NodeId,
    },
}

/// A GPU that a run had.
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
pub struct Seat {
    /// Its node.
    pub node: NodeId,
    /// Its index there.
    pub index: u32,
    /// Its unique name.
    pub uuid: String,
}

/// One run, and what it gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Ballot {
    /// The job that ran.
    pub job: JobId,
    /// Its lease.
    pub lease: LeaseId,
    /// Where it ran.
    pub members: Vec<Member>,
    /// The nodes' names, in the same order.
    pub nodes: Vec<String>,
    /// The GPUs that it had.
    pub gpus: Vec<Seat>,
    /// What it gave.
    pub digest: Digest,
}

/// A run that is under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Underway {
    /// The job that runs.
    pub job: JobId,
    /// Its lease.
    pub lease: LeaseId,
    /// Where it runs.
    pub members: Vec<Member>,
    /// The nodes' names, in the same order.
    pub nodes: Vec<String>,
    /// The GPUs that it has.
    pub gpus: Vec<Seat>,
    /// Whether it was told to make room for a job.
    pub yields: bool,
    /// Whether its digest is known, so that its end tells nothing more.
    pub told: bool,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "found")]
pub enum Finding {
    /// All digests are equal.
    Equal,
    /// One run gave another digest than the others, or than its class.
    Outvoted {
        /// Its place among the ballots.
        ballot: u32,
    },
    /// Three runs gave three digests: nobody can be named.
    Undecided,
    /// Nothing was found out.
    GivenUp {
        /// Why.
        why: String,
    },
}

/// What a run asks of the machines that it runs on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Needs {
    /// Size of the gang.
    pub tasks: u32,
    /// What each task needs.
    pub resources: TaskResources,
    /// What it says of its isolation.
    pub confinement: Confinement,
}

impl Needs {
    /// What a job asks for, other than what is stored beside it.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        let mut resources = spec.resources.clone();
        resources.set_gpu_like(GpuLike::default());
        Self { tasks: spec.tasks, resources, confinement: spec.confinement }
    }
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Check {
    /// What is looked at.
    pub subject: Subject,
    /// The hardware class that it runs in.
    pub class: String,
    /// The build key of its runs.
    pub build_key: Digest,
    /// What a run asks for.
    pub needs: Needs,
    /// Who asked for it.
    pub by: String,
    /// When it was opened, by the log's clock.
    pub opened: Millis,
    /// Runs that were granted so far.
    pub granted: u32,
    /// Runs that ended without a digest by the fault of the work itself.
    pub failures: u32,
    /// How the newest run ended that gave no digest, other than to make room.
    pub last: Option<String>,
    /// The run that is under way.
    pub underway: Option<Underway>,
    /// What runs gave. Of a segment, the first is the element's own.
    pub ballots: Vec<Ballot>,
    /// What came of it, and when.
    pub closed: Option<(Millis, Finding)>,
    /// What the GPUs of a run have to be like, since cluster version 2: `needs` is stored without.
    #[borsh(serialize_with = "trailing::write", deserialize_with = "trailing::read")]
    #[serde(flatten)]
    pub gpu: GpuLike,
}

impl Check {
    /// What each task of a run needs.
    #[must_use]
    pub fn resources(&self) -> TaskResources {
        let mut resources = self.needs.resources.clone();
        resources.set_gpu_like(self.gpu.clone());
        if !matches!(self.subject, Subject::Segment { .. }) {
            // What is looked at is the machine: it may have no whole one to offer.
            resources.gpu_share = GpuShare::Any;
        }
        resources
    }

    /// Whether its runs make room for jobs: those of what is in quarantine take nothing that a job
    /// could have.
    #[must_use]
    pub fn yields(&self) -> bool {
        !self.accepts()
    }

    /// Whether it is about what is in quarantine.
    #[must_use]
    pub fn accepts(&self) -> bool {
        matches!(self.subject, Subject::Gpu { .. } | Subject::Node { .. })
    }

    /// What came of it.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        self.closed.as_ref().map(|(_, finding)| finding)
    }

    /// Where its own runs were, in words: `node-b`, or `node-b and node-c`.
    #[must_use]
    pub fn places(&self) -> String {
        let own = usize::from(matches!(self.subject, Subject::Segment { .. }));
        let of = |ballot: &Ballot| ballot.nodes.join("+");
        let mut all: Vec<_> = self.ballots.iter().skip(own).map(of).collect();
        if self.closed.is_none() {
            all.extend(self.underway.iter().filter(|run| !run.told).map(|run| run.nodes.join("+")));
        }
        all.join(" and ")
    }

    /// The ballot that the others outvoted.
    #[must_use]
    pub fn outvoted(&self) -> Option<&Ballot> {
        match self.finding()? {
            Finding::Outvoted { ballot } => self.ballots.get(*ballot as usize),
            Finding::Equal | Finding::Undecided | Finding::GivenUp { .. } => None,
        }
    }
}

/// A check as documents show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its id.
    pub id: CheckId,
    /// One sentence: what it found, or what it waits for.
    pub says: String,
    /// The check.
    #[serde(flatten)]
    pub check: Check,
}

/// What a GPU is charged with, told to its node until the node holds the GPU back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Accusation {
    /// The unique name of the GPU, or of the slice, that is charged.
    pub uuid: String,
    /// The check that found it out.
    pub check: CheckId,
    /// The entry that says so.
    pub at: LogIndex,
    /// What it did.
    pub symptom: String,
    /// What an operator is to do.
    pub advice: String,
}

/// How GPUs come out of quarantine, as an operator sets it.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct AcceptanceConfig {
    /// The burn-in; none means the one that agents bring along.
    pub job: Option<Box<JobSpec>>,
    /// The digest of each class, where an operator knows better than two GPUs.
    pub references: BTreeMap<String, Digest>,
}
