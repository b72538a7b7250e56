//! The servers as a blob store: small blobs of many jobs share one stream and one fsync.

use super::{Blob, Blobs, StoreError, meter::Meter};
use domain::{Digest, limit};
use proto::transfer::{self, Source, TransferError};
use std::{fs, sync::Mutex, time::Duration};
use tokio::sync::{mpsc, oneshot};
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Requests with more bytes go out on a stream of their own, after asking what is lacking.
const SMALL_MAX: u64 = 4 << 20;
/// Requests that wait for a server's stream.
const REQUESTS_AHEAD: usize = 4_096;
/// Requests that share one stream.
const BATCH_MAX: usize = 256;
/// Streams of small blobs to one server at the same time: one is filled while one is fsynced.
const STREAMS: usize = 2;
/// First wait after a server failed.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Who we are to the servers, and whom we believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The cluster's authority, PEM.
    pub ca: String,
    /// Our certificate, PEM.
    pub cert: String,
    /// Its key, PEM.
    pub key: String,
    /// The name that the servers' certificates carry; none means the address's host.
    pub server_name: Option<String>,
}

/// The servers of the cluster.
pub struct Servers {
    servers: Vec<Server>,
    /// The leader's address, which seals and so is to have the bytes first.
    leader: Mutex<Option<String>>,
    /// Spreads nodes over servers.
    turn: usize,
}

struct Server {
    address: String,
    channel: Channel,
    lane: mpsc::Sender<Request>,
}

struct Request {
    blobs: Vec<Blob>,
    done: oneshot::Sender<Result<(), TransferError>>,
}

/// A channel to `address` that connects when it is first used, and again when it breaks.
///
/// # Errors
/// When the address is no address.
pub(crate) fn channel(
    address: &str,
    tls: Option<&Tls>,
) -> Result<Channel, tonic::transport::Error> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(2))
        .keep_alive_timeout(Duration::from_secs(3));
    if let Some(tls) = tls {
        proto::cipher::prefer_sha256();
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.cert, &tls.key));
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config)?;
    }
    Ok(endpoint.connect_lazy())
}

impl Servers {
    /// Uses the servers at `addresses`; `name` (this node's) decides with which one it begins.
    ///
    /// # Errors
    /// When an address is no address.
    pub fn new(
        addresses: &[String],
        tls: Option<&Tls>,
        name: &str,
    ) -> Result<Self, tonic::transport::Error> {
        let servers = addresses.iter().map(|address| {
            let channel = channel(address, tls)?;
            let (lane, requests) = mpsc::channel(REQUESTS_AHEAD);
            // Ends when the sender is dropped with this store.
            tokio::spawn(carry(channel.clone(), requests));
            Ok(Server { address: address.clone(), channel, lane })
        });
        Ok(Self {
            servers: servers.collect::<Result<_, tonic::transport::Error>>()?,
            leader: Mutex::new(None),
            turn: usize::from(Digest::of(name.as_bytes()).0[0]),
        })
    }

    /// Tells who leads now.
    pub fn prefer(&self, leader: Option<String>) {
        *self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = leader;
    }

    /// Connections to the servers, in that order.
    pub(super) fn channels(&self) -> Vec<Channel> {
        self.in_order().into_iter().map(|server| server.channel.clone()).collect()
    }

    /// The servers in the order in which this node uses them.
    fn in_order(&self) -> Vec<&Server> {
        let leader = self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let count = self.servers.len();
        let mut order: Vec<_> =
            (0..count).map(|at| &self.servers[(at + self.turn) % count]).collect();
        order.sort_by_key(|server| Some(&server.address) != leader.as_ref());
        order
    }
}

