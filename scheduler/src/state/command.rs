//! The alphabet of the log: what may be proposed, and what is answered.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    ArtifactId, Digest, ElementId, JobId, LeaseId, LogIndex, Millis, NodeId, ReplicaId, RequestKey,
    audit::EventSignature,
    foresee::Foretold,
    hardware::Hardware,
    health::HeldGpu,
    job::JobSpec,
    lease::Member,
    link::{Report, WantedLease},
    node::Inventory,
    promotion::PolicyDecision,
    queue::{ClusterConfig, ConfigError, Orders, PriorityClasses},
    refusal::RegistryRefusal,
};
use registry::ledger::{RegistryCommand, drift::DriftCommand};

pub use super::check::CheckCommand;
pub use super::drain::DrainNodes;
pub use super::entry::{Entry, EntryError, Request};
pub use super::hardware::TOLD as HARDWARE_KEPT;
use super::preemption::PreemptRecord;
pub use super::submission::{Submission, gather};
pub use super::tie::Tie;
pub use super::version::RaiseVersion;
pub use super::window::WindowCommand;

impl Command {
    /// Whether it brings new jobs.
    #[must_use]
    pub fn submits(&self) -> bool {
        matches!(
            self,
            Self::Submit { .. }
                | Self::SubmitPart { .. }
                | Self::SubmitLast { .. }
                | Self::SubmitTied { .. }
                | Self::SubmitFurther(_)
        )
    }

    /// How many jobs it brings.
    #[must_use]
    pub fn jobs(&self) -> usize {
        match self {
            Self::Submit { jobs }
            | Self::SubmitPart { jobs }
            | Self::SubmitLast { jobs, .. }
            | Self::SubmitTied { jobs, .. }
            | Self::SubmitFurther(Submission { jobs, .. }) => jobs.len(),
            _ => 0,
        }
    }
}

