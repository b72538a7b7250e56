//! The few traits that a machine's shell must supply and that more than one room uses.

use crate::digest::Digest;

/// One change of a row: the key's new value, or none where it is removed.
#[derive(Clone, Debug, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub struct RowChange {
    /// The row's key: a table byte, then big-endian parts, so that order is meaning.
    pub key: Vec<u8>,
    /// Its new bytes.
    pub value: Option<Vec<u8>>,
}

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Synchronous reads of the rows as they stand before the command that is being applied.
///
/// Source: rulings, 2. Implementations never fail: an unreadable store stops the process.
pub trait RowRead {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Up to `limit` rows with `from <= key < to`, ascending.
    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row>;
}

/// Rows in memory: the simulator's store, and a test's.
impl RowRead for std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Self::get(self, key).cloned()
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        Self::range::<[u8], _>(self, bounds)
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Signs on behalf of the cluster. Keys never leave its implementation.
pub trait Signer: Send + Sync {
    /// ECDSA P-256 with SHA-256 over `message`, DER-encoded: for models and provenance.
    ///
    /// # Errors
    /// When the key cannot be used now; the caller retries within a bound.
    fn sign_model(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The public key for [`Signer::sign_model`]: SPKI in PEM, with LF and a trailing newline.
    fn model_public_pem(&self) -> String;

    /// Ed25519 (pure) over the 32 bytes of an event's hash.
    ///
    /// # Errors
    /// When the key cannot be used now; the caller retries within a bound.
    fn sign_event(&self, hash: &Digest) -> Result<[u8; 64], SignError>;

    /// Ed25519 (pure) over the text of a checkpoint, with the events' key: no such text is 32 bytes
    /// long, so it cannot stand for an event's hash.
    ///
    /// # Errors
    /// When the key cannot be used now; the caller retries within a bound.
    fn sign_checkpoint(&self, text: &str) -> Result<[u8; 64], SignError>;

    /// The public key for [`Signer::sign_event`]: SPKI in PEM.
    fn event_public_pem(&self) -> String;

    /// Key id of the event signer.
    fn event_signer(&self) -> String;
}

/// A signature that could not be made now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key `{key}` cannot be used: {why}")]
pub struct SignError {
    /// Which key.
    pub key: String,
    /// Why not.
    pub why: String,
}
