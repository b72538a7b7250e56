//! What may be proposed about checks.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{CheckId, LeaseId, lease::Member};

/// A change of checks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CheckCommand {
    /// Find out whether GPUs in quarantine are well again (an operator asks).
    Accept {
        /// The node's name.
        node: String,
        /// The GPU's index or unique name; none means every one in quarantine.
        gpu: Option<String>,
    },
    /// Grant a check its next run (proposed by the leader's duty).
    Run {
        /// The check.
        check: CheckId,
        /// Runs that it was granted before: another number makes this command void.
        granted: u32,
        /// Where.
        members: Vec<Member>,
    },
    /// End runs of checks whose room a job could have (proposed by the leader's duty).
    MakeRoom {
        /// Their leases.
        leases: Vec<LeaseId>,
    },
    /// Nothing more is to be expected of a check (proposed by the leader's duty).
    GiveUp {
        /// The check.
        check: CheckId,
        /// Why.
        why: String,
    },
}
