//! Why an attempt or a job ended without a result.

use crate::{id::ElementId, unit::Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Why an attempt or a job ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum EndCause {
    /// A task ended with a code other than 0.
    ExitCode {
        /// The task's rank.
        rank: u32,
        /// Its exit code.
        code: i32,
    },
    /// A task was ended by a signal that we did not send.
    Signal {
        /// The task's rank.
        rank: u32,
        /// The signal's number.
        signal: i32,
    },
    /// The output folder was empty, though outputs are required.
    NoOutput,
    /// A file changed while it was being sealed.
    OutputChanged {
        /// The file.
        path: String,
    },
    /// The attempt ran longer than its limit.
    TimeLimit,
    /// Code or data could not be laid out as captured, or a program did not start.
    Prepare {
        /// What went wrong and where.
        detail: String,
    },
    /// The node's disk was full.
    DiskFull {
        /// What could not be written.
        detail: String,
    },
    /// The node was lost or rebooted.
    NodeLost,
    /// The lease ended for want of contact.
    LeaseExpired,
    /// The user cancelled it.
    Cancelled,
    /// The sealed bytes were lost before two servers held them.
    BlobsLost,
    /// The result differed from the record, or a proof could not be made.
    Seal {
        /// What did not hold.
        detail: String,
    },
    /// A GPU that it ran on is sick: its bits cannot be trusted. Last, for what is stored counts
    /// the variants.
    GpuFault {
        /// Which GPU, and its symptom.
        detail: String,
    },
    /// A job that it had to wait for ended in another way.
    Dependency {
        /// Which, and how.
        detail: String,
    },
    /// Its tasks on one node needed more memory than they had asked for.
    OutOfMemory {
        /// The rank that ended of it, or the first one there.
        rank: u32,
        /// The most that they held.
        #[serde(rename = "used_bytes")]
        used: Bytes,
        /// What they may hold.
        #[serde(rename = "limit_bytes")]
        limit: Bytes,
    },
    /// Its tasks on one node started more processes and threads than they may have.
    TooManyProcesses {
        /// The rank that ended of it, or the first one there.
        rank: u32,
        /// What they may have.
        limit: u64,
    },
    /// Its folders on one node hold more than they may.
    DiskQuota {
        /// What they hold.
        #[serde(rename = "used_bytes")]
        used: Bytes,
        /// What they may hold.
        #[serde(rename = "limit_bytes")]
        limit: Bytes,
    },
    /// What keeps its tasks apart could not be built, and without it they do not run.
    Sandbox {
        /// What failed, and what to do.
        detail: String,
    },
    /// What is in force in a task is not what was set.
    Drift {
        /// The task's rank.
        rank: u32,
        /// The variable, or what the framework was asked.
        name: String,
        /// What was set.
        asked: String,
        /// What is in force.
        found: String,
    },
    /// It gave its place up to another gang, and goes on later.
    Preempted {
        /// The other one.
        by: ElementId,
    },
    /// It was a run of a check, and its digest is known.
    Checked,
    /// It was a run of a check, and a job wanted its room.
    MadeRoom,
    /// It left its nodes to a window that opened, and goes on later elsewhere, or there.
    Reserved {
        /// The window.
        window: String,
    },
    /// It left a node that is taken out of service, and goes on elsewhere.
    Drained {
        /// The node's name.
        node: String,
    },
}

impl EndCause {
    /// Whether the job itself is at fault, so that the attempt counts against its retries.
    #[must_use]
    pub fn is_jobs_fault(&self) -> bool {
        match self {
            Self::ExitCode { .. }
            | Self::Signal { .. }
            | Self::NoOutput
            | Self::OutputChanged { .. }
            | Self::TimeLimit
            | Self::Prepare { .. }
            | Self::OutOfMemory { .. }
            | Self::TooManyProcesses { .. }
            | Self::DiskQuota { .. }
            // The planner asks no node that says it cannot: one that fails all the same would be
            // asked again and again.
            | Self::Sandbox { .. }
            | Self::Drift { .. }
            | Self::Seal { .. } => true,
            Self::DiskFull { .. }
            | Self::GpuFault { .. }
            | Self::Dependency { .. }
            | Self::NodeLost
            | Self::LeaseExpired
            | Self::Cancelled
            | Self::Preempted { .. }
            | Self::Checked
            | Self::MadeRoom
            | Self::Reserved { .. }
            | Self::Drained { .. }
            | Self::BlobsLost => false,
        }
    }

    /// Whether it was asked to make way: nobody is at fault, however often.
    #[must_use]
    pub fn makes_way(&self) -> bool {
        matches!(self, Self::Preempted { .. } | Self::Reserved { .. } | Self::Drained { .. })
    }

    /// Whether the node on which it happened may be to blame, so that another one is better.
    ///
    /// A program that exits with a code is counted, too: what a GPU or a link of a node got wrong
    /// reaches the log as a failed program more often than not.
    #[must_use]
    pub fn may_be_the_nodes(&self) -> bool {
        match self {
            Self::ExitCode { .. }
            | Self::Signal { .. }
            | Self::Prepare { .. }
            | Self::Sandbox { .. }
            | Self::Drift { .. }
            | Self::GpuFault { .. }
            | Self::NodeLost
            | Self::LeaseExpired => true,
            // Kept where the attempt ends, which asks whether it filled that disk before.
            Self::DiskFull { .. }
            | Self::NoOutput
            | Self::OutputChanged { .. }
            | Self::TimeLimit
            | Self::OutOfMemory { .. }
            | Self::TooManyProcesses { .. }
            | Self::DiskQuota { .. }
            | Self::Seal { .. }
            | Self::Dependency { .. }
            | Self::Cancelled
            | Self::Preempted { .. }
            | Self::Checked
            | Self::MadeRoom
            | Self::Reserved { .. }
            | Self::Drained { .. }
            | Self::BlobsLost => false,
        }
    }
}

impl std::fmt::Display for EndCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ExitCode { rank, code } => write!(f, "rank {rank} exited with code {code}"),
            Self::Signal { rank, signal } => write!(f, "rank {rank} was killed by signal {signal}"),
            Self::NoOutput => f.write_str(
                "wrote nothing to ASSAY_OUTPUT_DIR; write there, or set `outputs = \"none\"`",
            ),
            Self::OutputChanged { path } => {
                write!(f, "`{path}` changed while it was being sealed; stop writers before exit")
            }
            Self::TimeLimit => f.write_str("ran longer than its time_limit"),
            Self::Prepare { detail } => write!(f, "could not be prepared: {detail}"),
            Self::DiskFull { detail } => write!(f, "the node's disk is full: {detail}"),
            Self::NodeLost => f.write_str("its node was lost"),
            Self::LeaseExpired => f.write_str("its lease ended for want of contact"),
            Self::Cancelled => f.write_str("was cancelled"),
            Self::BlobsLost => f.write_str("its result was lost before two servers held it"),
            Self::Seal { detail } => write!(f, "could not be sealed: {detail}"),
            Self::GpuFault { detail } => write!(f, "its GPU is sick: {detail}"),
            Self::Dependency { detail } => write!(f, "never started: {detail}"),
            Self::OutOfMemory { rank, used, limit } => write!(
                f,
                "out of memory: rank {rank} used {} of {}; ask for more with --memory",
                used.text(),
                limit.text()
            ),
            Self::TooManyProcesses { rank, limit } => write!(
                f,
                "too many processes: rank {rank} reached {limit} processes and threads; start fewer"
            ),
            Self::DiskQuota { used, limit } => write!(
                f,
                "disk quota: its folders hold {} of {}; write less, or ask for more with --disk",
                used.text(),
                limit.text()
            ),
            Self::Sandbox { detail } => write!(f, "its sandbox could not be built: {detail}"),
            Self::Drift { rank, name, asked, found } => write!(
                f,
                "the environment contract is not in force: `{name}` is `{found}` in rank {rank}, \
                 asked was `{asked}`; see docs/DETERMINISM.md"
            ),
            Self::Preempted { by } => write!(f, "preempted by {by}"),
            Self::Checked => f.write_str("its digest is known: nothing more is to be done"),
            Self::MadeRoom => f.write_str("made room for a job; it is run again later"),
            Self::Reserved { window } => write!(f, "left its nodes to the window `{window}`"),
            Self::Drained { node } => write!(f, "left `{node}`, which is taken out of service"),
        }
    }
}
