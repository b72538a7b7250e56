//! Requests that reached a follower: all that have gathered go to the leader in one call.
//!
//! A call costs more than what it carries, on both sides. While one is on its way the next
//! gathers, as writes do during a sync.

use super::channels::Channels;
use crate::{
    consensus::shell::{Node, ProposeError},
    state::{
        Cluster,
        command::{Reply, Request},
    },
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::limit;
use futures::future;
use proto::{
    frame,
    v1::{ForwardRequest, peer_client::PeerClient},
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};

/// Calls under way at a time.
const CALLS: usize = 2;
/// Requests in one call.
const BATCH: usize = 1_024;
/// Bytes of requests after which a call is closed. It takes one more request at most.
const BATCH_BYTES: usize = limit::RAFT_MESSAGE_MAX.0 as usize;

const _: () = assert!(
    limit::RAFT_MESSAGE_MAX.0 + 2 * limit::PROPOSAL_MAX.0 < limit::WIRE_MESSAGE_MAX.0,
    "a call that was just short of full takes one more request"
);

/// What became of a forwarded request.
pub type Forwarded = Result<Reply, ForwardFault>;

/// Why a forwarded request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum ForwardFault {
    /// Nothing was done here: ask another.
    #[error("server is not the leader")]
    NotLeader,
    /// It may or may not have been done: repeat it with the same key.
    #[error("outcome unknown; repeat it with the same key")]
    Unknown,
    /// The leader's queue is full.
    #[error("leader is busy")]
    Busy,
    /// It can never be proposed.
    #[error("{0}")]
    Refused(String),
    /// The leader's disk is full; another may lead soon.
    #[error("{0}")]
    NoRoom(String),
    /// The cluster is about to be raised to the version that it needs.
    #[error("{0}")]
    Soon(String),
}

impl From<ProposeError> for ForwardFault {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Self::NotLeader,
            ProposeError::Unknown => Self::Unknown,
            ProposeError::Busy { .. } => Self::Busy,
            ref soon @ ProposeError::Newer { ref behind, .. } if behind.is_empty() => {
                Self::Soon(soon.to_string())
            }
            full @ ProposeError::DiskFull { .. } => Self::NoRoom(full.to_string()),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// A request in its encoding, and whoever waits for it.
struct Waiting {
    bytes: Vec<u8>,
    reply: oneshot::Sender<Forwarded>,
}

/// The way to the leader. Clones share it.
#[derive(Clone)]
pub struct Forwarder {
    queue: mpsc::Sender<Waiting>,
}

impl Forwarder {
    /// Starts it. It ends when all clones are dropped.
    #[must_use]
    pub fn start(
        cluster: String,
        node: Node<Cluster>,
        channels: Channels,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(limit::PROPOSE_QUEUE);
        let way = Way { cluster, node, channels };
        (Self { queue }, tokio::spawn(run(way, waiting)))
    }

