//! What a job names rather than holds: captured bytes, many like elements.

use crate::{digest::Digest, unit::Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A captured folder or file: what was read at submit, by digest.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Captured {
    /// Digest of the [`crate::tree::Tree`] in its stored form.
    pub tree: Digest,
    /// Number of files.
    pub files: u64,
    /// Bytes over all files.
    pub size: Bytes,
    /// Where it was captured from, for people; not part of the recipe.
    pub origin: String,
}

/// Many like elements submitted as one row.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Array {
    /// Number of elements, numbered from 0.
    pub count: u32,
    /// Elements that may run at once; 0 means all.
    pub at_once_max: u32,
}
