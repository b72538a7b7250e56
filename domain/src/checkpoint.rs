//! Saved progress of an attempt.

use crate::{digest::Digest, id::LeaseId, limit, unit::Bytes};
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

/// Drops every second checkpoint of a list, ascending by step, that has become too long: the first
/// and the newest stay, and what stays is spread evenly over the run. Returns what was dropped.
///
/// Two runs that commit the same steps keep the same steps, so they can still be compared.
pub fn thin<T>(checkpoints: &mut Vec<T>) -> Vec<T> {
    if checkpoints.len() <= limit::CHECKPOINT_DIGESTS_KEPT {
        return Vec::new();
    }
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (at, checkpoint) in std::mem::take(checkpoints).into_iter().enumerate() {
        if at.is_multiple_of(2) { kept.push(checkpoint) } else { dropped.push(checkpoint) }
    }
    *checkpoints = kept;
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_grows_for_ever_stays_bounded_and_keeps_its_first_and_newest() {
        let mut steps = Vec::new();
        for step in 0..10 * limit::CHECKPOINT_DIGESTS_KEPT {
            steps.push(step);
            thin(&mut steps);
            assert!(steps.len() <= limit::CHECKPOINT_DIGESTS_KEPT);
            assert_eq!((steps.first(), steps.last()), (Some(&0), Some(&step)));
            assert!(steps.is_sorted());
        }
    }
}
