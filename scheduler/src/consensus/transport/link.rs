//! One link: a bounded queue, and the stream that empties it.

use super::Transport;
use crate::consensus::shell::Reports;
use bytes::Bytes;
use domain::{ReplicaId, limit};
use futures::Stream;
use proto::v1::{Frame, peer_client::PeerClient};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Messages that wait for one peer; more are dropped, which Raft makes good.
const QUEUE: usize = 4_096;
/// Messages in one frame.
const FRAME_MESSAGES: usize = 256;
/// Bytes of messages after which a frame is closed. With one more message it is still within
/// what the other side reads.
const FRAME_BYTES: usize = limit::RAFT_MESSAGE_MAX.0 as usize;
/// First and longest pause before a lost link is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// A link that lasted so long was a good one: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(1);

const _: () = assert!(
    2 * limit::RAFT_MESSAGE_MAX.0 + limit::PROPOSAL_MAX.0 < limit::WIRE_MESSAGE_MAX.0,
    "a frame that was just short of full takes one more message"
);

/// A link to one server. Dropping it closes it.
pub(super) struct Link {
    /// Where that server is reached.
    pub(super) address: String,
    queue: mpsc::Sender<Bytes>,
    carrier: tokio::task::JoinHandle<()>,
}

impl Link {
    pub(super) fn open(
        transport: Transport,
        to: ReplicaId,
        address: String,
        hello: Bytes,
        reports: Option<Reports>,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let runtime = transport.0.runtime.clone();
        let outgoing = Outgoing {
            from: transport.0.me,
            to,
            cluster: transport.0.cluster.clone(),
            hello: Some(hello),
            messages: Arc::new(Mutex::new(messages)),
        };
        let carrier = runtime.spawn(carry(transport, address.clone(), outgoing, reports));
        Self { address, queue, carrier }
    }

    /// Queues a message, or loses it.
    pub(super) fn send(&self, bytes: Bytes) {
        // A full queue means that the other side is slow or away: Raft sends again.
        let _ = self.queue.try_send(bytes);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// The messages for one server as frames. Each connection has its own, over one queue.
#[derive(Clone)]
struct Outgoing {
    from: ReplicaId,
    to: ReplicaId,
    cluster: String,
    hello: Option<Bytes>,
    messages: Arc<Mutex<mpsc::Receiver<Bytes>>>,
}

impl Outgoing {
    /// Forgets what has gathered while there was no connection: it is stale by now.
    fn clear(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        while messages.try_recv().is_ok() {}
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        let hello = self.hello.take();
        let mut gathered: Vec<Bytes> = hello.into_iter().collect();
        let mut queue = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.is_empty() {
            match ready!(queue.poll_recv(context)) {
                Some(message) => gathered.push(message),
                None => return Poll::Ready(None),
            }
        }
        let mut size: usize = gathered.iter().map(Bytes::len).sum();
        while size < FRAME_BYTES
            && gathered.len() < FRAME_MESSAGES
            && let Ok(message) = queue.try_recv()
        {
            size += message.len();
            gathered.push(message);
        }
        drop(queue);
        Poll::Ready(Some(Frame {
            from: self.from.0,
            to: self.to.0,
            cluster: self.cluster.clone(),
            messages: gathered,
        }))
    }
}

/// Keeps a stream to one server open until the link is dropped.
async fn carry(
    transport: Transport,
    address: String,
    outgoing: Outgoing,
    reports: Option<Reports>,
) {
    let to = outgoing.to;
    let Some(channel) = transport.connect(&address) else {
        tracing::error!(peer = %to, address, "peer has an address that is none");
        return;
    };
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let mut pause = PAUSE.0;
    loop {
        let begun = Instant::now();
        if let Err(fault) = client.link(outgoing.clone()).await {
            tracing::debug!(peer = %to, error = %fault.message(), "link lost");
        }
        if let Some(reports) = &reports {
            reports.unreachable(to);
        }
        if begun.elapsed() >= GOOD {
            pause = PAUSE.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        outgoing.clear();
    }
}