/// What may be proposed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Take in jobs. All or none.
    Submit {
        /// Each with the recipe that the API computed for it.
        jobs: Vec<NewJob>,
    },
    /// Keep jobs of a submit that is larger than one entry.
    SubmitPart {
        /// As in [`Command::Submit`].
        jobs: Vec<NewJob>,
    },
    /// Take in the jobs of earlier parts and these. All or none.
    SubmitLast {
        /// The earlier parts, by the numbers that [`Reply::Part`] gave, in order.
        parts: Vec<u64>,
        /// As in [`Command::Submit`].
        jobs: Vec<NewJob>,
    },
    /// End a job or one element of an array.
    Cancel {
        /// Which.
        element: ElementId,
    },
    /// A node has (again) come into contact.
    Register {
        /// What it has.
        inventory: Inventory,
        /// Leases that it still holds.
        held: Vec<LeaseId>,
    },
    /// Take a node out of service, or back in.
    Drain {
        /// Its name.
        node: String,
        /// Why; none puts it back.
        reason: Option<String>,
    },
    /// The lease time of all that a node holds is over (proposed by the leader's lease duty).
    NodeLost {
        /// The node.
        node: NodeId,
        /// The node's registration that the leader had lost contact with: the log index of its
        /// newest [`Command::Register`]. A newer one makes this command void.
        registered_at: LogIndex,
    },
    /// An operator's word that nothing of a lease runs any more (`restart = "confirmed"`).
    ConfirmDead {
        /// The lease.
        lease: LeaseId,
    },
    /// The planner's placements.
    Place {
        /// The plan, checked again when applied.
        plan: PlanRecord,
    },
    /// What an agent reports.
    Report {
        /// Which node, from the TLS identity.
        node: NodeId,
        /// What.
        report: Report,
    },
    /// A ticket's signatures and copies.
    CompleteSeal {
        /// The ticket, by its ended lease.
        ticket: LeaseId,
        /// Digest of `model.sig`.
        signature: Digest,
        /// Digest of `provenance.dsse.json`.
        provenance: Digest,
        /// SHA-256 of the public key's PEM.
        signer: Digest,
        /// Servers that hold every blob, fsynced.
        copies: Vec<ReplicaId>,
    },
    /// A ticket that can never be completed: no server holds its bytes, or they do not match.
    AbandonSeal {
        /// The ticket.
        ticket: LeaseId,
        /// Why.
        cause: domain::job::EndCause,
    },
    /// Signatures for audit events, in order from the first that lacks one.
    SignEvents {
        /// Sequence number of the first.
        first: u64,
        /// One for each event.
        signatures: Vec<EventSignature>,
    },
    /// Which servers hold a result now: one that held it has left, or has lost a part.
    RecordCopies {
        /// The result.
        artifact: ArtifactId,
        /// Servers that hold every blob, fsynced.
        copies: Vec<ReplicaId>,
    },
    /// What a node tells of its GPUs that are held back: these, and no others.
    Health {
        /// Which node, from the TLS identity.
        node: NodeId,
        /// The GPUs.
        gpus: Vec<HeldGpu>,
    },
    /// An operator's word that a GPU in quarantine is well again.
    AcceptGpu {
        /// The node's name.
        node: String,
        /// The GPU's index or unique name.
        gpu: String,
    },
    /// Put a configuration in the place of another: all of it, or nothing.
    ApplyConfig {
        /// The version of the one that it takes the place of.
        expected: u64,
        /// The configuration.
        config: ClusterConfig,
        /// Why, for the record.
        why: String,
    },
    /// Time has gone by: what waited for it is taken up (proposed by the leader's planning duty).
    Wake {
        /// The time that is over. The log's clock is a leader's wall clock and never runs
        /// backwards: once set wrong by days it stands still, and this moves it on.
        until: Millis,
    },
    /// Keep what has not started of a job from starting, or let it go on.
    Hold {
        /// Which.
        job: JobId,
        /// Whether it is kept.
        held: bool,
    },
    /// Give a job another priority.
    SetPriority {
        /// Which.
        job: JobId,
        /// The priority.
        priority: i32,
    },
    /// A change of the registry: models, approvers, promotions.
    Registry(RegistryCommand),
    /// Have jobs wait for a policy before training (proposed by a leader that has one).
    GateTraining,
    /// What the policy said of jobs (proposed by the leader's gate duty).
    DecideTraining {
        /// The jobs with the decisions.
        decisions: Vec<(JobId, PolicyDecision)>,
    },
    /// Running attempts make room for a gang, which then gets it.
    Preempt {
        /// The plan, checked again when applied.
        plan: PreemptRecord,
    },
    /// A change of the checks of machines.
    Check(CheckCommand),
    /// A change of what watches models, or what it has seen.
    Drift(DriftCommand),
    /// A change of the windows of nodes and time.
    Reserve(WindowCommand),
    /// As [`Command::SubmitLast`], with jobs that wait for others of the request.
    SubmitTied {
        /// The earlier parts, if there are any.
        parts: Vec<u64>,
        /// The jobs, or the last of them.
        jobs: Vec<NewJob>,
        /// Which waits for which, by their places over all parts.
        ties: Vec<Tie>,
    },
    /// The cluster runs at a newer version from here on (proposed by the replica that leads).
    RaiseVersion(RaiseVersion),
    /// As [`Command::Drain`], with several nodes, until a time, and with what runs there moved.
    DrainNodes(DrainNodes),
    /// What a node tells of its whole machine.
    Hardware {
        /// Which node, from the TLS identity.
        node: NodeId,
        /// The machine.
        hardware: Box<Hardware>,
    },
    /// As [`Command::ApplyConfig`], which takes all classes of priority and orders of queues
    /// away, with some.
    ApplyFurther(FurtherConfig),
    /// As [`Command::SubmitTied`], with jobs that say what the first form of a specification has
    /// no place for.
    SubmitFurther(Submission),
    /// When waiting jobs are likely to start, to be held against when they do (proposed by the
    /// leader).
    Foretell {
        /// The jobs.
        starts: Vec<(JobId, Foretold)>,
    },
    /// As [`Command::Register`], of a node that offers shares of GPUs: servers of the release before
    /// would give one to whoever asks for a GPU.
    RegisterShared {
        /// What it has.
        inventory: Inventory,
        /// Leases that it still holds.
        held: Vec<LeaseId>,
    },
}

/// A configuration with what the first version's form has no place for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FurtherConfig {
    /// The version of the configuration that it takes the place of.
    pub expected: u64,
    /// The configuration.
    pub config: ClusterConfig,
    /// Its classes of priority.
    pub classes: PriorityClasses,
    /// The queues that are not served by age.
    pub orders: Orders,
    /// Why, for the record.
    pub why: String,
}

impl FurtherConfig {
    /// One that takes all of that away: what the log holds of the first version's command, also
    /// where that was made in memory with some.
    pub(super) fn none(expected: u64, config: ClusterConfig, why: String) -> Self {
        let (classes, orders) = (PriorityClasses::default(), Orders::default());
        Self { expected, config, classes, orders, why }
    }
}

impl Command {
    /// The command that puts a configuration in the place of another, whole.
    #[must_use]
    pub fn apply_config(expected: u64, mut config: ClusterConfig, why: String) -> Self {
        let classes = std::mem::take(&mut config.priority_classes);
        let orders = std::mem::take(&mut config.orders);
        match classes.0.is_empty() && orders.0.is_empty() {
            true => Self::ApplyConfig { expected, config, why },
            false => Self::ApplyFurther(FurtherConfig { expected, config, classes, orders, why }),
        }
    }
}

