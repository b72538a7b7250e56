//! Chunks of checkpoints over the wire: takes in, keeps under leases, gives out, copies.

use super::{channels::Channels, error, identity::Identity};
use domain::{
    Digest, LeaseId,
    chunks::{Chunk, Pin},
    limit,
};
use proto::{
    chunks as wire, convert,
    transfer::TransferError,
    v1::{
        ChunkPiece, ChunkPutReply, CopyReply, CopyRequest, FetchRequest, HoldsReply, HoldsRequest,
        KeepPart, KeepReply, LackingReply, LackingRequest, ListPart, ListRequest,
        chunks_server::Chunks,
    },
};
use registry::blob::chunks::{ChunkFault, ChunkStore, Form, Piece};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

/// The service of one server.
#[derive(Clone)]
pub struct ChunkService {
    store: ChunkStore,
    channels: Channels,
    /// KiB of chunks that may be in memory. Streams that get none are not read: their senders wait.
    room: Arc<Semaphore>,
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

fn fault(fault: &ChunkFault) -> Status {
    let why = fault.to_string();
    match fault {
        ChunkFault::Disk(_) => error::status("unavailable", why, "free space on that server", true),
        ChunkFault::Missing(_) | ChunkFault::NoList(_) => {
            error::status("not_found", why, "ask another server", true)
        }
        ChunkFault::List(_) => error::status("invalid", why, "send the list as it is kept", false),
        ChunkFault::Lacks { .. } => error::status("refused", why, "send them first", true),
        ChunkFault::Mismatch(_) | ChunkFault::Damaged(_) => {
            error::status("mismatch", why, "ask another server", true)
        }
    }
}

fn invalid(why: impl Into<String>) -> Status {
    error::status("invalid", why, "", false)
}

/// Who may put and keep: agents and servers. A user has no lease under which anything is kept, and may
/// read what is, as they may read every result.
fn check<T>(request: &Request<T>) -> Result<(), Status> {
    match Identity::of(request)? {
        Identity::Node(_) | Identity::Server(_) => Ok(()),
        user @ Identity::User(_) => Ok(user.node().map(drop)?),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChunkFault> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|why| error::status("internal", why.to_string(), "try again", true))?
        .map_err(|why| fault(&why))
}

/// A piece as it came, checked.
fn piece(wire: ChunkPiece) -> Result<Piece, ChunkFault> {
    let name: [u8; 32] = wire.name.as_ref().try_into().unwrap_or_default();
    let form = if wire.packed { Form::Zstd } else { Form::Raw };
    Piece::checked(domain::chunks::ChunkName(name), wire.len, form, wire.data)
}

fn to_wire(piece: &Piece) -> ChunkPiece {
    ChunkPiece {
        name: piece.name().0.to_vec().into(),
        len: piece.len(),
        packed: piece.form() == Form::Zstd,
        data: piece.data().clone(),
    }
}

impl ChunkService {
    /// Serves a store.
    #[must_use]
    pub fn new(store: ChunkStore, channels: Channels) -> Self {
        let room = Semaphore::new(kib(limit::CHUNKS_IN_FLIGHT.0) as usize);
        Self { store, channels, room: Arc::new(room) }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &ChunkStore {
        &self.store
    }

    /// Stores what comes, in batches.
    async fn take(&self, mut pieces: Streaming<ChunkPiece>) -> Result<u64, Status> {
        let mut stored = 0;
        let mut batch = Batch::default();
        // A batch that is being written while the next one comes.
        let mut writing: Option<tokio::task::JoinHandle<Result<u64, Status>>> = None;
        while let Some(wire) = pieces.message().await? {
            batch.add(&self.room, wire).await?;
            if batch.size >= limit::CHUNK_BATCH.0 {
                stored += join(writing.take()).await?;
                writing = Some(tokio::spawn(store(self.store.clone(), std::mem::take(&mut batch))));
            }
        }
        stored += join(writing).await?;
        stored += store(self.store.clone(), batch).await?;
        Ok(stored)
    }

    /// Copies a list with its chunks from another server.
    ///
    /// # Errors
    /// When that server lacks it or our disk fails.
    pub async fn copy_from(&self, list: Digest, by: Pin, from: &str) -> Result<(), Status> {
        let channel = self.channels.to(from).map_err(|why| invalid(why.to_string()))?;
        let later =
            |why: TransferError| error::status("unavailable", why.to_string(), "try again", true);
        let bytes = wire::list(&channel, list).await.map_err(later)?;
        let manifest = domain::chunks::ChunkManifest::decode(&bytes)
            .map_err(|why| fault(&ChunkFault::List(why)))?;
        let wanted: Vec<Chunk> = manifest.chunks().copied().collect();
        for part in wanted.chunks(limit::CHUNK_NAMES_MAX) {
            self.fetch_from(&channel, part).await?;
        }
        let keeper = self.store.clone();
        blocking(move || keeper.keep(&bytes, by)).await?;
        Ok(())
    }

    async fn fetch_from(&self, channel: &Channel, wanted: &[Chunk]) -> Result<(), Status> {
        let names: Vec<_> = wanted.iter().map(|chunk| chunk.name).collect();
        let lacking = self.store.lacking(&names);
        let lacks = wanted.iter().zip(lacking).filter(|(_, lacks)| *lacks);
        let lacks: Vec<Chunk> = lacks.map(|(chunk, _)| *chunk).collect();
        if lacks.is_empty() {
            return Ok(());
        }
        let pieces = wire::fetch(channel, &lacks).await;
        let pieces = pieces
            .map_err(|why| error::status("unavailable", why.to_string(), "try again", true))?;
        self.take(pieces).await.map(drop)
    }
}

async fn join(
    writing: Option<tokio::task::JoinHandle<Result<u64, Status>>>,
) -> Result<u64, Status> {
    let Some(writing) = writing else { return Ok(0) };
    writing.await.map_err(|why| error::status("internal", why.to_string(), "try again", true))?
}

async fn store(store: ChunkStore, batch: Batch) -> Result<u64, Status> {
    blocking(move || {
        let pieces: Result<Vec<_>, _> = batch.pieces.into_iter().map(piece).collect();
        let stored = store.put(&pieces?);
        drop(batch.held);
        stored
    })
    .await
}

/// Pieces that came, and the memory that they were granted.
#[derive(Default)]
struct Batch {
    pieces: Vec<ChunkPiece>,
    size: u64,
    held: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    async fn add(&mut self, room: &Arc<Semaphore>, wire: ChunkPiece) -> Result<(), Status> {
        let size = wire.data.len() as u64;
        if size > limit::CHUNK_MAX.0 || u64::from(wire.len) > limit::CHUNK_MAX.0 {
            return Err(invalid(format!("a chunk of {} bytes is too long", wire.len)));
        }
        let granted = Arc::clone(room).acquire_many_owned(kib(size).max(1)).await;
        self.held.extend(granted);
        self.size += size;
        self.pieces.push(wire);
        Ok(())
    }
}

#[tonic::async_trait]
impl Chunks for ChunkService {
    async fn lacking(
        &self,
        request: Request<LackingRequest>,
    ) -> Result<Response<LackingReply>, Status> {
        check(&request)?;
        let names = wire::unpack(&request.into_inner().names);
        let names = names.ok_or_else(|| invalid("give at most 4096 names of 32 bytes"))?;
        Ok(Response::new(LackingReply { lacking: self.store.lacking(&names) }))
    }

