//! What an agent and the leader say to each other.

use crate::{
    artifact::OutputDigests,
    check::Accusation,
    checkpoint::Checkpoint,
    digest::Digest,
    hardware::Hardware,
    health::{Acceptance, HeldGpu, IdleRank},
    id::{LeaseId, NodeId},
    isolation::Confinement,
    job::{EndCause, JobSpec},
    lease::{Lease, Phase},
    node::Inventory,
    unit::{Bytes, LogIndex, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// Name of the header in which an agent says which [`Down`] it understands, as it opens its stream,
/// and a server which [`Up`], as it answers.
pub const LINK_HEADER: &str = "assay-link";
/// What this build understands. Who does not say so understands 1. 2 added [`Down::WantedNews`], 3
/// [`EndCause::Drained`], 4 [`Up::Hardware`].
pub const LINK_VERSION: u32 = 4;
/// The version since which a server understands [`Up::Hardware`].
pub const HARDWARE_SINCE: u32 = 4;

/// What an agent wants recorded. Goes into the log under the agent's identity.
///
/// Each names its lease; under an ended one it changes nothing. Repeats are harmless.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Report {
    /// Code and data are laid out and verified; tasks could start.
    Prepared {
        /// The lease.
        lease: LeaseId,
    },
    /// A checkpoint's bytes are on enough servers.
    Checkpoint {
        /// The checkpoint, which names its lease.
        checkpoint: Checkpoint,
    },
    /// All of this node's tasks ended well. Sent by nodes that do not hold rank 0.
    Done {
        /// The lease.
        lease: LeaseId,
        /// Digest of what they printed, which is on enough servers.
        log: Digest,
    },
    /// The attempt ended well and its output is on enough servers. Sent by rank 0's node.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// What it wrote.
        output: OutputDigests,
    },
    /// A task failed: the whole gang is to end.
    Failed {
        /// The lease.
        lease: LeaseId,
        /// Why.
        cause: EndCause,
    },
    /// Nothing of this lease runs here any more.
    Stopped {
        /// The lease.
        lease: LeaseId,
    },
    /// A rank hung: what its threads waited for is on enough servers.
    Dumped {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// Digest of the dump.
        dump: Digest,
        /// Its length.
        size: Bytes,
    },
}

impl Report {
    /// The lease it speaks of.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        match self {
            Self::Prepared { lease }
            | Self::Done { lease, .. }
            | Self::Ended { lease, .. }
            | Self::Failed { lease, .. }
            | Self::Stopped { lease }
            | Self::Dumped { lease, .. } => *lease,
            Self::Checkpoint { checkpoint } => checkpoint.lease,
        }
    }
}

/// From an agent, over its one stream.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Up {
    /// First message: who I am and what I have.
    Register {
        /// The machine.
        inventory: Inventory,
        /// Leases of which something may still run here.
        held: Vec<LeaseId>,
    },
    /// I am here. Answered by [`Down::Contact`] after a quorum round begun on receipt.
    Heartbeat {
        /// Counts up within a stream.
        seq: u64,
        /// Leases of which something may still run here.
        held: Vec<LeaseId>,
    },
    /// A report, repeated with the same number until [`Down::Recorded`] names it.
    Report {
        /// Counts up over the agent's life on this boot.
        seq: u64,
        /// What to record.
        report: Report,
    },
    /// Lines that a task wrote, from an offset on. Never enters the log.
    Log {
        /// The lease.
        lease: LeaseId,
        /// Which file: a task's output, or its metrics.
        source: LogSource,
        /// Byte offset of `bytes` in the file.
        offset: u64,
        /// Whole lines, or the start of an overlong one.
        bytes: Vec<u8>,
    },
    /// All GPUs that are held back, and no others: after each welcome, and whenever it changes.
    Health {
        /// The GPUs.
        gpus: Vec<HeldGpu>,
    },
    /// All ranks that do nothing, and no others: whenever it changes. Never enters the log.
    Idle {
        /// The ranks.
        ranks: Vec<IdleRank>,
    },
    /// The whole machine, of which the inventory is what decides where a job fits: after each
    /// welcome, and whenever it changes. Only to servers of [`HARDWARE_SINCE`] and later.
    Hardware {
        /// The machine.
        hardware: Box<Hardware>,
    },
    /// As [`Up::Register`], of a machine that offers shares of GPUs: servers of the release before,
    /// which would give one to whoever asks for a GPU, cannot read it.
    RegisterShared {
        /// The machine.
        inventory: Inventory,
        /// Leases of which something may still run here.
        held: Vec<LeaseId>,
    },
}