/// A job with what the API found out about it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NewJob {
    /// The specification, checked.
    pub spec: JobSpec,
    /// Digest of its recipe (`registry::seal::recipe`).
    pub recipe: Digest,
}

/// A plan as recorded: enough to check it and to make it again.
///
/// Source: rulings, 12.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PlanRecord {
    /// The applied index of the view that it was made on.
    pub base: LogIndex,
    /// The `now` that the planner was given.
    pub now: Millis,
    /// The budget that the planner was given.
    pub budget_steps: u64,
    /// Version of the policy.
    pub policy_version: u32,
    /// Digest of the view: of all rows as they stood at `base`.
    pub view: Digest,
    /// Digest of the placements.
    pub plan: Digest,
    /// What to place.
    pub placements: Vec<Placement>,
}

impl PlanRecord {
    /// Whether the placements are those that were planned.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.plan == Self::digest_of(&self.placements)
    }

    /// The digest of a plan's placements.
    #[must_use]
    pub fn digest_of(placements: &Vec<Placement>) -> Digest {
        Digest::of_value(placements)
    }
}

/// One gang's place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Placement {
    /// What to place.
    pub element: ElementId,
    /// Where, ascending by first rank.
    pub members: Vec<Member>,
}

/// The answer to one member, kept under its key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Reply {
    /// Jobs were taken in, with these ids in order.
    Submitted {
        /// Their ids.
        jobs: Vec<JobId>,
        /// The entry that holds them.
        at: LogIndex,
    },
    /// A part was kept.
    Part {
        /// Its number.
        number: u64,
    },
    /// Done; nothing to add.
    Done {
        /// The entry.
        at: LogIndex,
    },
    /// The node's id.
    Registered {
        /// Its id.
        node: NodeId,
    },
    /// The artifact that a completed seal made.
    Sealed {
        /// Its id.
        artifact: ArtifactId,
    },
    /// Refused, with the same answer on every retry.
    Refused(Refusal),
    /// The registry was changed.
    Registry {
        /// Number of the version or the promotion that this is about, else 0.
        number: u64,
        /// The entry.
        at: LogIndex,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Refusal {
    /// The key was used for another request.
    #[error("request key {key} was used for another request; use a new key")]
    KeyReused {
        /// The key.
        key: RequestKey,
    },
    /// No such job, element, node, lease or ticket.
    #[error("there is no {what}; `assay {list}` shows what there is")]
    NotFound {
        /// What was named.
        what: String,
        /// The command that lists such things.
        list: String,
    },
    /// It is in a state that does not allow this.
    #[error("{what} is {state}; {remedy}")]
    WrongState {
        /// What was named.
        what: String,
        /// Its state.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// A specification breaks a rule.
    #[error("{0}")]
    Spec(String),
    /// A bound of the cluster is reached.
    #[error("{what} is at its limit of {limit}; {remedy}")]
    Limit {
        /// What is full.
        what: String,
        /// The bound.
        limit: u64,
        /// What to do.
        remedy: String,
    },
    /// The lease has ended: what was done under it no longer counts.
    #[error("lease {lease} has ended; what runs under it is to be stopped")]
    StaleLease {
        /// The lease.
        lease: LeaseId,
    },
    /// Not yet: the caller is to repeat it.
    #[error("not yet: {why}")]
    NotYet {
        /// What it waits for.
        why: String,
    },
    /// A configuration that cannot be.
    #[error("{0}")]
    Config(ConfigError),
    /// A rule of the registry.
    #[error(transparent)]
    Registry(RegistryRefusal),
}

/// What a changed state asks of the shell. An effect that is lost loses no work: each can be
/// rebuilt from state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// What a node is to hold has changed: send it anew.
    Wanted {
        /// The node.
        node: NodeId,
    },
    /// There may be something to place.
    Plan,
    /// A seal ticket was opened.
    Seal {
        /// The ticket.
        ticket: LeaseId,
    },
    /// Audit events lack signatures.
    Sign,
    /// A job's document has changed: tell those who watch it.
    Changed {
        /// The job.
        job: JobId,
    },
    /// Something has come to a gate, or past one.
    Gate,
}

/// All leases of a node with what it needs to run them, as [`domain::link::Down::Wanted`] sends.
pub type WantedSet = Vec<WantedLease>;

/// What applying one entry gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each request, in order.
    pub replies: Vec<Reply>,
    /// What is asked of the shell.
    pub effects: Vec<Effect>,
    /// What changed, in key order.
    pub rows: Vec<domain::port::RowChange>,
}
