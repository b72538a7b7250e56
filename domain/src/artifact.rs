//! A sealed result in the registry.

use crate::{
    checkpoint::Checkpoint,
    digest::Digest,
    id::{ArtifactId, AttemptNo, ElementId, LeaseId, NodeId, ReplicaId},
    unit::{Bytes, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What an agent declares of its output when it ends an attempt.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct OutputDigests {
    /// Root digest over the output's files.
    pub root: Digest,
    /// Digest of the output's stored [`crate::tree::Tree`].
    pub tree: Digest,
    /// Digest of the model signature's statement (the DSSE payload to be signed).
    pub statement: Digest,
    /// Digest of the provenance statement (the DSSE payload to be signed).
    pub provenance: Digest,
    /// Digest of the merged log of the attempt.
    pub log: Digest,
    /// Number of files.
    pub files: u64,
    /// Bytes over all files.
    pub size: Bytes,
}

/// What the ranks of one node of a gang printed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NodeLog {
    /// The node, which reported it under its own identity.
    pub node: NodeId,
    /// Its ranks, ascending.
    pub ranks: Vec<u32>,
    /// Digest of the merged log.
    pub log: Digest,
}

/// An ended attempt whose output waits for its signatures and copies.
///
/// Source: rulings, 1. Named by the lease that ended.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SealTicket {
    /// The ended lease.
    pub lease: LeaseId,
    /// What ran under it.
    pub element: ElementId,
    /// The attempt.
    pub attempt: AttemptNo,
    /// The node that ended it and that alone may ask for its signature.
    pub node: NodeId,
    /// What it declared.
    pub output: OutputDigests,
    /// The logs of the gang's other nodes, in order of rank. That of `node` is in `output`.
    pub logs: Vec<NodeLog>,
    /// Recipe of the job.
    pub recipe: Digest,
    /// Build key of the attempt.
    pub build_key: Digest,
    /// When it was opened, by the log's clock.
    pub opened: Millis,
}

/// A sealed result. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// The ticket it came from.
    pub ticket: SealTicket,
    /// Digest of the model signature (`model.sig`, a sigstore bundle).
    pub signature: Digest,
    /// Digest of the signed provenance (`provenance.dsse.json`).
    pub provenance: Digest,
    /// SHA-256 of the signer's public key in PEM.
    pub signer: Digest,
    /// Servers that held all bytes when it was sealed.
    pub copies: Vec<ReplicaId>,
    /// When it was sealed, by the log's clock.
    pub sealed: Millis,
    /// The job's checkpoints over all attempts, ascending by step.
    pub checkpoints: Vec<Checkpoint>,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}
