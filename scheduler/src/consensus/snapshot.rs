//! Snapshots on their way: pages of rows, compressed, each with its digest.

use super::{Store, StoreError, store::Checkpointed, transport::Transport};
use bytes::Bytes;
use domain::{Digest, ReplicaId, limit, port::Row};
use proto::v1::{SnapshotChunk, peer_client::PeerClient};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of rows in one chunk, before compression.
const PAGE: usize = 1 << 20;
/// Largest page after decompression: one row may exceed the page.
const PAGE_MAX: usize = PAGE + limit::PROPOSAL_MAX.0 as usize;
/// Chunks that wait for the network.
const AHEAD: usize = 4;
const LEVEL: i32 = 1;

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
    /// The receiver's replica did not take it.
    #[error("the snapshot was received and is not wanted any more")]
    Unwanted,
}

/// Streams a frozen store to `to`, and waits until it counts there.
pub(super) async fn send(
    transport: &Transport,
    to: ReplicaId,
    message: Bytes,
    checkpoint: Arc<Checkpointed>,
) -> Result<(), SnapshotError> {
    let channel = transport.channel(to).ok_or(SnapshotError::Unlinked(to))?;
    let (chunks, stream) = mpsc::channel(AHEAD);
    let head = SnapshotChunk {
        from: transport.me().0,
        to: to.0,
        cluster: transport.cluster().to_owned(),
        index: checkpoint.mark().applied.index,
        term: checkpoint.mark().applied.term,
        ..SnapshotChunk::default()
    };
    let feed = tokio::task::spawn_blocking(move || feed(&checkpoint, &head, &message, &chunks));
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let sent = client.snapshot(ReceiverStream::new(stream)).await;
    let fed = feed.await.map_err(|_| SnapshotError::Unwanted)?;
    fed?;
    sent?;
    Ok(())
}

fn feed(
    checkpoint: &Checkpointed,
    head: &SnapshotChunk,
    message: &Bytes,
    chunks: &mpsc::Sender<SnapshotChunk>,
) -> Result<(), SnapshotError> {
    let mut from = Vec::new();
    for seq in 0.. {
        let page = checkpoint.page(&from, PAGE)?;
        let last = page.is_empty();
        if let Some((key, _)) = page.last() {
            from.clone_from(key);
            from.push(0);
        }
        let bytes = borsh::to_vec(&page).expect("writing to memory cannot fail");
        let zstd = zstd::bulk::compress(&bytes, LEVEL).expect("memory holds a page");
        let chunk = SnapshotChunk {
            meta: if seq == 0 { message.clone() } else { Bytes::new() },
            seq,
            sha256: Digest::of(&zstd).0.to_vec().into(),
            zstd: zstd.into(),
            last,
            ..head.clone()
        };
        if chunks.blocking_send(chunk).is_err() || last {
            // The call has ended; its result says why.
            break;
        }
    }
    Ok(())
}

/// A snapshot that is coming in.
pub struct Incoming {
    store: Store,
    family: u64,
    next: u64,
    message: Bytes,
    whole: bool,
}

impl Incoming {
    /// Makes a family to receive into.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn begin(store: Store) -> Result<Self, SnapshotError> {
        let family = store.create_family()?;
        Ok(Self { store, family, next: 0, message: Bytes::new(), whole: false })
    }

    /// Takes the next chunk; true when it was the last.
    ///
    /// # Errors
    /// When the chunk is damaged or not the next one.
    pub fn take(&mut self, chunk: SnapshotChunk) -> Result<bool, SnapshotError> {
        let fault = |fault| SnapshotError::Chunk { seq: chunk.seq, fault };
        if chunk.seq != self.next {
            return Err(fault("is not the next one"));
        }
        if Digest::of(&chunk.zstd).0[..] != chunk.sha256[..] {
            return Err(fault("has another digest than announced"));
        }
        let bytes = zstd::bulk::decompress(&chunk.zstd, 2 * PAGE_MAX)
            .map_err(|_| fault("cannot be decompressed"))?;
        let rows: Vec<Row> = borsh::from_slice(&bytes).map_err(|_| fault("holds no rows"))?;
        self.store.fill(self.family, &rows)?;
        if chunk.seq == 0 {
            self.message = chunk.meta;
        }
        self.next += 1;
        if chunk.last {
            self.store.seal_family(self.family)?;
            self.whole = true;
        }
        Ok(chunk.last)
    }

    /// The message for the replica and the family with the rows, once the last chunk has come.
    #[must_use]
    pub fn finish(mut self) -> Option<(Bytes, u64)> {
        let whole = std::mem::take(&mut self.whole);
        let result = whole.then(|| (self.message.clone(), self.family));
        if result.is_some() {
            // The replica decides over the family from here on.
            self.family = u64::MAX;
        }
        result
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.family != u64::MAX {
            // What cannot be dropped takes space and does no other harm.
            let _ = self.store.drop_family(self.family);
        }
    }
}
