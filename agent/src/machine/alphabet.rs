//! What the agent's machine hears and what it asks for.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Bytes, Digest, LeaseId, Millis, NodeId,
    artifact::OutputDigests,
    checkpoint::Checkpoint,
    job::EndCause,
    lease::TaskPlace,
    limit,
    link::{Down, Up, WantedLease},
    node::Inventory,
};
use std::collections::BTreeMap;

/// What a machine is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this node has; sent with each registration.
    pub inventory: Inventory,
    /// Whether it has GPUs in shares, also while those are held back.
    pub shared: bool,
    /// Time between two heartbeats.
    pub heartbeat: Millis,
    /// How long tasks may run without contact, counted from when the heartbeat was sent.
    pub lease_ttl: Millis,
    /// Time before the end of [`Config::lease_ttl`] at which tasks are asked for a checkpoint.
    pub lease_grace: Millis,
    /// Time from SIGTERM to SIGKILL.
    pub kill_grace: Millis,
    /// The same where another part of the attempt has failed.
    pub gang_grace: Millis,
    /// Time after which a report without an answer is sent again.
    pub resend: Millis,
    /// Number of the first report: greater than any that an earlier life on this boot used.
    pub first_report: u64,
}

impl Config {
    /// The limits of `domain::limit` for a node with `inventory`.
    #[must_use]
    pub fn new(inventory: Inventory) -> Self {
        Self {
            shared: inventory.has_shares(),
            inventory,
            heartbeat: limit::HEARTBEAT,
            lease_ttl: limit::LEASE_TTL,
            lease_grace: limit::LEASE_GRACE,
            kill_grace: limit::KILL_GRACE,
            gang_grace: limit::GANG_GRACE,
            resend: Millis(2_000),
            first_report: 1,
        }
    }
}

/// What an earlier life of the agent left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// The node's id, if an earlier life learned it.
    pub node: Option<NodeId>,
    /// Leases whose tasks were started, from the supervisor and the local state.
    pub held: Vec<HeldLease>,
}

/// A lease whose tasks an earlier life of the agent started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The lease as it was when its tasks were started.
    pub wanted: WantedLease,
    /// This node's tasks by rank.
    pub tasks: BTreeMap<u32, HeldTask>,
    /// When the tasks were started.
    pub started: Millis,
    /// When the supervisor will kill them; none means never.
    pub deadline: Option<Millis>,
}

impl HeldLease {
    /// The node that holds these tasks: an earlier life may have died before it wrote its id
    /// down, and who leads the gang depends on it.
    pub(super) fn node(&self) -> Option<NodeId> {
        let mut members = self.wanted.lease.members.iter();
        let ours = members.find(|member| {
            member.tasks.iter().map(|task| task.rank).eq(self.tasks.keys().copied())
        });
        ours.map(|member| member.node)
    }
}