    /// Has the leader propose a request.
    ///
    /// # Errors
    /// When it has no reply; the fault says whether it may be repeated.
    pub async fn forward(&self, request: &Request) -> Forwarded {
        let bytes = borsh::to_vec(request).expect("writing to memory cannot fail");
        let (size, max) = (bytes.len() as u64, limit::PROPOSAL_MAX.0);
        if size > max {
            return Err(ProposeError::TooLarge { size, max }.into());
        }
        let (reply, answer) = oneshot::channel();
        let queued = self.queue.try_send(Waiting { bytes, reply });
        queued.map_err(|_| ForwardFault::Busy)?;
        answer.await.unwrap_or(Err(ForwardFault::Unknown))
    }
}

/// How the leader is found and reached.
#[derive(Clone)]
struct Way {
    cluster: String,
    node: Node<Cluster>,
    channels: Channels,
}

async fn run(way: Way, mut waiting: mpsc::Receiver<Waiting>) {
    let mut calls = JoinSet::new();
    while let Some(first) = waiting.recv().await {
        while calls.len() >= CALLS {
            calls.join_next().await;
        }
        let (body, replies) = gather(first, &mut waiting);
        calls.spawn(call(way.clone(), body, replies));
        while calls.try_join_next().is_some() {}
    }
}

/// All that waits, as far as it fits, in the encoding of `Vec<Request>`.
fn gather(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
) -> (Vec<u8>, Vec<oneshot::Sender<Forwarded>>) {
    let mut body = vec![frame::VERSION, 0, 0, 0, 0];
    let mut replies = Vec::new();
    let mut next = Some(first);
    while let Some(Waiting { bytes, reply }) = next {
        body.extend_from_slice(&bytes);
        replies.push(reply);
        let full = replies.len() >= BATCH || body.len() >= BATCH_BYTES;
        next = if full { None } else { waiting.try_recv().ok() };
    }
    let count = u32::try_from(replies.len()).expect("a batch is far smaller");
    body[1..5].copy_from_slice(&count.to_le_bytes());
    (body, replies)
}

async fn call(way: Way, body: Vec<u8>, replies: Vec<oneshot::Sender<Forwarded>>) {
    let answers = match ask(&way, body).await {
        Ok(answers) if answers.len() == replies.len() => answers,
        Ok(_) => vec![Err(ForwardFault::Unknown); replies.len()],
        Err(fault) => vec![Err(fault); replies.len()],
    };
    for (reply, answer) in replies.into_iter().zip(answers) {
        // Whoever asked may have gone away.
        let _ = reply.send(answer);
    }
}

async fn ask(way: &Way, body: Vec<u8>) -> Result<Vec<Forwarded>, ForwardFault> {
    let leader = way.node.leader_address().ok_or(ForwardFault::NotLeader)?;
    let channel = way.channels.to(&leader).map_err(|_| ForwardFault::NotLeader)?;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let wire = ForwardRequest { cluster: way.cluster.clone(), requests: body.into() };
    let wait = Duration::from_millis(limit::CALL_TIMEOUT.0 / 2);
    match tokio::time::timeout(wait, client.forward(wire)).await {
        Ok(Ok(reply)) => {
            frame::decode(&reply.into_inner().replies).map_err(|_| ForwardFault::Unknown)
        }
        Ok(Err(_)) | Err(_) => Err(ForwardFault::Unknown),
    }
}

/// Proposes what a follower forwarded; one answer for each, in order.
pub async fn answer(node: &Node<Cluster>, body: &[u8]) -> Vec<u8> {
    let answers: Vec<Forwarded> = match frame::decode::<Vec<Request>>(body) {
        Ok(requests) => {
            let proposed = requests.into_iter().map(|request| node.propose(request));
            let replies = future::join_all(proposed).await;
            replies.into_iter().map(|reply| reply.map_err(Into::into)).collect()
        }
        // The caller sees that these are too few.
        Err(_) => Vec::new(),
    };
    frame::encode(&answers).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::command::Command;
    use domain::{ElementId, JobId};

    fn request(actor: &str) -> Request {
        let element = ElementId::from(JobId(1));
        Request { key: None, actor: actor.into(), command: Command::Cancel { element } }
    }

    fn waiting(request: &Request) -> Waiting {
        Waiting { bytes: borsh::to_vec(request).unwrap(), reply: oneshot::channel().0 }
    }

    #[test]
    fn what_has_gathered_is_one_list_and_a_full_call_leaves_the_rest() {
        let (queue, mut rest) = mpsc::channel(8);
        let all = [request("a"), request("b"), request(&"x".repeat(BATCH_BYTES)), request("c")];
        for request in &all[1..] {
            assert!(queue.try_send(waiting(request)).is_ok());
        }
        let (body, replies) = gather(waiting(&all[0]), &mut rest);
        assert_eq!(frame::decode::<Vec<Request>>(&body).unwrap(), all[..3]);
        assert_eq!(replies.len(), 3);
        let next = rest.try_recv().unwrap();
        assert_eq!(gather(next, &mut rest).1.len(), 1);
    }
}
