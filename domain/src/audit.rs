//! The events of record, chained by hash.

use crate::{digest::Digest, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// One event of the chain.
///
/// Source: platform contract §2.1: `hash = sha256(canonical(payload) || prev hash bytes)`; the
/// signature is PureEdDSA over the 32 hash bytes. `payload` holds type, time, actor and sequence,
/// since nothing outside it is covered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Place in the chain, from 1.
    pub seq: u64,
    /// Canonical JSON text (RFC 8785).
    pub payload: String,
    /// Hash of the event before; none at genesis.
    pub prev: Option<Digest>,
    /// This event's hash.
    pub hash: Digest,
    /// When, strictly increasing. Unit: µs since the Unix epoch.
    pub ts_us: u64,
    /// Ed25519 signature of the hash and who signed, once attached.
    pub signature: Option<EventSignature>,
}

/// A signature attached to an event after it was chained.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EventSignature {
    /// Key id of the signer.
    pub signer: String,
    /// The 64 bytes of the signature.
    pub bytes: Vec<u8>,
}

/// Time in an event, never before [`AuditEvent::ts_us`] of its predecessor.
#[must_use]
pub fn next_ts_us(previous_us: u64, now: Millis) -> u64 {
    (previous_us + 1).max(now.0.saturating_mul(1_000))
}