    async fn put(
        &self,
        request: Request<Streaming<ChunkPiece>>,
    ) -> Result<Response<ChunkPutReply>, Status> {
        check(&request)?;
        let stored_bytes = self.take(request.into_inner()).await?;
        Ok(Response::new(ChunkPutReply { stored_bytes }))
    }

    async fn keep(
        &self,
        request: Request<Streaming<KeepPart>>,
    ) -> Result<Response<KeepReply>, Status> {
        check(&request)?;
        let mut parts = request.into_inner();
        let mut list = Vec::new();
        let mut by = Pin { lease: LeaseId { index: 0, ordinal: 0 }, step: 0 };
        while let Some(part) = parts.message().await? {
            if list.is_empty() {
                let lease = LeaseId { index: part.lease_index, ordinal: part.lease_ordinal };
                by = Pin { lease, step: part.step };
            }
            if (list.len() + part.data.len()) as u64 > limit::CHUNK_LIST_MAX.0 {
                return Err(invalid("the list of chunks is longer than 64 MiB"));
            }
            list.extend_from_slice(&part.data);
        }
        let store = self.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.keep(&list, by)).await;
        let kept =
            kept.map_err(|why| error::status("internal", why.to_string(), "try again", true))?;
        match kept {
            Ok(_) => Ok(Response::new(KeepReply { lacking: 0 })),
            Err(ChunkFault::Lacks { count, .. }) => {
                Ok(Response::new(KeepReply { lacking: count as u64 }))
            }
            Err(why) => Err(fault(&why)),
        }
    }

