//! What a backup is made of: the rows at an index, and the names of the blobs that are held.

use super::{context::wall_clock, error, identity::Identity, query::unreadable};
use crate::{
    consensus::{shell::Node, snapshot, store::Checkpointed},
    state::Cluster,
};
use domain::{Digest, LogIndex};
use proto::v1::{
    CheckpointsReply, HeldCheckpoint, HeldReply, HeldRequest, RowsMark, RowsPart, RowsRequest,
    backups_server::Backups,
};
use registry::blob::{chunks::ChunkStore, local::BlobStore};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Blobs named in one reply.
const PAGE: usize = 4_096;
/// Pages that wait for the network.
const AHEAD: usize = 4;
/// Longest wait for the network to take a page.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long and how often the disk is waited for to have what is applied.
const WRITTEN: (Duration, u32) = (Duration::from_millis(50), 200);
/// Backups that are read at the same time: each holds files of the database that would else go.
const AT_ONCE: usize = 2;

/// The service of one server.
#[derive(Clone)]
pub struct BackupService {
    cluster: String,
    node: Node<Cluster>,
    blobs: BlobStore,
    chunks: ChunkStore,
    turns: Arc<Semaphore>,
    read: Arc<Mutex<Option<Instant>>>,
}

impl BackupService {
    /// A service of this server's replica and stores.
    #[must_use]
    pub fn new(
        cluster: String,
        node: Node<Cluster>,
        (blobs, chunks): (BlobStore, ChunkStore),
    ) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { cluster, node, blobs, chunks, turns, read: Arc::default() }
    }

    fn begun(&self) {
        *self.read.lock().expect("no holder of this lock can panic") = Some(Instant::now());
    }

    /// Whether a backup was begun within this time: it may still read what it was told of.
    #[must_use]
    pub fn read_within(&self, time: Duration) -> bool {
        let read = *self.read.lock().expect("no holder of this lock can panic");
        read.is_some_and(|at| at.elapsed() < time)
    }

    /// A frozen copy that holds all that was acknowledged before now.
    async fn freeze(&self) -> Result<Checkpointed, Status> {
        let read = self.node.read(|cluster, _| cluster.view().applied()).await;
        let LogIndex(applied) = read.map_err(|fault| unreadable(&fault))?;
        for _ in 0..WRITTEN.1 {
            let store = self.node.store().clone();
            let copy = tokio::task::spawn_blocking(move || store.checkpoint()).await;
            let copy = copy.map_err(|why| internal(&why))?.map_err(|why| internal(&why))?;
            if copy.mark().applied.index >= applied {
                return Ok(copy);
            }
            tokio::time::sleep(WRITTEN.0).await;
        }
        let why = format!("entry {applied} is applied here and not yet on the disk");
        Err(error::status("unavailable", why, "try again, or ask another server", true))
    }
}

fn internal(why: &impl ToString) -> Status {
    error::status("internal", why.to_string(), "ask another server", true)
}

async fn feed(
    copy: Checkpointed,
    mark: RowsMark,
    out: mpsc::Sender<Result<RowsPart, Status>>,
) -> Result<(), Status> {
    let copy = Arc::new(copy);
    let (mut from, mut mark) = (Some(Vec::new()), Some(mark));
    while let Some(first) = from {
        let frozen = Arc::clone(&copy);
        let packed = tokio::task::spawn_blocking(move || snapshot::pack(&frozen, first)).await;
        let page = packed.map_err(|why| internal(&why))?.map_err(|why| internal(&why))?;
        from = page.next;
        let last = from.is_none();
        send(&out, RowsPart { zstd: page.zstd.into(), mark: mark.take(), last }).await?;
    }
    Ok(())
}

async fn send(out: &mpsc::Sender<Result<RowsPart, Status>>, part: RowsPart) -> Result<(), Status> {
    match tokio::time::timeout(PATIENCE, out.send(Ok(part))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(error::status("unavailable", "nobody listens any more", "", true)),
        Err(_) => {
            let why = format!("nothing has moved for {} s", PATIENCE.as_secs());
            Err(error::status("unavailable", why, "take the backup again", true))
        }
    }
}

#[tonic::async_trait]
impl Backups for BackupService {
    type RowsStream = ReceiverStream<Result<RowsPart, Status>>;

    async fn rows(
        &self,
        request: Request<RowsRequest>,
    ) -> Result<Response<Self::RowsStream>, Status> {
        Identity::of(&request)?.user()?;
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            let why = format!("{AT_ONCE} backups are being read from this server");
            return Err(error::status("busy", why, "wait for one to end", true));
        };
        self.begun();
        let copy = self.freeze().await?;
        let applied = copy.mark().applied;
        let mark = RowsMark {
            cluster: self.cluster.clone(),
            log_index: applied.index,
            log_term: applied.term,
            state: applied.digest.map_or_else(Vec::new, |digest| digest.0.to_vec()).into(),
            time_ms: wall_clock().0,
        };
        let (out, parts) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            if let Err(fault) = feed(copy, mark, out.clone()).await {
                // Who has gone away needs no reason.
                let _ = tokio::time::timeout(PATIENCE, out.send(Err(fault))).await;
            }
            drop(turn);
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    async fn held(&self, request: Request<HeldRequest>) -> Result<Response<HeldReply>, Status> {
        Identity::of(&request)?.user()?;
        self.begun();
        let after = after(&request.into_inner())?;
        let blobs = self.blobs.clone();
        let found = tokio::task::spawn_blocking(move || blobs.held(after, PAGE)).await;
        let found = found.map_err(|why| internal(&why))?.map_err(|why| internal(&why))?;
        let digests = found.into_iter().map(|Digest(bytes)| bytes.to_vec().into()).collect();
        Ok(Response::new(HeldReply { digests }))
    }
    async fn checkpoints(
        &self,
        request: Request<HeldRequest>,
    ) -> Result<Response<CheckpointsReply>, Status> {
        Identity::of(&request)?.user()?;
        let page = self.chunks.pinned(after(&request.into_inner())?, PAGE);
        let held = page.into_iter().map(|(list, pins)| {
            // Whoever restores them needs one.
            let pin = pins.last();
            HeldCheckpoint {
                list: list.0.to_vec().into(),
                lease_index: pin.map_or(0, |pin| pin.lease.index),
                lease_ordinal: pin.map_or(0, |pin| pin.lease.ordinal),
                step: pin.map_or(0, |pin| pin.step),
            }
        });
        Ok(Response::new(CheckpointsReply { checkpoints: held.collect() }))
    }
}

/// The last of the page before.
fn after(request: &HeldRequest) -> Result<Option<Digest>, Status> {
    if request.after.is_empty() {
        return Ok(None);
    }
    proto::convert::digest("after", &request.after)
        .map(Some)
        .map_err(|why| error::status("invalid", why.to_string(), "", false))
}
