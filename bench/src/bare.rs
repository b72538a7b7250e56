//! What a replicated write costs with our libraries and nothing else: the bound of a submit.
//!
//! Three processes as ours are: gRPC by tonic, mutual TLS by rustls. The leader appends 256 bytes to
//! a file, syncs it, and calls both followers at the same time, which do the same; it answers when
//! its own sync and one follower are done. No Raft, no state, no audit, no database.

use crate::{
    child::{Ending, Process},
    load::{self, Outcome},
    tls::Tls,
};
use anyhow::{Context as _, Result, bail};
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
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Channel, Endpoint, Identity, Server, ServerTlsConfig},
};

/// As long as the value that etcd puts.
const VALUE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes of one client.
///
/// # Errors
/// When the servers do not come up.
pub async fn writes(time: Duration) -> Result<Outcome> {
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
    let client = client(&tls, ports[0])?;
    let patience = Instant::now() + PATIENCE;
    while client.clone().forward(write()).await.is_err() {
        if Instant::now() > patience {
            bail!("the bare servers do not answer after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pids: Vec<u32> = servers.iter().map(Process::pid).collect();
    Ok(load::run(vec![client], time, &pids, |mut client, _| async move {
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
    let bare = Bare { log: Arc::new(Mutex::new(log)), followers };
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
    let authority = Certificate::from_pem(read(&tls.ca)?);
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(authority))?
        .tcp_nodelay(true)
        .add_service(PeerServer::new(bare))
        .serve(([127, 0, 0, 1], port).into())
        .await?;
    Ok(())
}

struct Bare {
    log: Arc<Mutex<File>>,
    followers: Vec<PeerClient<Channel>>,
}

impl Bare {
    /// On the thread that asked: to wake another costs more than a sync takes here.
    fn append(&self, bytes: &[u8]) -> Result<(), Status> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let written = log.write_all(bytes).and_then(|()| log.sync_data());
        written.map_err(|why| Status::internal(why.to_string()))
    }
}

#[tonic::async_trait]
impl Peer for Bare {
    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardReply>, Status> {
        let write = request.into_inner();
        let (acks, mut acked) = tokio::sync::mpsc::channel(self.followers.len().max(1));
        for follower in &self.followers {
            let (mut follower, write, acks) = (follower.clone(), write.clone(), acks.clone());
            tokio::spawn(async move {
                // The slower one's answer is awaited by nobody.
                let _ = acks.send(follower.forward(write).await.map(drop)).await;
            });
        }
        drop(acks);
        // So that both calls are on their way before this thread is busy.
        tokio::task::yield_now().await;
        self.append(&write.requests)?;
        if let Some(first) = acked.recv().await {
            first?;
        }
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
