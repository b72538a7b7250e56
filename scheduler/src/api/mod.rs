//! One server: the replicated log, the services before it, the duties behind it.

mod agents;
mod backups;
mod blobs;
pub mod channels;
mod chunks;
mod collecting;
mod config;
mod context;
mod copying;
mod datasets;
mod door;
pub mod drift;
mod error;
mod evaluations;
mod explained;
mod follow;
mod foreseeing;
mod foretelling;
mod forward;
mod gates;
mod identity;
mod idle;
mod keeping;
mod keyring;
mod lead;
mod log_hub;
mod log_marks;
mod log_merge;
mod measured;
mod membership;
mod metrics;
mod named;
mod peer;
mod priority;
mod promoting;
mod proof;
mod query;
mod registry_calls;
mod renewing;
mod replaying;
mod reserving;
mod rest;
mod restoring;
mod rights;
mod seal_reasons;
mod seal_waits;
mod sealing;
mod service;
mod sessions;
mod submit;
mod sweeping;
mod training;
mod usage;

pub use channels::{Channels, Tls, TlsError};
pub use gates::{GateConfig, GateError};
pub use keyring::Signers;
pub use restoring::{RestoreConfig, RestoreError, Restored, restore};

use crate::consensus::{
    History, Identity, ReplicaConfig, StoreError, Window,
    shell::{Effects, Node, Start},
    transport::Transport,
};
use crate::state::Cluster;
use backups::BackupService;
use blobs::BlobService;
use chunks::ChunkService;
use context::Context;
use datasets::Scans;
use domain::{ReplicaId, limit};
use explained::Explained;
use foreseeing::Foreseer;
use forward::Forwarder;
use gates::Gatekeeper;
use keyring::Keyring;
use log_hub::LogHub;
use measured::Measured;
use metrics::Metrics;
use proto::v1::{
    agents_server::AgentsServer, assay_server::AssayServer, backups_server::BackupsServer,
    blobs_server::BlobsServer, chunks_server::ChunksServer, peer_server::PeerServer,
    replays_server::ReplaysServer,
};
use registry::blob::{
    chunks::{ChunkFault, ChunkStore},
    local::{BlobError, BlobStore},
    remote::Remote,
};
use seal_waits::SealWaits;
use sessions::Sessions;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc};

