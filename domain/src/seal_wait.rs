//! What keeps a result from its seal, as the server that seals tells it.

use crate::{
    id::{ElementId, LeaseId, ReplicaId},
    signing::Custody,
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// What went wrong when a result was last to be sealed.
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
#[serde(rename_all = "snake_case")]
pub enum SealTrouble {
    /// No key was put into use.
    NoKey,
    /// The key that sealed was revoked, and no other was put into use.
    Revoked,
    /// The key store does not answer.
    Down,
    /// It does not answer in time.
    Slow,
    /// It is asked too often.
    Throttled,
    /// It says no: disabled, no right, wrong PIN.
    Refused,
    /// It is not what the configuration says, or gave what does not verify.
    Wrong,
    /// Servers are missing, not a key.
    Servers,
}

/// A result that waits for its seal, with the last try.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SealWait {
    /// Whose result.
    pub element: ElementId,
    /// Its seal ticket: the lease that ended.
    pub lease: LeaseId,
    /// What went wrong last.
    pub fault: SealTrouble,
    /// The key that was to sign, as the server's configuration calls it or by its id; none where
    /// there is none, or where it is not at fault.
    pub signer: Option<String>,
    /// Where that key is.
    pub custody: Option<Custody>,
    /// What was said of it.
    pub said: String,
    /// The server that seals.
    pub server: ReplicaId,
    /// How often this server has tried in vain.
    pub tries: u32,
    /// When it first did.
    pub since: Millis,
    /// When it last did.
    pub last_try: Millis,
    /// When it tries again; none while that is about to be known.
    pub next_try: Option<Millis>,
    /// When it told so. All these times are of its clock.
    pub told: Millis,
}
