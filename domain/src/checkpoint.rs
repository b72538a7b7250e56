//! Saved progress of an attempt.

use crate::{digest::Digest, id::LeaseId, unit::Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A committed checkpoint: its bytes are on enough servers and its digest is in the log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The step in the folder's name `step-N`.
    pub step: u64,
    /// Root digest over its files, by which runs are compared.
    pub root: Digest,
    /// Digest of its stored [`crate::tree::Tree`], by which it is fetched.
    pub tree: Digest,
    /// Bytes over all files.
    pub size: Bytes,
    /// The lease under which it was committed.
    pub lease: LeaseId,
}
