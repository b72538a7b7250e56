//! The words among which a job chooses.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Whether a job must write something.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// An empty output folder is an error.
    #[default]
    Required,
    /// An empty output folder is sealed as such.
    None,
}

/// What an agent out of contact does with a running attempt when its lease time is over.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Ends it.
    #[default]
    Stop,
    /// Lets it go on; the fence keeps one result.
    Continue,
}

/// When a new attempt may start after contact with the old one was lost.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After the lease time, the drift margin and the kill grace.
    #[default]
    Lease,
    /// Only when the old one is known to be dead.
    Confirmed,
}
