//! Bytes by digest over the wire: takes in, gives out, copies between servers.

use super::{channels::Channels, error, identity::Identity};
use domain::{Digest, ReplicaId, limit};
use proto::{
    convert, transfer,
    v1::{
        GetChunk, GetRequest, HaveReply, HaveRequest, PullReply, PullRequest, PutChunk, PutReply,
        blobs_server::Blobs,
    },
};
use registry::blob::local::{BlobError, BlobStore, BlobWriter};
use std::io::Read;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Blobs up to this size are written together, with one fsync for all that has gathered.
const SMALL: u64 = 64 << 10;
/// Chunks that wait for the disk, and puts that wait for the batch.
const QUEUE: usize = 8;
/// Small batches that wait for the writer.
const BATCHES: usize = 1_024;

type Small = (Vec<(Digest, Vec<u8>)>, oneshot::Sender<Result<(), String>>);

/// The service of one server.
#[derive(Clone)]
pub struct BlobService {
    me: ReplicaId,
    store: BlobStore,
    channels: Channels,
    small: mpsc::Sender<Small>,
}

fn fault(fault: &BlobError) -> Status {
    match fault {
        BlobError::DiskFull { .. } => {
            error::status("unavailable", fault.to_string(), "free space on that server", true)
        }
        BlobError::Away { .. } => {
            let hint = "try again; an admin looks at the store that is named";
            error::status("unavailable", fault.to_string(), hint, true)
        }
        _ => error::status("mismatch", fault.to_string(), "ask another server", false),
    }
}

impl BlobService {
    /// Starts the thread that writes small blobs.
    #[must_use]
    pub fn new(me: ReplicaId, store: BlobStore, channels: Channels) -> Self {
        let (small, batches) = mpsc::channel(BATCHES);
        let writer = store.clone();
        std::thread::spawn(move || write_small(&writer, batches));
        Self { me, store, channels, small }
    }

    /// Stores small blobs of this server's own, such as envelopes; returns when they are durable.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub async fn put_small(&self, blobs: Vec<(Digest, Vec<u8>)>) -> Result<(), Status> {
        let (done, wait) = oneshot::channel();
        let busy = || error::status("busy", "blob writer stopped", "try again", true);
        self.small.send((blobs, done)).await.map_err(|_| busy())?;
        let stored = wait.await.map_err(|_| busy())?;
        stored.map_err(|why| error::status("unavailable", why, "free space on the server", true))
    }

    /// Reads a blob of at most `max` bytes, on a thread that may wait for it.
    ///
    /// # Errors
    /// When it is not here, too long or damaged, or cannot be read now.
    pub async fn bytes(&self, digest: Digest, max: usize) -> Result<Vec<u8>, Status> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.read_bytes(&digest, max)).await;
        let read = read.map_err(|why| error::status("internal", why.to_string(), "again", true))?;
        read.map_err(|why| match why {
            BlobError::Away { .. } => fault(&why),
            _ => error::status("mismatch", why.to_string(), "see the message", true),
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &BlobStore {
        &self.store
    }

    async fn take(&self, mut chunks: Streaming<PutChunk>) -> Result<u64, Status> {
        let mut small = Vec::new();
        let mut stored = 0;
        let mut large: Option<Large> = None;
        while let Some(chunk) = chunks.message().await? {
            let digest = convert::digest("digest", &chunk.digest)
                .map_err(|fault| error::status("invalid", fault.to_string(), "", false))?;
            let whole = chunk.last && large.is_none();
            if whole && chunk.data.len() as u64 != chunk.size {
                return Err(length(digest, chunk.size, chunk.data.len() as u64));
            }
            if whole && chunk.size <= SMALL {
                small.push((digest, chunk.data.to_vec()));
                stored += 1;
                continue;
            }
            let open = match large.take() {
                Some(open) => open,
                None => Large::start(self.store.clone(), digest, chunk.size)?,
            };
            let (open, ended) = open.push(digest, chunk).await?;
            if ended {
                open.finish().await?;
                stored += 1;
            } else {
                large = Some(open);
            }
        }
        if let Some(open) = large {
            return Err(length(open.digest, open.size, open.received));
        }
        if !small.is_empty() {
            self.put_small(small).await?;
        }
        Ok(stored)
    }
}

fn length(digest: Digest, size: u64, got: u64) -> Status {
    let why = format!("blob {digest} was announced with {size} bytes and came with {got}");
    error::status("invalid", why, "send it again", true)
}

fn write_small(store: &BlobStore, mut batches: mpsc::Receiver<Small>) {
    while let Some((mut blobs, done)) = batches.blocking_recv() {
        let mut waiting = vec![done];
        while blobs.len() < BATCHES
            && let Ok((more, done)) = batches.try_recv()
        {
            blobs.extend(more);
            waiting.push(done);
        }
        let result = store.put_bytes(&blobs);
        let elsewhere = matches!(result, Err(BlobError::Away { .. }));
        if result.is_err() && !elsewhere && waiting.len() > 1 {
            // One bad blob must not fail its neighbours: the callers try again, alone.
            for done in waiting {
                let _ = done.send(Err("a neighbour's blob was damaged; send it again".into()));
            }
            continue;
        }
        let result = result.map_err(|fault| fault.to_string());
        for done in waiting {
            let _ = done.send(result.clone());
        }
    }
}

/// A large blob on its way to the disk.
struct Large {
    digest: Digest,
    size: u64,
    received: u64,
    feed: mpsc::Sender<bytes::Bytes>,
    writer: tokio::task::JoinHandle<Result<(), BlobError>>,
}

impl Large {
    fn start(store: BlobStore, digest: Digest, size: u64) -> Result<Self, Status> {
        let (feed, mut pieces) = mpsc::channel::<bytes::Bytes>(QUEUE);
        let mut writer: BlobWriter = store.writer(size).map_err(|why| fault(&why))?;
        let writer = tokio::task::spawn_blocking(move || {
            let mut received = 0;
            while let Some(piece) = pieces.blocking_recv() {
                received += piece.len() as u64;
                writer.write(&piece)?;
            }
            // A stream that broke off is dropped with its temporary file.
            if received == size { writer.finish(digest) } else { Ok(()) }
        });
        Ok(Self { digest, size, received: 0, feed, writer })
    }

    async fn push(mut self, digest: Digest, chunk: PutChunk) -> Result<(Self, bool), Status> {
        if digest != self.digest {
            return Err(length(self.digest, self.size, self.received));
        }
        self.received += chunk.data.len() as u64;
        if self.received > self.size || (chunk.last && self.received != self.size) {
            return Err(length(self.digest, self.size, self.received));
        }
        if self.feed.send(chunk.data).await.is_err() {
            // The writer has failed; its result says why.
            self.finish().await?;
            return Err(error::status(
                "internal",
                "the blob writer ended early",
                "send again",
                true,
            ));
        }
        Ok((self, chunk.last))
    }

    async fn finish(self) -> Result<(), Status> {
        drop(self.feed);
        let ended = self.writer.await;
        let result = ended
            .map_err(|why| error::status("internal", why.to_string(), "send it again", true))?;
        result.map_err(|why| fault(&why))
    }
}

#[tonic::async_trait]
impl Blobs for BlobService {
    async fn have(&self, request: Request<HaveRequest>) -> Result<Response<HaveReply>, Status> {
        Identity::of(&request)?;
        let mut have = Vec::new();
        for bytes in request.into_inner().digests {
            let digest = convert::digest("digests", &bytes)
                .map_err(|why| error::status("invalid", why.to_string(), "", false))?;
            have.push(self.store.has(&digest));
        }
        Ok(Response::new(HaveReply { have }))
    }

    async fn put(
        &self,
        request: Request<Streaming<PutChunk>>,
    ) -> Result<Response<PutReply>, Status> {
        Identity::of(&request)?;
        let stored = self.take(request.into_inner()).await?;
        Ok(Response::new(PutReply { server: self.me.0, stored }))
    }

    type GetStream = ReceiverStream<Result<GetChunk, Status>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        Identity::of(&request)?;
        let request = request.into_inner();
        let digest = convert::digest("digest", &request.digest)
            .map_err(|why| error::status("invalid", why.to_string(), "", false))?;
        if !self.store.is_here(&digest) {
            let why = format!("server r{} does not hold blob {digest}", self.me.0);
            return Err(error::status("not_found", why, "ask another server", true));
        }
        let mut reader = self.store.read(&digest).map_err(|why| fault(&why))?;
        let (out, chunks) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            if let Err(why) = send_from(&mut reader, request.offset, &out) {
                let _ = out.blocking_send(Err(why));
            }
        });
        Ok(Response::new(ReceiverStream::new(chunks)))
    }

    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<PullReply>, Status> {
        Identity::of(&request)?.server()?;
        let request = request.into_inner();
        let mut stored = 0;
        for bytes in &request.digests {
            let digest = convert::digest("digests", bytes)
                .map_err(|why| error::status("invalid", why.to_string(), "", false))?;
            if !self.store.has(&digest) {
                self.copy(digest, &request.from).await?;
                stored += 1;
            }
        }
        Ok(Response::new(PullReply { stored }))
    }
}

