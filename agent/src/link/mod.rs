//! The one stream to the leader: finds it, keeps it, and finds it again.

use crate::store::{Tls, channel};
use domain::{
    Digest,
    limit::{ELECTION_MAX, HEARTBEAT},
    link::{Down, LINK_HEADER, LINK_VERSION, Up},
};
use proto::{
    frame,
    v1::{AgentFrame, agents_client::AgentsClient},
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

/// Messages that wait for the network.
pub const UP_AHEAD: usize = 4_096;
/// A stream that says nothing for so long is given up: each heartbeat has an answer.
const SILENCE: Duration = Duration::from_millis(2 * HEARTBEAT.0 + 2 * ELECTION_MAX.0);
/// First wait after a fault.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait after a fault.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Redirects that are followed at once; more look like servers that disagree.
const REDIRECTS_MAX: u32 = 5;

/// How to reach the cluster.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The servers' addresses, `host:port`.
    pub servers: Vec<String>,
    /// Who we are; none only where the servers ask for nothing.
    pub tls: Option<Tls>,
    /// This node's name, which spreads nodes over servers and over time.
    pub name: String,
}

/// What happened to the stream.
#[derive(Debug)]
pub enum LinkEvent {
    /// A stream is open. It ends when the sender is dropped.
    Opened {
        /// The server's address.
        server: String,
        /// Takes what is to be sent.
        up: mpsc::Sender<Up>,
    },
    /// The server on the open stream says which [`Up`] it understands.
    Speaks(u32),
    /// A message came in on the open stream.
    Down(Down),
    /// The stream is gone.
    Lost,
}

/// Keeps a stream open and reports on it until `events` is closed.
pub async fn run(config: LinkConfig, events: mpsc::Sender<LinkEvent>) {
    let spread = Digest::of(config.name.as_bytes()).0;
    let mut turn = usize::from(spread[0]);
    let jitter = Duration::from_millis(u64::from(spread[1]) / 4);
    let mut backoff = BACKOFF_FIRST;
    let mut redirects = 0;
    let mut leader: Option<String> = None;
    while !events.is_closed() {
        let server = match leader.take() {
            Some(leader) => leader,
            None => {
                turn += 1;
                config.servers[turn % config.servers.len()].clone()
            }
        };
        match session(&config, &server, &events).await {
            End::Redirected(to) if redirects < REDIRECTS_MAX => {
                redirects += 1;
                leader = Some(to);
                continue;
            }
            End::Served => (backoff, redirects) = (BACKOFF_FIRST, 0),
            End::Redirected(_) => redirects = 0,
            End::Leaderless => {
                // An election takes less than a second: keep asking.
                (backoff, redirects) = (BACKOFF_FIRST, 0);
            }
            End::Failed(why) => {
                tracing::debug!(%server, %why, "stream not opened");
                redirects = 0;
            }
        }
        tokio::time::sleep(backoff + jitter).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// How a session ended.
enum End {
    /// The server sent us to another.
    Redirected(String),
    /// It knows of no leader.
    Leaderless,
    /// It had welcomed us.
    Served,
    /// It had not.
    Failed(String),
}

async fn session(config: &LinkConfig, server: &str, events: &mpsc::Sender<LinkEvent>) -> End {
    let channel = match channel(server, config.tls.as_ref()) {
        Ok(channel) => channel,
        Err(fault) => return End::Failed(fault.to_string()),
    };
    let (up, outbox) = mpsc::channel::<Up>(UP_AHEAD);
    let frames = ReceiverStream::new(outbox).map(|up| AgentFrame { body: frame::encode(&up) });
    let mut request = tonic::Request::new(frames);
    request.metadata_mut().insert(LINK_HEADER, LINK_VERSION.into());
    let mut client = AgentsClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    // The server answers the call only once it has read from it.
    if events.send(LinkEvent::Opened { server: server.to_owned(), up }).await.is_err() {
        return End::Failed("the agent is ending".to_owned());
    }
    let end = match tokio::time::timeout(SILENCE, client.session(request)).await {
        Err(_) => End::Failed(format!("no answer within {} ms", SILENCE.as_millis())),
        Ok(Err(status)) => End::Failed(status.message().to_owned()),
        Ok(Ok(answer)) => {
            let said = answer.metadata().get(LINK_HEADER).and_then(|said| said.to_str().ok());
            let speaks = said.and_then(|said| said.parse().ok()).unwrap_or(1);
            let _ = events.send(LinkEvent::Speaks(speaks)).await;
            listen(answer.into_inner(), events).await
        }
    };
    // Whoever listens ends as well: the loop above sees the closed channel.
    let _ = events.send(LinkEvent::Lost).await;
    end
}

async fn listen(mut stream: tonic::Streaming<AgentFrame>, events: &mpsc::Sender<LinkEvent>) -> End {
    let mut welcomed = false;
    let ended = |welcomed: bool, why: String| {
        if welcomed { End::Served } else { End::Failed(why) }
    };
    loop {
        let message = match tokio::time::timeout(SILENCE, stream.message()).await {
            Err(_) => return ended(welcomed, "the server fell silent".to_owned()),
            Ok(Err(status)) => return ended(welcomed, status.message().to_owned()),
            Ok(Ok(None)) => return ended(welcomed, "the server ended the stream".to_owned()),
            Ok(Ok(Some(message))) => message,
        };
        let down = match frame::decode::<Down>(&message.body) {
            Ok(down) => down,
            Err(fault) => return End::Failed(fault.to_string()),
        };
        match &down {
            Down::Redirect { leader } if leader.is_empty() => {
                return End::Leaderless;
            }
            Down::Redirect { leader } => return End::Redirected(leader.clone()),
            Down::Refused { why } => {
                tracing::warn!(%why, "refused by the server");
                return End::Failed(why.clone());
            }
            Down::Welcome { .. } => welcomed = true,
            Down::Contact { .. }
            | Down::Wanted { .. }
            | Down::WantedNews { .. }
            | Down::Recorded { .. }
            | Down::LogHave { .. }
            | Down::Accept { .. }
            | Down::Accuse { .. } => {}
        }
        if events.send(LinkEvent::Down(down)).await.is_err() {
            return ended(welcomed, "the agent is ending".to_owned());
        }
    }
}