/// Contacts and answers that wait for the leader's duties.
const EVENTS: usize = 4_096;
/// Longest wait for open calls at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is particular to one server.
#[derive(Clone)]
pub struct ServerConfig {
    /// Its id, never used before in this cluster.
    pub id: ReplicaId,
    /// The cluster's identity.
    pub cluster: String,
    /// Its data directory.
    pub dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`.
    pub advertise: String,
    /// The founders with their addresses, itself among them.
    pub members: BTreeMap<ReplicaId, String>,
    /// Whether it joins a cluster that runs, rather than founding one.
    pub join: bool,
    /// Its certificate.
    pub tls: Tls,
    /// The keys that it signs with.
    pub signers: Signers,
    /// Users who say who may approve promotions.
    pub admins: BTreeSet<String>,
    /// What decides at gates.
    pub gates: GateConfig,
    /// Where it listens for REST, if it does.
    pub rest: Option<SocketAddr>,
    /// Time after which the files of collected results are deleted here.
    pub collect_after: Duration,
    /// Time between two scrubs of its rows.
    pub scrub_every: Duration,
    /// Log entries that it can go through again at least; 0 for none.
    pub replay_window: u64,
    /// What holds its blobs, if it is not its disk.
    pub blobs: Option<Arc<dyn Remote>>,
}

/// A server that cannot start, or must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log's disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blob store's disk.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store of checkpoints.
    #[error(transparent)]
    Chunks(#[from] ChunkFault),
    /// The gates.
    #[error(transparent)]
    Gates(#[from] GateError),
    /// The folder for logs.
    #[error("folder for logs under {}: {source}", dir.display())]
    Logs {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address.
    #[error("cannot serve at {listen}: {source}; is another process there?")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate, its key or the authority.
    #[error("certificate, key and authority cannot be used together; check that they are PEM")]
    Certificate {
        /// Why.
        source: tonic::transport::Error,
    },
    /// The transport failed.
    #[error("the public port cannot be served any longer")]
    Transport {
        /// Why.
        source: tonic::transport::Error,
    },
    /// A restore was cut off.
    #[error(transparent)]
    Unfinished(#[from] RestoreError),
    /// The replica found that it must not serve.
    #[error("{0}")]
    Stopped(String),
}

/// Runs a server until `shutdown`.
///
/// # Errors
/// When it cannot start, or its replica must not go on: the message says what to do.
pub async fn serve(
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (server_tls, client_tls) = (config.tls.server()?, config.tls.client()?);
    let authority = config.tls.authority()?;
    restoring::check_finished(&config.dir)?;
    let gates = Gatekeeper::open(&config.gates, &config.tls)?;
    let rest = rest::open(config.rest, &config.tls).await?;
    let (hub, store, chunks) = stores(&config.dir, config.blobs.clone()).await?;
    let channels = Channels::new(client_tls.clone());
    let transport = Transport::new(config.id, config.cluster.clone(), client_tls);
    let (node, effects) = replica(&config, transport)?;
    let (events, heard) = mpsc::channel(EVENTS);
    let (forwarder, forwarding) =
        Forwarder::start(config.cluster.clone(), node.clone(), channels.clone());
    let saved = (store.clone(), chunks.clone());
    let backups = BackupService::new(config.cluster.clone(), node.clone(), saved);
    let context = Arc::new(Context {
        me: config.id,
        cluster: config.cluster,
        node: node.clone(),
        backups,
        blobs: BlobService::new(config.id, store, channels.clone()),
        chunks: ChunkService::new(chunks, channels.clone()),
        hub,
        channels,
        forwarder,
        keyring: Keyring::new(config.signers, config.dir.join("event.key.pem")),
        seal_waits: SealWaits::default(),
        authority,
        sessions: Sessions::default(),
        admins: config.admins,
        scans: Scans::default(),
        gates,
        foreseer: Foreseer::default(),
        metrics: Arc::new(Metrics::begin(&node).await),
        events,
    });
    let history = history(&node, config.replay_window);
    let duties = [
        tokio::spawn(replaying::keep(context.clone(), history.clone())),
        tokio::spawn(lead::run(context.clone(), effects, heard)),
        tokio::spawn(keeping::run(context.clone())),
        tokio::spawn(sweeping::run(context.clone())),
        tokio::spawn(collecting::run(context.clone(), config.collect_after)),
        tokio::spawn(renewing::run(context.clone())),
        tokio::spawn(foretelling::run(context.clone())),
    ];
    let rest = rest.map(|port| port.serve(context.clone()));
    let parts = (&context, replaying::ReplayService::new(context.clone(), history));
    let result = listen(parts, config.listen, server_tls, shutdown).await;
    futures::future::OptionFuture::from(rest.map(|rest| rest.stop())).await;
    node.stop().await;
    duties.iter().for_each(tokio::task::JoinHandle::abort);
    forwarding.abort();
    result
}

/// The replica, linked to the others.
fn replica(
    config: &ServerConfig,
    transport: Transport,
) -> Result<(Node<Cluster>, Effects), StoreError> {
    Node::start(Start {
        dir: config.dir.join("log"),
        identity: Identity { cluster: config.cluster.clone(), id: config.id },
        founders: if config.join { BTreeMap::new() } else { config.members.clone() },
        address: config.advertise.clone(),
        peers: Arc::new(transport),
        replica: ReplicaConfig::new(config.id),
        scrub_every: config.scrub_every,
    })
}

/// What this server keeps of its past.
fn history(node: &Node<Cluster>, entries: u64) -> Arc<History> {
    let window = Window { entries, bytes: limit::REPLAY_WINDOW_BYTES.0 };
    Arc::new(History::open(node.store().clone(), window))
}

/// What stands on a server's disk beside the log: output of jobs, blobs, checkpoints.
async fn stores(
    dir: &Path,
    away: Option<Arc<dyn Remote>>,
) -> Result<(LogHub, BlobStore, ChunkStore), ServeError> {
    let hub = LogHub::open(dir.join("logs"))
        .map_err(|source| ServeError::Logs { dir: dir.to_owned(), source })?;
    let blobs = dir.join("blobs");
    if let Some(away) = &away {
        tracing::info!(place = away.place(), "blobs are there; what is only here is sent first");
    }
    let opened = tokio::task::spawn_blocking(move || BlobStore::open_with(&blobs, away)).await;
    let blobs = opened.map_err(|why| ServeError::Stopped(why.to_string()))??;
    Ok((hub, blobs, ChunkStore::open(&dir.join("chunks"))?))
}

/// A service with our bound on messages, whose refusals say what to do. A macro: generated services
/// have these methods and no trait in common.
macro_rules! explained {
    ($service:expr) => {
        Explained(
            $service
                .max_decoding_message_size(proto::MESSAGE_MAX)
                .max_encoding_message_size(proto::MESSAGE_MAX),
        )
    };
}

/// What users and their programs call.
fn public(context: &Arc<Context>) -> Measured<Explained<AssayServer<service::PublicService>>> {
    let service = explained!(AssayServer::new(service::PublicService(context.clone())));
    Measured::new(service, context.metrics.clone())
}

async fn listen(
    (context, replays): (&Arc<Context>, replaying::ReplayService),
    listen: SocketAddr,
    tls: tonic::transport::ServerTlsConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let fault = |source| ServeError::Transport { source };
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|source| ServeError::Listen { listen, source })?;
    tracing::info!(server = %context.me, %listen, "server started");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = tonic::transport::Server::builder()
        .tls_config(tls.timeout(door::PATIENCE))
        .map_err(|source| ServeError::Certificate { source })?
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .add_service(public(context))
        .add_service(explained!(AgentsServer::new(agents::AgentService(context.clone()))))
        .add_service(explained!(PeerServer::new(peer::PeerService(context.clone()))))
        .add_service(explained!(ChunksServer::new(context.chunks.clone())))
        .add_service(explained!(BlobsServer::new(context.blobs.clone())))
        .add_service(explained!(BackupsServer::new(context.backups.clone())))
        .add_service(explained!(ReplaysServer::new(replays)));
    let serving = router.serve_with_incoming_shutdown(door::open(listener), async {
        let _ = stopped.await;
    });
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended.map_err(fault),
        why = context.node.ended() => {
            let why = why.unwrap_or_default();
            return if why.is_empty() { Ok(()) } else { Err(ServeError::Stopped(why)) };
        }
        () = shutdown => {}
    }
    let _ = stop.send(());
    context.sessions.wake_all();
    // Streams that stay open are cut.
    tokio::time::timeout(GOODBYE, serving).await.unwrap_or(Ok(())).map_err(fault)
}
