//! One entry of the log, as it is stored.

use super::command::Command;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Millis, ReplicaId, RequestKey,
    version::{ClusterVersion, Understood},
};

/// One log entry: what one proposer had gathered when it proposed.
///
/// Stored in the log in canonical encoding, behind a byte with the version that a server has to
/// understand to read it: [`Entry::needs`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The proposer's clock. `apply` keeps time from running backwards.
    pub now: Millis,
    /// The proposer, so that only it answers its callers.
    pub proposer: ReplicaId,
    /// What is to be done, in order.
    pub members: Vec<Request>,
}

/// One request within an entry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Request {
    /// The client's key, under which the reply is kept; none for duties that may be repeated.
    pub key: Option<RequestKey>,
    /// Who asks: a user, a node or a server, from the TLS identity.
    pub actor: String,
    /// What is asked.
    pub command: Command,
}

impl Entry {
    /// The version that all of it is understood since.
    #[must_use]
    pub fn since(&self) -> ClusterVersion {
        let each = self.members.iter().map(|request| request.command.since());
        each.max().unwrap_or_default()
    }

    /// The version that a server has to understand to read a stored entry.
    #[must_use]
    pub fn needs(bytes: &[u8]) -> ClusterVersion {
        bytes.first().copied().map_or(ClusterVersion::FIRST, ClusterVersion)
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.since().0];
        self.serialize(&mut bytes).expect("writing to memory cannot fail");
        bytes
    }

    /// Reads the stored form, as a server does that understands so much.
    ///
    /// # Errors
    /// When the entry is newer than that, or the bytes are damaged.
    pub fn decode(bytes: &[u8], understands: Understood) -> Result<Self, EntryError> {
        let Some((_, rest)) = bytes.split_first() else {
            return Err(EntryError::Damaged("empty".into()));
        };
        let (needs, newest) = (Self::needs(bytes), understands.newest);
        if needs > newest {
            return Err(EntryError::Newer { needs, newest });
        }
        borsh::from_slice(rest).map_err(|fault| EntryError::Damaged(fault.to_string()))
    }
}

/// A log entry that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by another release.
    #[error(
        "it is of version {needs}, this server understands up to {newest}; start a newer release \
         of the server on the same directory"
    )]
    Newer {
        /// Its version.
        needs: ClusterVersion,
        /// The newest version that is understood.
        newest: ClusterVersion,
    },
    /// Not an entry.
    #[error("log entry is damaged: {0}; replace this server's disk by `assay cluster add`")]
    Damaged(String),
}