/// A file that the agent follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum LogSource {
    /// Standard output and standard error of a rank, in one file.
    Output {
        /// The rank.
        rank: u32,
    },
    /// The metrics file of a rank (JSON lines).
    Metrics {
        /// The rank.
        rank: u32,
    },
}

/// To an agent, over its one stream.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Down {
    /// You are registered.
    Welcome {
        /// Your node id.
        node: NodeId,
    },
    /// Not here: connect to this address (empty when no leader is known).
    Redirect {
        /// The leader's address, `host:port`.
        leader: String,
    },
    /// The heartbeat was covered by a quorum round.
    Contact {
        /// The heartbeat's number. The lease time counts from when it was sent.
        seq: u64,
    },
    /// All leases that this node is to hold, and no others. The first of a stream.
    Wanted {
        /// The log index that this shows.
        at: LogIndex,
        /// The leases.
        leases: Vec<WantedLease>,
    },
    /// The report is in the log, or was refused for good.
    Recorded {
        /// The report's number.
        seq: u64,
        /// Why it was refused, if it was.
        refused: Option<String>,
    },
    /// Bytes of a followed file that the server already holds.
    LogHave {
        /// The lease.
        lease: LeaseId,
        /// The file.
        source: LogSource,
        /// Send from here on.
        offset: u64,
    },
    /// The request was malformed or not allowed; the stream ends.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// An operator vouches for a GPU. Repeated until [`Up::Health`] leaves the GPU out, or says
    /// that the word was refused.
    Accept {
        /// The word.
        acceptance: Acceptance,
    },
    /// A GPU gave other bits than its like. Repeated until [`Up::Health`] holds it back.
    Accuse {
        /// The charge.
        accusation: Accusation,
    },
    /// What has changed of [`Down::Wanted`] since this stream last said: most changes of a node
    /// that holds hundreds of leases are of one of them.
    WantedNews {
        /// The log index that this shows.
        at: LogIndex,
        /// All leases that this node is to hold, and no others, ascending.
        held: Vec<LeaseId>,
        /// Those that this stream has not told as they are now.
        leases: Vec<WantedLease>,
    },
}

/// A lease with all that an agent needs to run it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WantedLease {
    /// The lease, whose phase says what to do.
    pub lease: Lease,
    /// What to run.
    pub spec: JobSpec,
    /// Its recipe.
    pub recipe: Digest,
    /// Address for rendezvous: rank 0's node.
    pub master_addr: String,
    /// Checkpoints committed so far, for the provenance.
    pub checkpoints: Vec<Checkpoint>,
    /// Identity of the cluster, for the provenance.
    pub cluster: String,
    /// The machines of a gang over several nodes, in the order of its members, for the provenance.
    /// Told to the lead alone; empty where the gang is on one node, which knows itself.
    pub inventories: Vec<Inventory>,
}

impl WantedLease {
    /// Whether tasks may run.
    #[must_use]
    pub fn may_run(&self) -> bool {
        matches!(self.lease.phase, Phase::Started { .. })
    }

    /// What its job says of its isolation, raised to what its queue demands.
    #[must_use]
    pub fn confinement(&self) -> Confinement {
        self.spec.confinement.at_least(self.lease.isolation)
    }

    /// The instant of the log's clock at which it was granted.
    #[must_use]
    pub fn granted(&self) -> Millis {
        self.lease.granted
    }
}
