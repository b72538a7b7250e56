//! The few traits that a machine's shell must supply and that more than one room uses.

use crate::signing::Custody;

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

/// One key that signs models on behalf of the cluster. It never leaves its custody.
///
/// Calls may block on a device or a network, within a bound of their own: make them on a thread
/// that may wait.
pub trait Signer: Send + Sync {
    /// What the configuration calls the key, for messages. Holds no secret.
    fn name(&self) -> String;

    /// Where the key is.
    fn custody(&self) -> Custody;

    /// The public key: SPKI in PEM, with LF and a trailing newline.
    ///
    /// # Errors
    /// When it cannot be asked for now, or is not ECDSA P-256.
    fn public_pem(&self) -> Result<String, SignError>;

    /// ECDSA P-256 with SHA-256 over `message`, DER-encoded.
    ///
    /// # Errors
    /// When the key cannot be used: [`SignError::is_passing`] says whether waiting may help.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// A signature that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key `{key}` {why}")]
pub struct SignError {
    /// Which key, as the configuration calls it.
    pub key: String,
    /// Why not.
    pub why: SignFault,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignFault {
    /// Nobody answers.
    #[error("is out of reach: {0}; check the way to it")]
    Unreachable(String),
    /// No answer in time.
    #[error("did not answer within {0} ms; check its load and the way to it")]
    TimedOut(u64),
    /// Asked too often.
    #[error("is asked too often: {0}; its quota may have to be raised")]
    Throttled(String),
    /// It says no: disabled, no right, wrong PIN.
    #[error("is refused: {0}; check its state and the server's rights")]
    Refused(String),
    /// It is not what the configuration says, or gave what does not verify.
    #[error("is not what it should be: {0}; check the signer in the server's configuration")]
    Wrong(String),
}

impl SignError {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self.why {
            SignFault::Unreachable(_) | SignFault::TimedOut(_) | SignFault::Throttled(_) => true,
            SignFault::Refused(_) | SignFault::Wrong(_) => false,
        }
    }
}
