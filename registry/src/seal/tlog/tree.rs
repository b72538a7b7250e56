//! The Merkle tree of RFC 6962, appended to with a logarithm of hashes.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::Digest;
use sha2::{Digest as _, Sha256};

/// Why a hash or a proof cannot be had, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// A hash that the store does not have.
    #[error("hash {index} of level {level} is missing; the tree must be rebuilt from its events")]
    Missing {
        /// Level, 0 for leaves.
        level: u32,
        /// Place in its level, from 0.
        index: u64,
    },
    /// Something past the end.
    #[error("entry {index} is not in a tree of {size}")]
    PastEnd {
        /// What was asked for.
        index: u64,
        /// What there is.
        size: u64,
    },
    /// Two heads in the wrong order.
    #[error("a tree of {new} does not extend one of {old}")]
    Shrunk {
        /// Size of the old one.
        old: u64,
        /// Size of the new one.
        new: u64,
    },
    /// A proof with too many or too few hashes.
    #[error("the proof has {found} hashes, which does not fit a tree of {size}")]
    Length {
        /// How many there are.
        found: usize,
        /// Of the tree.
        size: u64,
    },
    /// A proof of another tree.
    #[error("the proof leads to root {found}, the head says {wanted}")]
    Root {
        /// What it leads to.
        found: Digest,
        /// What it should.
        wanted: Digest,
    },
}

/// The hash of an entry: SHA-256(00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash over two subtrees: SHA-256(01 ‖ left ‖ right).
pub(crate) fn node_hash(left: Digest, right: Digest) -> Digest {
    Digest(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

/// Where hashes of full subtrees are kept.
pub trait NodeRead {
    /// The hash over the `2^level` leaves from `index * 2^level` on.
    fn node(&self, level: u32, index: u64) -> Option<Digest>;
}

/// A full subtree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its level, 0 for leaves.
    pub level: u32,
    /// Its place in its level, from 0.
    pub index: u64,
    /// Its hash.
    pub hash: Digest,
}

/// The right edge of a tree: all that is needed to append and to tell the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    size: u64,
    /// Hashes of the full subtrees that the tree is made of, largest first: one for each bit of
    /// its size.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. `full` gets every subtree that it fills, the leaf first.
    pub fn push(&mut self, leaf: Digest, mut full: impl FnMut(Node)) {
        let mut node = Node { level: 0, index: self.size, hash: leaf };
        full(node);
        while node.index % 2 == 1 {
            let left = self.peaks.pop().expect("a peak stands for every bit of the size");
            let hash = node_hash(left, node.hash);
            node = Node { level: node.level + 1, index: node.index / 2, hash };
            full(node);
        }
        self.peaks.push(node.hash);
        self.size += 1;
    }

    /// The root; for an empty tree the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let joined = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(left, right));
        joined.unwrap_or_else(|| Digest::of(b""))
    }
}

/// The hash over leaves `from..to`, which must not be empty.
pub(super) fn range_hash(nodes: &impl NodeRead, from: u64, to: u64) -> Result<Digest, TreeFault> {
    let size = to - from;
    if size.is_power_of_two() && from.is_multiple_of(size) {
        let (level, index) = (size.ilog2(), from / size);
        return nodes.node(level, index).ok_or(TreeFault::Missing { level, index });
    }
    let middle = from + split(size);
    Ok(node_hash(range_hash(nodes, from, middle)?, range_hash(nodes, middle, to)?))
}

/// The largest power of two below `size`, which must be at least 2.
pub(super) fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// A whole tree in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    frontier: Frontier,
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let levels = &mut self.levels;
        self.frontier.push(leaf, |node| {
            let level = node.level as usize;
            if levels.len() <= level {
                levels.push(Vec::new());
            }
            levels[level].push(node.hash);
        });
    }

    /// Its right edge.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
}

impl NodeRead for Tree {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        self.levels.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }
}
