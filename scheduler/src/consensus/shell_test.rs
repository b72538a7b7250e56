//! Servers with real threads, disks and links within one process.

use super::{
    Identity, MemberChange, ProposeError, ReplicaConfig, Store, StoreError, WriteOp,
    shell::{Node, Start},
    snapshot::Incoming,
    testing::{Toy, request},
    transport::Transport,
};
use crate::state::command::Reply;
use domain::{
    ReplicaId,
    port::{RowChange, RowRead},
    version::Understood,
};
use proto::v1::{
    Ack, ForwardReply, ForwardRequest, Frame, SealsReply, SealsRequest, SnapshotAck, SnapshotChunk,
    peer_server::{Peer, PeerServer},
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// The receiving end of a link, without the checks that TLS makes possible.
struct Receiver(Node<Toy>);

#[tonic::async_trait]
impl Peer for Receiver {
    async fn link(&self, request: Request<Streaming<Frame>>) -> Result<Response<Ack>, Status> {
        let mut frames = request.into_inner();
        while let Some(frame) = frames.message().await? {
            self.0.deliver(ReplicaId(frame.from), frame.messages);
        }
        Ok(Response::new(Ack {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotAck>, Status> {
        let mut chunks = request.into_inner();
        let fault = |fault: super::snapshot::SnapshotError| Status::internal(fault.to_string());
        let mut incoming = Incoming::begin(self.0.store().clone()).map_err(fault)?;
        let mut from = ReplicaId(0);
        while let Some(chunk) = chunks.message().await? {
            from = ReplicaId(chunk.from);
            incoming.take(chunk).map_err(fault)?;
        }
        let (message, received) = incoming.finish().ok_or_else(|| Status::internal("cut"))?;
        match self.0.install(from, message, received).await {
            true => Ok(Response::new(SnapshotAck::default())),
            false => Err(Status::internal("unwanted")),
        }
    }

    async fn forward(&self, _: Request<ForwardRequest>) -> Result<Response<ForwardReply>, Status> {
        Err(Status::unimplemented("callers go to the leader"))
    }

    async fn seals(&self, _: Request<SealsRequest>) -> Result<Response<SealsReply>, Status> {
        Err(Status::unimplemented("nothing is sealed here"))
    }
}

/// One server with its listener.
struct Server {
    node: Node<Toy>,
    listener: JoinHandle<()>,
    bound: String,
    id: u64,
}

impl Server {
    async fn start(dir: &Path, id: u64, founders: &BTreeMap<ReplicaId, String>) -> Self {
        let listener = match founders.get(&ReplicaId(id)) {
            Some(address) => TcpListener::bind(address).await,
            None => TcpListener::bind("127.0.0.1:0").await,
        };
        let listener = listener.expect("the port is free");
        let bound = listener.local_addr().expect("it has one").to_string();
        let founder = founders.contains_key(&ReplicaId(id));
        let (node, _) = Node::start(Start {
            dir: dir.join(id.to_string()),
            identity: Identity { cluster: "test".into(), id: ReplicaId(id) },
            founders: if founder { founders.clone() } else { BTreeMap::new() },
            address: bound.clone(),
            peers: Arc::new(Transport::new(ReplicaId(id), "test".into(), None)),
            replica: ReplicaConfig { log_kept: 10, ..ReplicaConfig::new(ReplicaId(id)) },
            // Often: what is whole is never to be taken for damaged, whatever goes on.
            scrub_every: Duration::from_millis(50),
        })
        .expect("it starts");
        let serving = tonic::transport::Server::builder()
            .add_service(PeerServer::new(Receiver(node.clone())))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let listener = tokio::spawn(async move { serving.await.expect("it serves") });
        Self { node, listener, bound, id }
    }

    fn address(&self) -> String {
        self.node.status().members[&ReplicaId(self.id)].address.clone()
    }

    async fn stop(self) {
        self.node.stop().await;
        self.listener.abort();
        // Its end gives back the last handle on the disk.
        let _ = self.listener.await;
    }
}

/// Free ports for as many founders.
async fn founders(count: u64) -> BTreeMap<ReplicaId, String> {
    let mut found = BTreeMap::new();
    let mut held = Vec::new();
    for id in 1..=count {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        found.insert(ReplicaId(id), listener.local_addr().expect("it has one").to_string());
        held.push(listener);
    }
    found
}

async fn leader(node: &Node<Toy>) -> ReplicaId {
    let mut watch = node.status_changes();
    let leads = watch.wait_for(|status| status.leader.is_some());
    let status = tokio::time::timeout(Duration::from_secs(10), leads).await;
    status.expect("a leader within ten seconds").expect("it lives").leader.expect("there is one")
}

/// Asks whoever leads until there is an answer.
async fn propose(servers: &[Server], key: u64, actor: &str) -> Reply {
    for _ in 0..1_000 {
        for server in servers {
            if let Ok(reply) = server.node.propose(request(key, actor)).await {
                return reply;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no answer within ten seconds");
}

async fn values(node: &Node<Toy>) -> usize {
    let read = node.read(|_, rows| rows.range(b"v", b"w", 10_000).len());
    read.await.expect("a quorum is up")
}

/// Waits until the cluster runs at the newest version: it puts that into the log itself.
async fn raised(node: &Node<Toy>) {
    let mut changes = node.status_changes();
    let newest = changes.wait_for(|status| status.version == Understood::BUILD.newest);
    newest.await.expect("it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_server_answers_and_keeps_what_it_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let founders = founders(1).await;
    let server = Server::start(dir.path(), 1, &founders).await;
    leader(&server.node).await;
    raised(&server.node).await;
    let proposals = (0..200).map(|key| server.node.propose(request(key, &format!("a{key}"))));
    let mut landed = 0;
    for reply in futures::future::join_all(proposals).await {
        let Ok(Reply::Done { at }) = reply else { panic!("{reply:?}") };
        landed = at.0.max(landed);
    }
    assert!(landed < 100, "requests that arrive together share an entry");
    assert_eq!(values(&server.node).await, 200);
    let digest =
        server.node.read_local(|toy, _| super::Machine::digest(toy)).await.expect("it lives");
    let node = server.node.clone();
    server.stop().await;
    assert_eq!(node.propose(request(1, "x")).await, Err(ProposeError::Stopped));
    assert_eq!(node.ended().await, Some(String::new()));
    drop(node);

    let server = Server::start(dir.path(), 1, &founders).await;
    let restarted =
        server.node.read_local(|toy, _| super::Machine::digest(toy)).await.expect("it lives");
    assert_eq!(restarted, digest);
    leader(&server.node).await;
    let again = server.node.propose(request(7, "a7")).await.expect("the first answer");
    assert!(matches!(again, Reply::Done { at } if at.0 <= landed));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_can_join_and_the_leader_can_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let founders = founders(3).await;
    let mut servers = Vec::new();
    for id in 1..=3 {
        servers.push(Server::start(dir.path(), id, &founders).await);
    }
    for key in 0..60 {
        propose(&servers, key, &format!("a{key}")).await;
    }
    for server in &servers {
        assert_eq!(values(&server.node).await, 60);
    }

    let fourth = Server::start(dir.path(), 4, &founders).await;
    let address = fourth.bound.clone();
    let id = ReplicaId(4);
    let leads = leader(&servers[0].node).await;
    let change = MemberChange::AddLearner { id, address: address.clone() };
    let added = servers[leads.0 as usize - 1].node.change(change).await;
    assert!(added.is_ok(), "{added:?}");
    let mut status = fourth.node.status_changes();
    let votes = status
        .wait_for(|status| status.members.get(&id).is_some_and(|member| member.role != "learner"));
    let joined = tokio::time::timeout(Duration::from_secs(20), votes).await.is_ok();
    assert!(joined, "it votes: {:?}", fourth.node.status());
    assert_eq!(values(&fourth.node).await, 60);
    assert_eq!(fourth.address(), address);

    let gone = servers.remove(servers.iter().position(|one| one.id == leads.0).expect("it is"));
    gone.stop().await;
    servers.push(fourth);
    let reply = propose(&servers, 99, "b").await;
    assert!(matches!(reply, Reply::Done { .. }));
    for server in &servers {
        assert_eq!(values(&server.node).await, 61);
    }
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condemned_disk_starts_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let founders = founders(1).await;
    Server::start(dir.path(), 1, &founders).await.stop().await;
    let identity = Identity { cluster: "test".into(), id: ReplicaId(1) };
    let disk = dir.path().join("1");
    let store = Store::open(&disk, &identity, &WriteOp::default()).expect("it opens");
    let op = WriteOp { condemned: Some("its state differs".into()), ..WriteOp::default() };
    store.write([&op]).expect("it is written");
    drop(store);
    let started = Node::<Toy>::start(Start {
        dir: disk,
        identity,
        founders,
        address: String::new(),
        peers: Arc::new(Transport::new(ReplicaId(1), "test".into(), None)),
        replica: ReplicaConfig::new(ReplicaId(1)),
        scrub_every: Duration::from_secs(3_600),
    });
    let Err(StoreError::Boot(fault)) = started.map(|_| ()) else { panic!("it must not serve") };
    assert!(fault.to_string().starts_with("its state differs: this server must not serve"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_changes_under_a_running_server_is_found_and_ends_it_for_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let founders = founders(1).await;
    let server = Server::start(dir.path(), 1, &founders).await;
    leader(&server.node).await;
    for key in 0..20 {
        propose(std::slice::from_ref(&server), key, &format!("a{key}")).await;
    }
    // Below the replica, as a disk would that changes what it holds.
    let store = server.node.store().clone();
    let (key, mut value) = store.rows().range(b"v", b"w", 1).remove(0);
    value[0] ^= 1;
    let rows = vec![RowChange { key, value: Some(value) }];
    store.write([&WriteOp { rows, sync: true, ..WriteOp::default() }]).expect("it is written");
    drop(store);

    let ended = tokio::time::timeout(Duration::from_secs(60), server.node.ended()).await;
    let why = ended.expect("within a minute").expect("it says why");
    for part in ["scrub: the rows of r1 at entry", "must not serve", "assay cluster remove r1"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let node = server.node.clone();
    server.stop().await;
    assert_eq!(node.propose(request(99, "x")).await, Err(ProposeError::Stopped));
    drop(node);
    let identity = Identity { cluster: "test".into(), id: ReplicaId(1) };
    let store = Store::open(&dir.path().join("1"), &identity, &WriteOp::default());
    let again = store.expect("it opens").boot().expect_err("it starts nothing any more");
    assert!(again.to_string().starts_with(&why), "{again}");
}
