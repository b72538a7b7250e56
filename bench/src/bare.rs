//! What a replicated write costs with our libraries and nothing else: the bound of a submit.
//!
//! Three processes as ours are: gRPC by tonic, mutual TLS by rustls. The leader appends 256 bytes of
//! each write to a file, syncs it, and calls both followers at the same time, which do the same; it
//! answers when its own sync and one follower are done. What comes meanwhile shares the next sync
//! and the next calls. No Raft, no state, no audit, no database, and no client at a follower.

use crate::{
    child::{Ending, Process},
    load::{self, Outcome},
    tls::Tls,
};
use anyhow::{Context as _, Result, bail};
use prost::bytes::Bytes;
use proto::v1::{
    Ack, ForwardReply, ForwardRequest, Frame, SealsReply, SealsRequest, SnapshotAck, SnapshotChunk,
    peer_client::PeerClient,
    peer_server::{Peer, PeerServer},
};
use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Channel, Endpoint, Identity, Server, ServerTlsConfig},
};

/// As long as the value that etcd puts.
const VALUE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes of `clients` persistent clients, one connection each.
///
/// # Errors
/// When the servers do not come up.
pub async fn writes(clients: usize, time: Duration) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let tls = Tls::create(dir.path())?;
    let listeners: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|it| Ok(it.local_addr()?.port())).collect::<Result<_>>()?;
    drop(listeners);
    let program = std::env::current_exe()?;
    let start = |at: usize| {
        let mut command = Command::new(&program);
        command.arg("bare-server").arg(dir.path()).arg(ports[at].to_string());
        // The first leads.
        command.args(ports[1..].iter().filter(|_| at == 0).map(u16::to_string));
        Process::start(&mut command, Ending::Kill)
    };
    let servers: Vec<Process> = (0..3).map(start).collect::<Result<_, _>>()?;
    let all: Vec<_> = (0..clients).map(|_| client(&tls, ports[0])).collect::<Result<_>>()?;
    let first = all.first().context("no client")?;
    let patience = Instant::now() + PATIENCE;
    while first.clone().forward(write()).await.is_err() {
        if Instant::now() > patience {
            bail!("the bare servers do not answer after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pids: Vec<u32> = servers.iter().map(Process::pid).collect();
    Ok(load::run(all, time, &pids, |mut client, _| async move {
        let answer = client.forward(write()).await;
        (client, answer.is_ok())
    })
    .await)
}

fn write() -> ForwardRequest {
    ForwardRequest { cluster: String::new(), requests: vec![7; VALUE].into() }
}

fn client(tls: &Tls, port: u16) -> Result<PeerClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?;
    let endpoint = endpoint.tls_config(tls.client()?)?.tcp_nodelay(true);
    Ok(PeerClient::new(endpoint.connect_lazy()))
}

/// One of the three, until it is killed.
///
/// # Errors
/// When it cannot serve.
pub async fn serve(dir: PathBuf, port: u16, followers: Vec<u16>) -> Result<()> {
    let tls = Tls::at(&dir);
    let followers = followers.into_iter().map(|port| client(&tls, port)).collect::<Result<_>>()?;
    let log = File::create(dir.join(format!("log-{port}")))?;
    let bare = Log { file: Mutex::new(log), followers, waiting: Mutex::default() };
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
    let authority = Certificate::from_pem(read(&tls.ca)?);
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(authority))?
        .tcp_nodelay(true)
        .add_service(PeerServer::new(Bare(Arc::new(bare))))
        .serve(([127, 0, 0, 1], port).into())
        .await?;
    Ok(())
}

struct Bare(Arc<Log>);

struct Log {
    file: Mutex<File>,
    followers: Vec<PeerClient<Channel>>,
    waiting: Mutex<Waiting>,
}

type Waiter = (Bytes, oneshot::Sender<Result<(), Status>>);

/// Writes that share the next sync, and whether somebody is at work who will take them.
#[derive(Default)]
struct Waiting {
    writes: Vec<Waiter>,
    busy: bool,
}

impl Log {
    /// On the thread that asked: to wake another costs more than a sync takes here.
    fn append(&self, bytes: &[u8]) -> Result<(), Status> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        written.map_err(|why| Status::internal(why.to_string()))
    }

    /// One sync here and on a follower.
    async fn replicate(&self, bytes: Bytes) -> Result<(), Status> {
        let (acks, mut acked) = tokio::sync::mpsc::channel(self.followers.len().max(1));
        for follower in &self.followers {
            let (mut follower, acks) = (follower.clone(), acks.clone());
            let write = ForwardRequest { cluster: String::new(), requests: bytes.clone() };
            tokio::spawn(async move {
                // The slower one's answer is awaited by nobody.
                let _ = acks.send(follower.forward(write).await.map(drop)).await;
            });
        }
        drop(acks);
        // So that both calls are on their way before this thread is busy.
        tokio::task::yield_now().await;
        self.append(&bytes)?;
        acked.recv().await.unwrap_or(Ok(()))
    }

    /// Whether the one that asked is to work: nobody else does.
    fn enter(&self, write: Waiter) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.writes.push(write);
        !std::mem::replace(&mut waiting.busy, true)
    }

    /// One round for all that wait; whether more came meanwhile. If not, nobody is at work.
    async fn round(&self) -> bool {
        let writes = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut waiting.writes)
        };
        let bytes: Vec<u8> = writes.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        let done = self.replicate(bytes.into()).await;
        for (_, answer) in writes {
            // A client that went away.
            let _ = answer.send(done.clone());
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.busy = !waiting.writes.is_empty();
        waiting.busy
    }
}

#[tonic::async_trait]
impl Peer for Bare {
    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardReply>, Status> {
        let (answer, answered) = oneshot::channel();
        if self.0.enter((request.into_inner().requests, answer)) {
            // A lone write stays on its thread; what came meanwhile is nobody's own.
            let log = self.0.clone();
            if log.round().await {
                tokio::spawn(async move { while log.round().await {} });
            }
        }
        let lost = |_| Status::internal("the write was dropped");
        answered.await.map_err(lost)??;
        Ok(Response::new(ForwardReply::default()))
    }

    async fn link(&self, _: Request<Streaming<Frame>>) -> Result<Response<Ack>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotAck>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn seals(&self, _: Request<SealsRequest>) -> Result<Response<SealsReply>, Status> {
        Err(Status::unimplemented("bare"))
    }
}