impl Server {
    async fn put(&self, blobs: Vec<Blob>) -> Result<(), TransferError> {
        let sure = |blob: &Blob| !matches!(blob, Blob::File { sure: false, .. });
        let (blobs, guessed): (Vec<_>, Vec<_>) = blobs.into_iter().partition(sure);
        transfer::put_all(&self.channel, sources(&guessed)).await?;
        if blobs.iter().map(Blob::size).sum::<u64>() > SMALL_MAX {
            return transfer::put(&self.channel, sources(&blobs)).await;
        }
        let gone = || TransferError::Wire(tonic::Status::unavailable("the store is closing"));
        let (done, answer) = oneshot::channel();
        self.lane.send(Request { blobs, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Sends what gathers while earlier streams are under way.
async fn carry(channel: Channel, mut requests: mpsc::Receiver<Request>) {
    let mut streams = tokio::task::JoinSet::new();
    loop {
        while streams.len() >= STREAMS {
            streams.join_next().await;
        }
        let mut batch = Vec::new();
        if requests.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        streams.spawn(send(channel.clone(), batch));
    }
}

async fn send(channel: Channel, batch: Vec<Request>) {
    let all = batch.iter().flat_map(|request| sources(&request.blobs)).collect();
    if transfer::put_all(&channel, all).await.is_ok() {
        for request in batch {
            // A caller that gave up needs no answer.
            let _ = request.done.send(Ok(()));
        }
        return;
    }
    // One bad blob fails a stream: each alone learns which it was.
    for request in batch {
        let sent = transfer::put_all(&channel, sources(&request.blobs)).await;
        let _ = request.done.send(sent);
    }
}

fn sources(blobs: &[Blob]) -> Vec<Source> {
    let source = |blob: &Blob| match blob.clone() {
        Blob::Bytes { digest, bytes } => Source {
            digest,
            size: bytes.len() as u64,
            open: Box::new(move || Ok(Box::new(std::io::Cursor::new(bytes)) as _)),
            path: None,
        },
        Blob::File { digest, size, path, .. } => {
            let meter = Meter::current();
            let opened = path.clone();
            let open = move || Ok(meter.reading(fs::File::open(opened)?));
            Source { digest, size, open: Box::new(open), path: Some(path) }
        }
    };
    blobs.iter().map(source).collect()
}

impl Blobs for Servers {
    async fn get(&self, digest: Digest, into: fs::File) -> Result<u64, StoreError> {
        use std::io::{Seek, SeekFrom};
        let mut into = into;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let mut lost = None;
            let mut silent = self.servers.is_empty();
            for server in self.in_order() {
                into.set_len(0)?;
                into.seek(SeekFrom::Start(0))?;
                match transfer::get(&server.channel, digest, &mut into).await {
                    Ok(size) => return Ok(size),
                    Err(TransferError::Local(why)) => return Err(why.into()),
                    Err(fault) if is_verdict(&fault) => lost = Some(fault.to_string()),
                    Err(_) => silent = true,
                }
            }
            match lost {
                Some(why) if !silent => return Err(StoreError::Lost { digest, why }),
                _ => {}
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn put(&self, blobs: Vec<Blob>) -> Result<(), StoreError> {
        let wanted = limit::BLOB_COPIES.min(self.servers.len());
        let mut done: Vec<&str> = Vec::new();
        let mut backoff = BACKOFF_FIRST;
        loop {
            let left: Vec<_> = self
                .in_order()
                .into_iter()
                .filter(|server| !done.contains(&server.address.as_str()))
                .collect();
            // Two at once at first; the others take the place of those that fail.
            for group in left.chunks(wanted.max(1)) {
                let puts = group.iter().take(wanted - done.len()).map(|server| async {
                    (server.address.as_str(), server.put(blobs.clone()).await)
                });
                for (address, sent) in futures::future::join_all(puts).await {
                    match sent {
                        Ok(()) => done.push(address),
                        Err(TransferError::Local(why)) => return Err(why.into()),
                        Err(fault) if is_verdict(&fault) => {
                            return Err(StoreError::Changed(fault.to_string()));
                        }
                        Err(fault) => tracing::debug!(%address, %fault, "upload failed"),
                    }
                }
                if done.len() >= wanted {
                    return Ok(());
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// Whether trying the same server again would give the same answer.
pub(super) fn is_verdict(fault: &TransferError) -> bool {
    match fault {
        TransferError::Mismatch { .. } => true,
        TransferError::Wire(status) => matches!(
            status.code(),
            Code::NotFound | Code::InvalidArgument | Code::DataLoss | Code::FailedPrecondition
        ),
        TransferError::Local(_) => false,
    }
}
