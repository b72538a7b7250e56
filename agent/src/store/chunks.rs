//! Where checkpoints' chunks are kept, as the agent sees it.

use bytes::Bytes;
use domain::{
    Digest,
    chunks::{Chunk, ChunkName, Pin},
};
use registry::blob::chunks::Piece;
use std::future::Future;
use tokio::sync::mpsc;

/// Why a place did not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceFault {
    /// It does not answer, or cannot now.
    #[error("{0}")]
    Silent(String),
    /// It says no, and would again.
    #[error("{0}")]
    Refused(String),
}

/// One place that keeps chunks: a server.
pub trait ChunkPlace: Clone + Send + Sync + 'static {
    /// Which of these it lacks, each answered in its place.
    fn lacking(
        &self,
        names: &[ChunkName],
    ) -> impl Future<Output = Result<Vec<bool>, PlaceFault>> + Send;

    /// Stores chunks; returns when they are durable there.
    fn put(&self, pieces: Vec<Piece>) -> impl Future<Output = Result<(), PlaceFault>> + Send;

    /// Keeps a list for an attempt. Returns how many of its chunks the place lacks; none means that
    /// it is kept, and durable.
    fn keep(&self, by: Pin, list: Bytes) -> impl Future<Output = Result<u64, PlaceFault>> + Send;

    /// A list's stored form, verified.
    fn list(&self, list: Digest) -> impl Future<Output = Result<Vec<u8>, PlaceFault>> + Send;

    /// Gives chunks out in the order in which they are named, each verified.
    fn fetch(
        &self,
        wanted: Vec<Chunk>,
        out: mpsc::Sender<Piece>,
    ) -> impl Future<Output = Result<(), PlaceFault>> + Send;
}

/// All places that keep chunks.
pub trait Chunks: Send + Sync + 'static {
    /// One of them.
    type Place: ChunkPlace;

    /// They, in the order in which this node uses them.
    fn places(&self) -> Vec<Self::Place>;

    /// How many must keep a checkpoint before it counts.
    fn copies(&self) -> usize;
}
