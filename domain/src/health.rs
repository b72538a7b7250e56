//! GPUs that a node has and does not offer.

use crate::{
    id::LeaseId,
    resource::Gpu,
    unit::{LogIndex, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a GPU is held back.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// It finishes what it runs and takes nothing new.
    Draining,
    /// It runs nothing until it is accepted.
    Quarantined,
}

impl fmt::Display for HeldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
        })
    }
}

/// A GPU that is held back, as its node tells it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct HeldGpu {
    /// The driver's index on its node.
    pub index: u32,
    /// The driver's unique name.
    pub uuid: String,
    /// What it would offer: itself, or its slices.
    pub offers: Vec<Gpu>,
    /// How it is held back.
    pub state: HeldState,
    /// What was noticed, and what it means.
    pub symptom: String,
    /// What an operator is to do.
    pub advice: String,
    /// When it last had such a symptom, by its node's clock. An acceptance is of the GPU as it
    /// was then: a later symptom makes it void.
    pub since: Millis,
    /// The newest acceptance that the node refused, because the GPU does not answer; 0 for none.
    pub refused: LogIndex,
}

/// What a rank does that does nothing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Idleness {
    /// It lives, and its GPUs are idle.
    HeldIdle,
    /// It takes no step, prints nothing, and uses neither processor nor GPU.
    Hung,
}

impl fmt::Display for Idleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldIdle => "held but idle",
            Self::Hung => "hung",
        })
    }
}

/// A rank that does nothing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct IdleRank {
    /// Its lease.
    pub lease: LeaseId,
    /// Its number.
    pub rank: u32,
    /// How it does nothing.
    pub state: Idleness,
    /// Since when, by its node's clock.
    pub since: Millis,
}

/// An operator's word that a GPU is well again.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Acceptance {
    /// The GPU's unique name.
    pub uuid: String,
    /// The log entry that holds the word.
    pub at: LogIndex,
    /// [`HeldGpu::since`] as the operator saw it.
    pub since: Millis,
}
