//! What was read from the processes of an attempt: facts, not wishes.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the system told of a task's process while it ran.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The contract's variables, as the process has them (`/proc/PID/environ`).
    pub environment: BTreeMap<String, String>,
    /// Its umask, four octal digits (`/proc/PID/status`).
    pub umask: String,
    /// Its limits (`/proc/PID/limits`), soft ones, by the system's name.
    pub limits: BTreeMap<String, String>,
    /// The processor's instruction sets that change results (`/proc/cpuinfo`).
    pub cpu_flags: BTreeSet<String>,
    /// Libraries that compute, as it has mapped them (`/proc/PID/maps`): file names, which hold
    /// their versions.
    pub libraries: BTreeSet<String>,
}

/// What is known of one rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankFacts {
    /// The rank.
    pub rank: u32,
    /// What the system told; none of a task that ended before it could be read.
    pub observed: Option<Observed>,
    /// What its framework said of itself.
    pub answers: Option<BTreeMap<String, String>>,
}
