//! Walls around a lease's tasks: a user of their own, namespaces, limits, and filters.
//!
//! One room for each lease and node. Its first process (`init`) holds the namespaces and ends
//! with the room; tasks are children of the supervisor that step into it (`enter`).
//! Source: ADR-0020.

mod birth;
mod cgroup;
mod enter;
mod filter;
mod hooks;
mod host;
mod image_root;
mod init;
mod least;
mod probe;
mod reach;
mod root;

#[cfg(test)]
mod tests;

pub use birth::Program;
pub use cgroup::{Breach, Groups};
pub use host::{Host, Room};
pub use least::{Account, Fence, LeastError, become_account};
pub use probe::probe;

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Bytes, CpuMillis,
    isolation::{ImageFacts, Network},
};
use std::{fmt, io};

/// The first user that tasks run as; each lease has one of [`UIDS`].
/// Source: systemd's list of users and groups leaves 0x70000000 and above to nobody.
const UID_FIRST: u32 = 0x7000_0000;
/// How many there are.
const UIDS: u32 = 65_536;

/// Whether a user is one that tasks run as.
#[must_use]
pub fn is_tasks(uid: u32) -> bool {
    (UID_FIRST..UID_FIRST + UIDS).contains(&uid)
}

/// Processes and threads of each task. Source: eight loader processes with a thread for each of
/// 256 processors, and as many again.
pub const TASK_PROCESSES: u64 = 4_096;

/// What a lease's tasks on one node are to find.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Walls {
    /// What they reach over the network.
    pub network: Network,
    /// Bytes of memory over all tasks.
    pub memory: Bytes,
    /// Processor time over all tasks; 0 means no limit.
    pub cpu: CpuMillis,
    /// Processes and threads over all tasks.
    pub processes: u64,
    /// Device files beside the usual ones: the tasks' GPUs, and the adapters of their network.
    pub devices: Vec<String>,
    /// Folders beside the system's that they may read.
    pub readable: Vec<String>,
}

/// A root that is a container image's rather than the system's folders.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ImageRoot {
    /// Where it is mounted on the machine, to read.
    pub path: String,
    /// What it is, for the record.
    pub facts: ImageFacts,
    /// Device files beside the usual ones: on the machine, and inside.
    pub devices: Vec<(String, String)>,
    /// Files and folders of the machine, and where they are shown inside.
    pub shown: Vec<(String, String)>,
    /// Programs of the machine that finish the root, with their arguments.
    pub hooks: Vec<(String, Vec<String>)>,
}

/// The part of [`Walls`] that a control group holds, with devices as `major:minor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    memory: Bytes,
    cpu: CpuMillis,
    processes: u64,
    devices: Vec<String>,
}

/// A room that could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxError {
    /// What was tried.
    step: &'static str,
    /// Why it failed.
    why: String,
}

impl SandboxError {
    fn new(step: &'static str, why: String) -> Self {
        Self { step, why }
    }

    /// One of the supervisor's own making.
    pub fn told(step: &'static str, why: &io::Error) -> Self {
        Self::io(step, why)
    }

    fn io(step: &'static str, why: &io::Error) -> Self {
        Self::new(step, why.to_string())
    }
}

impl std::error::Error for SandboxError {}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, why } = self;
        write!(f, "cannot {step}: {why}; `assay node show` tells what this node can do")
    }
}
