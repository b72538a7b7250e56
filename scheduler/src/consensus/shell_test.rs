//! Servers with real threads and disks, and peers within the process.

use super::{
    shell::{Later, Node, NodeConfig, Peers, Reports},
    store::Checkpointed,
    testing::{Toy, request},
    *,
};
use crate::state::command::{Reply, Request};
use bytes::Bytes;
use domain::{ReplicaId, port::RowRead};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

type Servers = Arc<Mutex<BTreeMap<ReplicaId, Node<Toy>>>>;

/// Peers that hand over directly.
struct Direct {
    me: ReplicaId,
    servers: Servers,
    reports: OnceLock<Reports>,
}

impl Direct {
    fn peer(&self, id: ReplicaId) -> Option<Node<Toy>> {
        self.servers.lock().expect("nobody panics").get(&id).cloned()
    }
}

impl Peers for Direct {
    fn attach(&self, reports: Reports) {
        assert!(self.reports.set(reports).is_ok());
    }

    fn members(&self, _: &Membership) {}

    fn send(&self, to: ReplicaId, bytes: Bytes) {
        if let Some(peer) = self.peer(to) {
            peer.deliver(self.me, bytes);
        }
    }

    fn send_snapshot(&self, to: ReplicaId, copy: Checkpointed, message: Bytes) {
        let reports = self.reports.get().expect("attached").clone();
        let (peer, me) = (self.peer(to), self.me);
        tokio::runtime::Handle::try_current().ok();
        std::thread::spawn(move || {
            let Some(peer) = peer else { return reports.snapshot(to, false) };
            let family = peer.store().create_family().expect("a family");
            let rows = copy.page(&[], usize::MAX).expect("rows");
            peer.store().fill(family, &rows).expect("filled");
            peer.store().seal_family(family).expect("flushed");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("one");
            let installed = runtime.block_on(peer.install(me, message, family));
            reports.snapshot(to, installed);
        });
    }

    fn forward(&self, to: ReplicaId, request: Request) -> Later<Result<Reply, ProposeError>> {
        let peer = self.peer(to);
        Box::pin(async move {
            match peer {
                Some(peer) => peer.propose_here(request).await,
                None => Err(ProposeError::NotLeader { leader: None }),
            }
        })
    }
}

fn start(dir: &Path, id: u64, founders: u64, servers: &Servers) -> Node<Toy> {
    let id = ReplicaId(id);
    let direct = Direct { me: id, servers: Arc::clone(servers), reports: OnceLock::new() };
    let config = NodeConfig {
        cluster: "test".into(),
        replica: ReplicaConfig { log_kept: 10, ..ReplicaConfig::new(id) },
        dir: dir.join(id.to_string()),
        founders: (1..=founders).map(|id| (ReplicaId(id), format!("host-{id}:1"))).collect(),
    };
    let node = Node::start(config, Arc::new(direct)).expect("it starts");
    servers.lock().expect("nobody panics").insert(id, node.clone());
    node
}

async fn settled(node: &Node<Toy>) -> ReplicaId {
    let mut watch = node.watch();
    let leads = watch.wait_for(|progress| progress.leader.is_some());
    let progress = *tokio::time::timeout(Duration::from_secs(10), leads)
        .await
        .expect("a leader within ten seconds")
        .expect("it lives");
    progress.leader.expect("there is one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_server_answers_and_keeps_what_it_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let servers = Servers::default();
    let node = start(dir.path(), 1, 1, &servers);
    let proposals = (0..200).map(|key| node.propose(request(key, &format!("a{key}"))));
    for reply in futures::future::join_all(proposals).await {
        assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
    }
    let rows = node.read(|_, rows| rows.range(b"v", b"w", 1_000).len()).await;
    assert_eq!(rows, Ok(200));
    let (digest, at) = node.read_local(|toy, _| toy.digest()).await.expect("it lives");
    node.shutdown().await;
    assert_eq!(node.propose(request(1, "x")).await, Err(ProposeError::Stopped));
    servers.lock().expect("nobody panics").clear();
    drop(node);

    let node = start(dir.path(), 1, 1, &servers);
    settled(&node).await;
    let again = node.propose(request(7, "a7")).await.expect("the first answer");
    assert!(matches!(again, Reply::Done { at: first } if first <= at));
    let restarted = node.read_local(|toy, _| toy.digest()).await.expect("it lives");
    assert_ne!(restarted.0, digest, "the repeated request moved its actor's row");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_answer_wherever_they_are_asked_and_a_fourth_can_join() {
    let dir = tempfile::tempdir().expect("a directory");
    let servers = Servers::default();
    let nodes: Vec<_> = (1..=3).map(|id| start(dir.path(), id, 3, &servers)).collect();
    let mut leader = settled(&nodes[0]).await;
    for key in 0..60 {
        let reply = nodes[key as usize % 3].propose(request(key, &format!("a{key}"))).await;
        assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
    }
    for node in &nodes {
        let rows = node.read(|_, rows| rows.range(b"v", b"w", 1_000).len()).await;
        assert_eq!(rows, Ok(60));
    }
    let fourth = start(dir.path(), 4, 0, &servers);
    let change = MemberChange::AddLearner { id: ReplicaId(4), address: "host-4:1".into() };
    let added = nodes[leader.0 as usize - 1].change(change).await;
    assert!(added.is_ok(), "{added:?}");
    let mut members = fourth.watch_members();
    let votes = members.wait_for(|now| now.voters.contains(&ReplicaId(4)) && !now.is_joint());
    let joined = tokio::time::timeout(Duration::from_secs(20), votes).await;
    assert!(joined.is_ok(), "it votes: {:?}", fourth.status().await);
    assert_eq!(fourth.read(|_, rows| rows.range(b"v", b"w", 1_000).len()).await, Ok(60));

    nodes[leader.0 as usize - 1].shutdown().await;
    servers.lock().expect("nobody panics").remove(&leader);
    let gone = leader;
    while leader == gone {
        tokio::time::sleep(Duration::from_millis(10)).await;
        leader = settled(&fourth).await;
    }
    let reply = fourth.propose(request(99, "b")).await;
    assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
}