/// How a task that an earlier life started stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldTask {
    /// It runs.
    Running,
    /// It has ended.
    Exited(Exit),
    /// The supervisor does not know it: it was lost with an earlier supervisor.
    Lost,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that we did not send.
    Signal(i32),
    /// By us: on request, or by the supervisor at the lease's deadline.
    Killed,
    /// With its lease, whose tasks on this node wanted more memory than they may have.
    OutOfMemory {
        /// The most that they held.
        used: Bytes,
        /// What they may hold.
        limit: Bytes,
    },
    /// With its lease, whose tasks on this node reached their number of processes.
    TooManyProcesses {
        /// What they may have.
        limit: u64,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A stream to a server is open; nothing was sent on it yet.
    Connected,
    /// The stream is gone.
    Disconnected,
    /// A message came in.
    Down(Down),
    /// The answer to [`Output::Prepare`].
    Prepared {
        /// The lease.
        lease: LeaseId,
        /// Whether code and data are laid out and verified.
        result: Result<(), EndCause>,
    },
    /// A task ended.
    Exited {
        /// The lease.
        lease: LeaseId,
        /// The task's rank.
        rank: u32,
        /// How.
        exit: Exit,
    },
    /// A task could not be started, or runs under another environment than was asked for.
    Faulted {
        /// The lease.
        lease: LeaseId,
        /// What is wrong.
        cause: EndCause,
    },
    /// A GPU cannot be trusted any more: what runs on it is to end.
    GpuFailed {
        /// Its index in the inventory.
        index: u32,
        /// Which GPU it is, and its symptom.
        detail: String,
    },
    /// The node offers other things than before, from the next registration on.
    Inventory(Box<Inventory>),
    /// A complete checkpoint stands in the checkpoint folder.
    CheckpointSeen {
        /// The lease.
        lease: LeaseId,
        /// The `N` of `step-N`.
        step: u64,
    },
    /// The answer to [`Output::StoreCheckpoint`]: its bytes are on enough servers, or it is
    /// unusable (the attempt goes on without it).
    CheckpointStored {
        /// The lease.
        lease: LeaseId,
        /// The step.
        step: u64,
        /// What was stored.
        result: Result<Checkpoint, EndCause>,
    },
    /// The answer to [`Output::StoreOutput`].
    OutputStored {
        /// The lease.
        lease: LeaseId,
        /// What was stored.
        result: Result<OutputDigests, EndCause>,
    },
    /// The answer to [`Output::StoreLog`].
    LogStored {
        /// The lease.
        lease: LeaseId,
        /// Digest of what was stored.
        result: Result<Digest, EndCause>,
    },
    /// The answer to [`Output::Kill`]: no process of the lease is left.
    Killed {
        /// The lease.
        lease: LeaseId,
    },
    /// Bytes of a lease's checkpoints have moved, while it has notice.
    Advanced {
        /// The lease.
        lease: LeaseId,
        /// How many were written, hashed and sent in all.
        bytes: u64,
    },
    /// What the threads of a hung rank wait for is on enough servers.
    Dumped {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// Digest of the text.
        dump: Digest,
        /// Its length.
        size: Bytes,
    },
    /// Nothing but time went by; due at the latest at [`super::AgentMachine::wake`].
    Tick,
}

/// What is to be done. In order; an output never waits for the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "moved once, right after it was made")]
pub enum Output {
    /// Send this on the open stream; it is lost if there is none.
    Send(Up),
    /// Lay out code, data and the checkpoint to resume from. Answer [`Input::Prepared`].
    Prepare {
        /// The lease.
        wanted: Box<WantedLease>,
    },
    /// Start these tasks. Each answers [`Input::Exited`] or [`Input::Faulted`] in the end.
    Start {
        /// The lease.
        wanted: Box<WantedLease>,
        /// This node's place in the gang, from 0.
        node_rank: u32,
        /// This node's tasks.
        tasks: Vec<TaskPlace>,
        /// When the supervisor kills them by itself; none means never.
        deadline: Option<Millis>,
    },
    /// Contact was renewed: the supervisor kills later.
    RenewDeadline {
        /// The lease.
        lease: LeaseId,
        /// When; none means never.
        deadline: Option<Millis>,
    },
    /// Tell the tasks that the end is near, so that they write a checkpoint.
    AskCheckpoint {
        /// The lease.
        lease: LeaseId,
        /// How it will end.
        cause: EndCause,
    },
    /// The end is no longer near: take [`Output::AskCheckpoint`] back.
    UnaskCheckpoint {
        /// The lease.
        lease: LeaseId,
    },
    /// End every process of the lease: SIGTERM, and SIGKILL after `grace` (at once if it is
    /// zero). Answer [`Input::Killed`], also when nothing runs.
    Kill {
        /// The lease.
        lease: LeaseId,
        /// Time between the two signals.
        grace: Millis,
    },
    /// Hash the checkpoint and upload it. Answer [`Input::CheckpointStored`].
    StoreCheckpoint {
        /// The lease.
        lease: LeaseId,
        /// The step.
        step: u64,
    },
    /// Hash the output, describe it and upload all of it. Answer [`Input::OutputStored`].
    StoreOutput {
        /// The lease as it is now, with the checkpoints for the provenance.
        wanted: Box<WantedLease>,
    },
    /// Merge what this node's ranks printed and upload it. Answer [`Input::LogStored`].
    StoreLog {
        /// The lease.
        wanted: Box<WantedLease>,
        /// This node.
        node: NodeId,
    },
    /// Nothing of the lease is needed any more: abandon what is under way, remove its folders.
    Forget {
        /// The lease.
        lease: LeaseId,
    },
}