impl BlobService {
    /// Copies one blob from another server.
    ///
    /// # Errors
    /// When that server lacks it or our disk fails.
    pub async fn copy(&self, digest: Digest, from: &str) -> Result<(), Status> {
        let channel = self
            .channels
            .to(from)
            .map_err(|why| error::status("invalid", why.to_string(), "", false))?;
        let writer = self.store.writer(0).map_err(|why| fault(&why))?;
        let mut writer = Sink(writer);
        transfer::get(&channel, digest, &mut writer)
            .await
            .map_err(|why| error::status("unavailable", why.to_string(), "try again", true))?;
        let store = tokio::task::spawn_blocking(move || writer.0.finish(digest)).await;
        store
            .map_err(|why| error::status("internal", why.to_string(), "try again", true))?
            .map_err(|why| fault(&why))
    }
}

struct Sink(BlobWriter);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a blob from `offset` on into chunks; damage shows as the last item.
fn send_from(
    reader: &mut (impl Read + ?Sized),
    offset: u64,
    out: &mpsc::Sender<Result<GetChunk, Status>>,
) -> Result<(), Status> {
    let damaged = |why: std::io::Error| {
        // Out of reach is not lost: who asks waits rather than gives it up.
        let code = match why.kind() {
            std::io::ErrorKind::ConnectionAborted => "unavailable",
            _ => "mismatch",
        };
        error::status(code, why.to_string(), "fetch it from another server", true)
    };
    std::io::copy(&mut reader.take(offset), &mut std::io::sink()).map_err(damaged)?;
    loop {
        let mut data = vec![0; limit::BLOB_CHUNK.0 as usize];
        let mut filled = 0;
        while filled < data.len() {
            match reader.read(&mut data[filled..]).map_err(damaged)? {
                0 => break,
                more => filled += more,
            }
        }
        if filled == 0 {
            return Ok(());
        }
        data.truncate(filled);
        if out.blocking_send(Ok(GetChunk { data: data.into() })).is_err() {
            return Ok(());
        }
    }
}
