//! Links to the other replicas: one stream each, bounded, reconnected for ever.

use super::Membership;
use bytes::Bytes;
use domain::{ReplicaId, limit};
use proto::v1::{Frame, peer_client::PeerClient};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// Messages that wait for one peer; more are dropped, which Raft makes good.
const QUEUE: usize = 4_096;
/// Messages in one frame.
const FRAME_MESSAGES: usize = 256;
/// Frames that wait for the network.
const FRAMES: usize = 16;
/// First and longest pause before a lost link is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

struct Link {
    address: String,
    queue: mpsc::Sender<Bytes>,
}

struct Shared {
    me: ReplicaId,
    cluster: String,
    tls: ClientTlsConfig,
    runtime: tokio::runtime::Handle,
    links: Mutex<BTreeMap<ReplicaId, Link>>,
    hello: Mutex<String>,
}

/// All links of one server. Clones share them.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

impl Transport {
    /// Without links yet. To be called within the runtime that is to carry them.
    #[must_use]
    pub fn new(me: ReplicaId, cluster: String, tls: ClientTlsConfig) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (links, hello) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { me, cluster, tls, runtime, links, hello }))
    }

    /// This server.
    #[must_use]
    pub fn me(&self) -> ReplicaId {
        self.0.me
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// Opens links to new members and closes those to old ones. `own` is this server's address
    /// where it is not known from the members.
    pub fn members(&self, membership: &Membership, own: &str) {
        if !own.is_empty() {
            own.clone_into(&mut self.0.hello.lock().expect("no holder of this lock can panic"));
        }
        let mut links = self.0.links.lock().expect("no holder of this lock can panic");
        links.retain(|id, link| membership.addresses.get(id) == Some(&link.address));
        for (id, address) in &membership.addresses {
            if *id != self.0.me && !links.contains_key(id) {
                links.insert(*id, self.open(*id, address.clone()));
            }
        }
    }

    fn open(&self, to: ReplicaId, address: String) -> Link {
        let (queue, messages) = mpsc::channel(QUEUE);
        self.0.runtime.spawn(carry(self.clone(), to, address.clone(), messages));
        Link { address, queue }
    }

    /// Queues a message; false when it was dropped.
    #[must_use]
    pub fn send(&self, to: ReplicaId, bytes: Bytes) -> bool {
        let links = self.0.links.lock().expect("no holder of this lock can panic");
        links.get(&to).is_some_and(|link| link.queue.try_send(bytes).is_ok())
    }

    /// A connection to a member.
    pub(super) fn channel(&self, to: ReplicaId) -> Option<Channel> {
        let links = self.0.links.lock().expect("no holder of this lock can panic");
        connect(&self.0.tls, &links.get(&to)?.address)
    }

    fn frame(&self, to: ReplicaId, messages: Vec<Bytes>) -> Frame {
        Frame { from: self.0.me.0, to: to.0, cluster: self.0.cluster.clone(), messages }
    }
}

fn connect(tls: &ClientTlsConfig, address: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).ok()?;
    let endpoint = endpoint.tls_config(tls.clone()).ok()?;
    Some(
        endpoint
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(1))
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(2))
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_lazy(),
    )
}

/// Carries messages to one peer until the link is closed.
async fn carry(
    transport: Transport,
    to: ReplicaId,
    address: String,
    mut messages: mpsc::Receiver<Bytes>,
) {
    let Some(channel) = connect(&transport.0.tls, &address) else {
        tracing::error!(peer = %to, address, "peer has an address that is none");
        return;
    };
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let mut pause = PAUSE.0;
    loop {
        let (frames, stream) = mpsc::channel(FRAMES);
        let stream = ReceiverStream::new(stream);
        let call = client.link(stream);
        // Both end when either does: the call by an error, the feed by a closed link.
        tokio::select! {
            ended = call => {
                if let Err(fault) = ended {
                    tracing::debug!(peer = %to, error = %fault.message(), "link lost");
                }
            }
            closed = feed(&transport, to, &mut messages, frames) => {
                if closed {
                    return;
                }
                pause = PAUSE.0;
            }
        }
        if messages.is_closed() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Gathers messages into frames. True when the link was closed on this side.
async fn feed(
    transport: &Transport,
    to: ReplicaId,
    messages: &mut mpsc::Receiver<Bytes>,
    frames: mpsc::Sender<Frame>,
) -> bool {
    let bound = limit::RAFT_MESSAGE_MAX.0 as usize;
    loop {
        let Some(first) = messages.recv().await else { return true };
        let mut size = first.len();
        let mut gathered = vec![first];
        while gathered.len() < FRAME_MESSAGES
            && size < bound
            && let Ok(more) = messages.try_recv()
        {
            size += more.len();
            gathered.push(more);
        }
        if frames.send(transport.frame(to, gathered)).await.is_err() {
            return false;
        }
    }
}
