//! Snapshots on their way: pages of a frozen store, compressed, each with its digest.
//!
//! A snapshot that is cut off is sent again from the start: it is built anew anyway, because the
//! log that would have to follow an old one is soon compacted. Memory is bounded by a few pages
//! on either side.

use super::{
    replica::Received,
    store::{Checkpointed, Store, StoreError},
    transport::Transport,
};
use bytes::Bytes;
use domain::{Digest, ReplicaId, limit, port::Row, scratch::SetHash};
use proto::v1::{SnapshotChunk, peer_client::PeerClient};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of rows in one chunk, before compression; the last row may exceed it.
const PAGE: usize = limit::BLOB_CHUNK.0 as usize;
/// Largest page after decompression.
const PAGE_MAX: usize = 4 * limit::WIRE_MESSAGE_MAX.0 as usize;
/// Chunks that wait for the network.
const AHEAD: usize = 4;
/// zstd's fastest ordinary level: rows are small and repetitive.
const LEVEL: i32 = 1;
/// Longest wait for the network to take a chunk.
const PATIENCE: Duration = Duration::from_secs(60);

/// A snapshot that did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The receiver is not a member, or its address is unknown.
    #[error("{0} is not linked")]
    Unlinked(ReplicaId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The link broke, or the receiver refused.
    #[error("{}", .0.message())]
    Wire(#[from] tonic::Status),
    /// A chunk is damaged, or not the next one.
    #[error("chunk {seq} of the snapshot {fault}; it is sent again from the start")]
    Chunk {
        /// Its number.
        seq: u64,
        /// What is wrong.
        fault: &'static str,
    },
    /// Nothing moved for too long.
    #[error("the snapshot has not moved for {} s; it is sent again from the start", PATIENCE.as_secs())]
    Stuck,
    /// The receiver's replica did not take it.
    #[error("the snapshot was received and is not wanted any more")]
    Unwanted,
    /// A thread that worked on it failed.
    #[error("the snapshot could not be packed: {0}")]
    Pack(String),
}

/// Streams a frozen store to `to`, and waits until it counts there.
pub(super) async fn send(
    transport: &Transport,
    to: ReplicaId,
    message: Bytes,
    copy: Checkpointed,
) -> Result<(), SnapshotError> {
    let channel = transport.channel(to).ok_or(SnapshotError::Unlinked(to))?;
    let head = SnapshotChunk {
        from: transport.me().0,
        to: to.0,
        cluster: transport.cluster().to_owned(),
        index: copy.mark().applied.index,
        term: copy.mark().applied.term,
        meta: message,
        ..SnapshotChunk::default()
    };
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let (chunks, stream) = mpsc::channel(AHEAD);
    let call = client.snapshot(ReceiverStream::new(stream));
    let (fed, answered) = futures::future::join(feed(copy, head, chunks), call).await;
    // The call's fault says more than that of the feed which it cut off.
    answered?;
    fed
}

/// Packs page after page as fast as the network takes them.
async fn feed(
    copy: Checkpointed,
    mut head: SnapshotChunk,
    chunks: mpsc::Sender<SnapshotChunk>,
) -> Result<(), SnapshotError> {
    let copy = Arc::new(copy);
    let mut from = Vec::new();
    loop {
        let frozen = Arc::clone(&copy);
        let packed = tokio::task::spawn_blocking(move || pack(&frozen, from)).await;
        let page = packed.map_err(|fault| SnapshotError::Pack(fault.to_string()))??;
        let last = page.next.is_none();
        let chunk = SnapshotChunk {
            sha256: Bytes::copy_from_slice(&Digest::of(&page.zstd).0),
            zstd: page.zstd.into(),
            last,
            ..head.clone()
        };
        match tokio::time::timeout(PATIENCE, chunks.send(chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(SnapshotError::Unwanted),
            Err(_) => return Err(SnapshotError::Stuck),
        }
        let Some(next) = page.next else { return Ok(()) };
        from = next;
        head.seq += 1;
        head.meta = Bytes::new();
    }
}

/// A compressed page, and where the next begins.
pub(crate) struct Page {
    pub(crate) zstd: Vec<u8>,
    pub(crate) next: Option<Vec<u8>>,
}

/// The page of a frozen store's rows that begins at a key.
pub(crate) fn pack(copy: &Checkpointed, from: Vec<u8>) -> Result<Page, SnapshotError> {
    let rows = copy.page(&from, PAGE)?;
    let next = rows.last().map(|(key, _)| [key.as_slice(), &[0]].concat());
    let bytes = borsh::to_vec(&rows).expect("writing to memory cannot fail");
    let zstd = zstd::bulk::compress(&bytes, LEVEL)
        .map_err(|fault| SnapshotError::Pack(fault.to_string()))?;
    Ok(Page { zstd, next })
}

/// A snapshot that is coming in. Dropped before its end, it leaves nothing.
pub struct Incoming {
    store: Store,
    family: Option<u64>,
    next: u64,
    message: Bytes,
    hash: SetHash,
    whole: bool,
}

impl Incoming {
    /// Makes a family to receive into.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn begin(store: Store) -> Result<Self, SnapshotError> {
        let family = Some(store.create_family()?);
        let (message, hash) = (Bytes::new(), SetHash::default());
        Ok(Self { store, family, next: 0, message, hash, whole: false })
    }

    /// Takes the next chunk; true when it was the last.
    ///
    /// # Errors
    /// When the chunk is damaged or not the next one.
    pub fn take(&mut self, chunk: SnapshotChunk) -> Result<bool, SnapshotError> {
        let fault = |fault| SnapshotError::Chunk { seq: chunk.seq, fault };
        let Some(family) = self.family.filter(|_| !self.whole && chunk.seq == self.next) else {
            return Err(fault("is not the next one"));
        };
        if Digest::of(&chunk.zstd).0[..] != chunk.sha256[..] {
            return Err(fault("has another digest than announced"));
        }
        let bytes = zstd::bulk::decompress(&chunk.zstd, PAGE_MAX)
            .map_err(|_| fault("cannot be decompressed"))?;
        let rows: Vec<Row> = borsh::from_slice(&bytes).map_err(|_| fault("holds no rows"))?;
        self.store.fill(family, &rows)?;
        rows.iter().for_each(|(key, value)| self.hash.add(key, value));
        if chunk.seq == 0 {
            self.message = chunk.meta;
        }
        self.next += 1;
        if chunk.last {
            self.store.seal_family(family)?;
            self.whole = true;
        }
        Ok(chunk.last)
    }

    /// The message for the replica and where the rows are, once the last chunk has come.
    #[must_use]
    pub fn finish(mut self) -> Option<(Bytes, Received)> {
        let family = self.family.take_if(|_| self.whole)?;
        let received = Received { family, digest: self.hash.digest() };
        Some((std::mem::take(&mut self.message), received))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(family) = self.family {
            // What cannot be dropped now is dropped at the next start.
            let _ = self.store.drop_family(family);
        }
    }
}
