//! The keys that sign on behalf of the cluster, with the times at which their word counts.

use crate::unit::Millis;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a key signs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// Seals: models and provenance. ECDSA P-256.
    Model,
    /// Audit events and heads of the transparency log. Ed25519.
    Event,
}

/// Where the private half of a key is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Custody {
    /// In a file that servers read: for development.
    Local,
    /// In a hardware security module.
    Pkcs11,
    /// In AWS KMS.
    Kms,
    /// Behind the platform's signing proxy.
    Proxy,
}

impl fmt::Display for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Pkcs11 => "pkcs11",
            Self::Kms => "kms",
            Self::Proxy => "proxy",
        })
    }
}

/// That a key's word no longer counts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct KeyRevocation {
    /// From when on, by the log's clock. What was signed before still counts.
    pub since: Millis,
    /// When it was said.
    pub at: Millis,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// One public key with its history.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its id: the hint in `model.sig`, or the signer that events name.
    pub kid: String,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// SPKI in PEM, with LF and a trailing newline.
    pub public_pem: String,
    /// Where its private half is.
    pub custody: Custody,
    /// When a server first showed that it can sign with it.
    pub introduced: Millis,
    /// From when on its word counts; none while it stands by.
    pub from: Option<Millis>,
    /// Until when, if that is known.
    pub until: Option<Millis>,
    /// That it was revoked.
    pub revoked: Option<KeyRevocation>,
    /// An event key's delegation by a model key: a DSSE envelope.
    pub delegation: Option<String>,
}

/// Why a key's word does not count at a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Never put into use.
    #[error("it stands by and was never put into use")]
    Standby,
    /// Too early.
    #[error("it counts from {0} ms on")]
    Early(u64),
    /// Too late.
    #[error("its time was over at {0} ms")]
    Expired(u64),
    /// Revoked.
    #[error("it was revoked, for what was signed from {since} ms on: {reason}")]
    Revoked {
        /// From when on. Unit: ms since the Unix epoch.
        since: u64,
        /// Why.
        reason: String,
    },
}

impl SigningKey {
    /// Whether what it signed at this time counts.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, at: Millis) -> Result<(), KeyFault> {
        if let Some(revoked) = &self.revoked
            && at >= revoked.since
        {
            let reason = revoked.reason.clone();
            return Err(KeyFault::Revoked { since: revoked.since.0, reason });
        }
        match (self.from, self.until) {
            (None, _) => Err(KeyFault::Standby),
            (Some(from), _) if at < from => Err(KeyFault::Early(from.0)),
            (_, Some(until)) if at >= until => Err(KeyFault::Expired(until.0)),
            (Some(_), _) => Ok(()),
        }
    }

    /// One word for a list.
    #[must_use]
    pub fn state(&self, now: Millis) -> &'static str {
        match self.check(now) {
            Ok(()) => "valid",
            Err(KeyFault::Standby | KeyFault::Early(_)) => "standby",
            Err(KeyFault::Expired(_)) => "expired",
            Err(KeyFault::Revoked { .. }) => "revoked",
        }
    }
}

/// What a server says of itself when a model key delegates to its event key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Delegation {
    /// The cluster.
    pub cluster: String,
    /// Id of the model key that signs this.
    pub by: String,
    /// The event key's id.
    pub kid: String,
    /// The Ed25519 public key.
    pub public: [u8; 32],
    /// From when on it signs, by the server's clock.
    pub from: Millis,
    /// Until when; none for a key that is replaced by hand.
    pub until: Option<Millis>,
}

/// All keys, as one document: what `assay key list --json` prints and `--keys` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysView {
    /// The model key that seals now.
    pub active: Option<String>,
    /// The cluster's authority, which vouches for its nodes: certificates in PEM.
    #[serde(default)]
    pub authority: String,
    /// Every key that ever signed, and those that stand by.
    pub keys: Vec<SigningKey>,
    /// The log's clock when this was read.
    pub now: Millis,
}

impl KeysView {
    /// The key of this id.
    #[must_use]
    pub fn of(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from: Option<u64>, until: Option<u64>) -> SigningKey {
        SigningKey {
            kid: "k".into(),
            purpose: KeyPurpose::Model,
            public_pem: String::new(),
            custody: Custody::Kms,
            introduced: Millis(1),
            from: from.map(Millis),
            until: until.map(Millis),
            revoked: None,
            delegation: None,
        }
    }

    #[test]
    fn a_key_counts_from_its_first_moment_to_just_before_its_last() {
        let key = key(Some(10), Some(20));
        let at = |at| key.check(Millis(at));
        assert_eq!(at(9), Err(KeyFault::Early(10)));
        assert_eq!((at(10), at(19)), (Ok(()), Ok(())));
        assert_eq!(at(20), Err(KeyFault::Expired(20)));
    }

    #[test]
    fn a_revoked_key_keeps_its_word_of_before_and_a_key_that_stands_by_has_none() {
        let mut revoked = key(Some(10), None);
        let (at, by, reason) = (Millis(50), "ada".to_owned(), "lost".to_owned());
        revoked.revoked = Some(KeyRevocation { since: Millis(30), at, by, reason });
        assert_eq!(revoked.check(Millis(29)), Ok(()));
        assert!(matches!(revoked.check(Millis(30)), Err(KeyFault::Revoked { since: 30, .. })));
        assert_eq!(
            (revoked.state(Millis(60)), key(None, None).state(Millis(60))),
            ("revoked", "standby")
        );
    }
}
