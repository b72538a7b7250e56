//! The transparency log over the audit events: a Merkle tree whose signed heads let a stranger
//! find a cut head, a cut tail and a rewritten history.
//!
//! Event n of the chain is leaf n - 1; its entry is the event's canonical payload. Hashes are
//! those of RFC 6962, heads and proofs have the forms of C2SP (tlog-checkpoint, signed-note,
//! tlog-proof).

mod checkpoint;
mod consistency;
mod inclusion;
mod note;
mod proof;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointFault, origin};
pub use consistency::{consistency_proof, verify_consistency};
pub use inclusion::{inclusion_proof, verify_inclusion};
pub use note::{NoteFault, NoteKey, SignedNote};
pub use proof::{Proof, ProofFault};
pub(crate) use tree::node_hash;
pub use tree::{Frontier, Node, NodeRead, Tree, TreeFault, leaf_hash};

#[cfg(test)]
mod laws;
