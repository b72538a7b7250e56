//! Bytes between this node and the servers: what comes is verified, what goes is kept twice.

pub mod ahead;
pub mod beside;
mod cache;
mod chunk_servers;
pub mod chunks;
mod describe;
pub mod meter;
mod pour;
pub mod restore;
mod scan;
pub mod seal;
#[cfg(test)]
mod seal_test;
mod servers;

#[cfg(test)]
pub mod memory;

pub use cache::{Cache, CacheError, is_full};
pub(crate) use servers::channel;
pub use servers::{Servers, Tls};

use domain::{Digest, tree::TreeError};
use std::{fs, future::Future, io, path::PathBuf};

/// A blob that is to go to the servers.
#[derive(Clone, Debug)]
pub enum Blob {
    /// In memory.
    Bytes {
        /// Its digest.
        digest: Digest,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// In a file that no longer changes.
    File {
        /// Its digest.
        digest: Digest,
        /// Its length.
        size: u64,
        /// Where it is.
        path: PathBuf,
        /// Whether all of it was read for the digest, as it stands there. If not, it goes to servers
        /// that have such a blob, too: they compare.
        sure: bool,
    },
}

impl Blob {
    /// A blob in memory.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes { digest: Digest::of(&bytes), bytes }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Bytes { digest, .. } | Self::File { digest, .. } => *digest,
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes { bytes, .. } => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// A transfer that cannot succeed by trying again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Every server answered that it lacks the blob or holds a damaged copy.
    #[error("blob {digest} is on no server: {why}; submit the job again to upload it")]
    Lost {
        /// The blob.
        digest: Digest,
        /// The last server's answer.
        why: String,
    },
    /// A local file cannot be read or written.
    #[error("local file: {0}")]
    Local(#[from] io::Error),
    /// The bytes of a file are no longer those that were hashed.
    #[error("{0}")]
    Changed(String),
    /// A blob that should be a tree is none.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Where blobs are kept.
///
/// Calls wait for servers that do not answer; their caller gives up by dropping them.
pub trait Blobs: Send + Sync + 'static {
    /// Writes a blob to `into` and verifies it. Returns its length.
    fn get(
        &self,
        digest: Digest,
        into: fs::File,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Keeps blobs on as many servers as a blob needs; returns when they are durable there.
    fn put(&self, blobs: Vec<Blob>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Where both blobs and chunks are kept.
pub trait Stores: Blobs + chunks::Chunks {}

impl<T: Blobs + chunks::Chunks> Stores for T {}
