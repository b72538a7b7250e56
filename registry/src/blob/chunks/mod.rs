//! Chunks of checkpoints: stored once however many checkpoints share them, many with one fsync.
//!
//! What is here is named by a list of chunks that a lease has put here, or it goes. Nothing else
//! is: results, code and data sets are blobs. Source: ADR-0027, ADR-0028.

mod batch;
mod cut;
mod direct;
mod piece;
mod sort;
mod store;
mod sweep;

pub use cut::{Block, Cutter};
pub use piece::{Effort, Form, Piece};
pub use store::{ChunkStore, Figures};
pub use sweep::Pinned;

use super::local::BlobError;
use domain::{
    Digest,
    chunks::{ChunkError, ChunkName},
};

/// A chunk, or a list of chunks, that cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkFault {
    /// The disk failed or is full.
    #[error(transparent)]
    Disk(#[from] BlobError),
    /// A chunk is not here.
    #[error("chunk {0} is not on this server; another may have it")]
    Missing(ChunkName),
    /// A list is not here.
    #[error("the checkpoint stored as {0} is not on this server; another may have it")]
    NoList(Digest),
    /// The bytes are not those of the name.
    #[error("chunk {0} came with other bytes; nothing was stored, send it again")]
    Mismatch(ChunkName),
    /// The stored bytes have changed.
    #[error(
        "chunk {0} is damaged on this server's disk and given up; fetch it from another server"
    )]
    Damaged(ChunkName),
    /// Not a list of chunks.
    #[error(transparent)]
    List(#[from] ChunkError),
    /// A list names chunks that are not here.
    #[error("{count} chunks of the checkpoint are not here, the first is {first}; send them first")]
    Lacks {
        /// One of them.
        first: ChunkName,
        /// How many.
        count: usize,
    },
}
