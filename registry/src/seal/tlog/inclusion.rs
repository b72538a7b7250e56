//! Proofs that an entry is in a tree.

use super::tree::{NodeRead, TreeFault, node_hash, range_hash, split};
use domain::Digest;

/// The hashes that lead from leaf `index` to the root of a tree of `size`, lowest first
/// (RFC 6962, section 2.1.1).
///
/// # Errors
/// When there is no such leaf, or a hash is missing.
pub fn inclusion_proof(
    nodes: &impl NodeRead,
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, TreeFault> {
    if index >= size {
        return Err(TreeFault::PastEnd { index, size });
    }
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(range_hash(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_hash(nodes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Checks that `leaf` is entry `index` of the tree of `size` with `root` (RFC 9162, section
/// 2.1.3.2).
///
/// # Errors
/// When the proof does not fit, or leads to another root.
pub fn verify_inclusion(
    proof: &[Digest],
    leaf: Digest,
    index: u64,
    size: u64,
    root: Digest,
) -> Result<(), TreeFault> {
    if index >= size {
        return Err(TreeFault::PastEnd { index, size });
    }
    let length = TreeFault::Length { found: proof.len(), size };
    let (mut place, mut last) = (index, size - 1);
    let mut hash = leaf;
    for other in proof {
        if last == 0 {
            return Err(length);
        }
        if place % 2 == 1 || place == last {
            hash = node_hash(*other, hash);
            // On the right edge, levels without a sibling are passed over.
            while place.is_multiple_of(2) && place != 0 {
                (place, last) = (place / 2, last / 2);
            }
        } else {
            hash = node_hash(hash, *other);
        }
        (place, last) = (place / 2, last / 2);
    }
    if last != 0 {
        return Err(length);
    }
    if hash != root {
        return Err(TreeFault::Root { found: hash, wanted: root });
    }
    Ok(())
}