    async fn holds(&self, request: Request<HoldsRequest>) -> Result<Response<HoldsReply>, Status> {
        check(&request)?;
        let mut holds = Vec::new();
        for bytes in request.into_inner().lists {
            let list = convert::digest("lists", &bytes).map_err(|why| invalid(why.to_string()))?;
            holds.push(self.store.holds(&list));
        }
        Ok(Response::new(HoldsReply { holds }))
    }

    type ListStream = ReceiverStream<Result<ListPart, Status>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        Identity::of(&request)?;
        let list = convert::digest("list", &request.into_inner().list)
            .map_err(|why| invalid(why.to_string()))?;
        let store = self.store.clone();
        let bytes = bytes::Bytes::from(blocking(move || store.list(&list)).await?);
        let (out, parts) = mpsc::channel(wire::PIECES_AHEAD);
        tokio::spawn(async move {
            let mut rest = bytes;
            while !rest.is_empty() {
                let data = rest.split_to(rest.len().min(limit::BLOB_CHUNK.0 as usize));
                if out.send(Ok(ListPart { data })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    type FetchStream = ReceiverStream<Result<ChunkPiece, Status>>;

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        Identity::of(&request)?;
        let FetchRequest { names, lens } = request.into_inner();
        let names = wire::unpack(&names).filter(|names| names.len() == lens.len());
        let names = names.ok_or_else(|| invalid("give at most 4096 names with their lengths"))?;
        let wanted = names.into_iter().zip(lens).map(|(name, len)| Chunk { name, len });
        let wanted: Vec<Chunk> = wanted.collect();
        let (out, pieces) = mpsc::channel(wire::PIECES_AHEAD);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let mut left = wanted.as_slice();
            while !left.is_empty() {
                let run = match store.read_run(left) {
                    Ok(run) => run,
                    Err(why) => {
                        let _ = out.blocking_send(Err(fault(&why)));
                        return;
                    }
                };
                left = &left[run.len()..];
                for piece in &run {
                    if out.blocking_send(Ok(to_wire(piece))).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(pieces)))
    }

    async fn copy(&self, request: Request<CopyRequest>) -> Result<Response<CopyReply>, Status> {
        Identity::of(&request)?.server()?;
        let CopyRequest { list, lease_index, lease_ordinal, from, step } = request.into_inner();
        let list = convert::digest("list", &list).map_err(|why| invalid(why.to_string()))?;
        let lease = LeaseId { index: lease_index, ordinal: lease_ordinal };
        if !self.store.holds(&list) {
            self.copy_from(list, Pin { lease, step }, &from).await?;
        }
        Ok(Response::new(CopyReply {}))
    }
}
