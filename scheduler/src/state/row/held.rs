//! What is remembered of GPUs that are held back.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{CheckId, LogIndex, check::Accusation, health::HeldGpu};
use std::collections::BTreeMap;

/// A node's GPUs that are held back.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HealthRow {
    /// The GPUs, as the node told last.
    pub gpus: Vec<HeldGpu>,
    /// Which of them an operator has accepted, by unique name, with the entry that says so.
    pub accepted: BTreeMap<String, LogIndex>,
    /// GPUs that gave wrong bits and that the node has not held back yet, by unique name.
    pub accused: BTreeMap<String, Accusation>,
    /// The newest check of each GPU that is held back, by unique name.
    pub checks: BTreeMap<String, CheckId>,
}

impl HealthRow {
    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gpus.is_empty() && self.accused.is_empty()
    }
}
