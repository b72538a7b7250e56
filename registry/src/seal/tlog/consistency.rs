//! Proofs that a tree extends an older one.

use super::tree::{NodeRead, TreeFault, node_hash, range_hash, split};
use domain::Digest;

/// The hashes that join the tree of `old` leaves with the one of `new` (RFC 6962, section 2.1.2).
///
/// # Errors
/// When the new one is smaller, or a hash is missing.
pub fn consistency_proof(
    nodes: &impl NodeRead,
    old: u64,
    new: u64,
) -> Result<Vec<Digest>, TreeFault> {
    if old > new {
        return Err(TreeFault::Shrunk { old, new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, new);
    let mut path = Vec::new();
    // The old tree's part of the range, until it is all of it.
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            path.push(range_hash(nodes, middle, to)?);
            to = middle;
        } else {
            path.push(range_hash(nodes, from, middle)?);
            from = middle;
        }
    }
    if from != 0 {
        path.push(range_hash(nodes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the tree of size and root `new` extends that of `old` (RFC 9162, section 2.1.4.2).
///
/// # Errors
/// When it is smaller, the proof does not fit, or it leads to another root.
pub fn verify_consistency(
    proof: &[Digest],
    old: (u64, Digest),
    new: (u64, Digest),
) -> Result<(), TreeFault> {
    let ((old, old_root), (new, new_root)) = (old, new);
    let length = TreeFault::Length { found: proof.len(), size: new };
    let root = |found, wanted| TreeFault::Root { found, wanted };
    if old > new {
        return Err(TreeFault::Shrunk { old, new });
    }
    if old == new || old == 0 {
        return match proof {
            [] if old == new && old_root != new_root => Err(root(new_root, old_root)),
            [] if old == 0 && old_root != Digest::of(b"") => Err(root(Digest::of(b""), old_root)),
            [] => Ok(()),
            _ => Err(length),
        };
    }
    let mut rest = proof.iter().copied();
    // A full old tree is itself the first hash.
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let (mut of_old, mut of_new) = first.map(|hash| (hash, hash)).ok_or(length.clone())?;
    let shift = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    for other in rest {
        if last == 0 {
            return Err(length);
        }
        if place % 2 == 1 || place == last {
            of_old = node_hash(other, of_old);
            of_new = node_hash(other, of_new);
            while place.is_multiple_of(2) && place != 0 {
                (place, last) = (place / 2, last / 2);
            }
        } else {
            of_new = node_hash(of_new, other);
        }
        (place, last) = (place / 2, last / 2);
    }
    match (of_old == old_root, of_new == new_root) {
        _ if last != 0 => Err(length),
        (false, _) => Err(root(of_old, old_root)),
        (true, false) => Err(root(of_new, new_root)),
        (true, true) => Ok(()),
    }
}
