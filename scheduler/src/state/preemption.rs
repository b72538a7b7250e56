//! The words of preemption: who makes room for whom, and where.

use super::command::Placement;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{Digest, LeaseId, LogIndex, Millis};

/// An attempt that makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Victim {
    /// Its lease.
    pub lease: LeaseId,
    /// What it has done since its last committed checkpoint: GPU-milliseconds.
    pub lost_gpu_ms: u64,
}

/// A gang, the place that it gets, and all who make room there.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Preemption {
    /// What is placed once all victims are gone. It is kept as planned, whatever else gets free.
    pub placement: Placement,
    /// The victims, in the order in which they were found to have to yield.
    pub victims: Vec<Victim>,
}

/// A preemption as recorded: enough to check it and to plan it again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreemptRecord {
    /// The applied index of the view that it was made on.
    pub base: LogIndex,
    /// The `now` that the planner was given.
    pub now: Millis,
    /// The budget that the planner was given.
    pub budget_steps: u64,
    /// Version of the policy.
    pub policy_version: u32,
    /// Digest of the view.
    pub view: Digest,
    /// Digest of the preemption.
    pub plan: Digest,
    /// Who makes room for whom.
    pub preemption: Preemption,
}

impl PreemptRecord {
    /// Whether the preemption is the one that was planned.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.plan == Digest::of_value(&self.preemption)
    }
}

/// A preemption that is under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreemptionRow {
    /// Who makes room for whom.
    pub preemption: Preemption,
    /// Since when.
    pub since: Millis,
    /// The server that planned it.
    pub by: String,
}
