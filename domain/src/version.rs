//! Which forms of the log's commands and rows a cluster uses, and which a server understands.
//!
//! A version is a step in the history of what is replicated, not of the product: releases that
//! store the same things share one. The cluster runs at one version at a time, a row that is
//! raised when all members understand the next and is never lowered (rulings, 4).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A version of what is replicated.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct ClusterVersion(pub u8);

impl ClusterVersion {
    /// What a cluster runs at that was never raised.
    pub const FIRST: Self = Self(1);
}

impl Default for ClusterVersion {
    fn default() -> Self {
        Self::FIRST
    }
}

impl std::fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions that a server understands: all from the oldest to the newest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Understood {
    /// The oldest.
    pub oldest: ClusterVersion,
    /// The newest.
    pub newest: ClusterVersion,
}

impl Understood {
    /// What this build understands. 2 added the sign-off of documents, promotions that look at what
    /// the artifact came of, terms of drains, whole machines, and classes of priority.
    pub const BUILD: Self = Self { oldest: ClusterVersion::FIRST, newest: ClusterVersion(2) };

    /// Whether it understands a version.
    #[must_use]
    pub fn has(self, version: ClusterVersion) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest version that all of some servers understand; none where there is none.
    pub fn common(servers: impl IntoIterator<Item = Self>) -> Option<ClusterVersion> {
        let meet = |a: Self, b: Self| Self {
            oldest: a.oldest.max(b.oldest),
            newest: a.newest.min(b.newest),
        };
        servers.into_iter().reduce(meet).filter(|all| all.oldest <= all.newest).map(|it| it.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_understand_is_the_least_of_the_newest_unless_one_has_forgotten_it() {
        let range = |(oldest, newest)| Understood {
            oldest: ClusterVersion(oldest),
            newest: ClusterVersion(newest),
        };
        for (servers, common) in [
            (vec![], None),
            (vec![(1, 1)], Some(1)),
            (vec![(1, 3), (1, 2), (2, 4)], Some(2)),
            (vec![(1, 2), (3, 4)], None),
        ] {
            let common: Option<u8> = common;
            let found = Understood::common(servers.iter().copied().map(range));
            assert_eq!(found, common.map(ClusterVersion), "{servers:?}");
        }
    }
}
