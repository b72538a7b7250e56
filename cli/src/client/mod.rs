//! Calls to the cluster: to any server that answers, and again to another when one is lost.

pub mod backup;
pub mod blobs;
pub mod change;
pub mod follow;
pub mod keys;
pub mod registry;
pub mod replay;
pub mod reserve;
mod wire_fault;

use crate::{config::profile::Profile, fault::Fault};
use bytes::Bytes;
use domain::{RequestKey, limit};
use keys::Keys;
use proto::v1::{self, assay_client::AssayClient, query_request::What};
use serde::de::DeserializeOwned;
use std::{
    cell::{Cell, OnceCell},
    path::Path,
    time::{Duration, Instant},
};
use tonic::{
    Code, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub use wire_fault::of_status;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for one answer: a server gives up a little earlier, and says why.
const ANSWER: Duration = Duration::from_millis(limit::CALL_TIMEOUT.0 + 1_000);
/// Longest time over all tries.
pub const PATIENCE: Duration = Duration::from_millis(limit::CALL_TIMEOUT.0 * 2);
/// Rounds over all servers, none of which could even be connected to.
const DEAF_ROUNDS: u32 = 3;
/// First and longest pause between rounds.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// A connection that is silent for longer than both together is given up.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));

/// One server.
struct Server {
    address: String,
    endpoint: Endpoint,
    tls: ClientTlsConfig,
    channel: OnceCell<Channel>,
}

impl Server {
    /// The channel, set up when it is first wanted: reading certificates takes a good part of a
    /// short command, and most ask one server only.
    fn channel(&self) -> Result<&Channel, Fault> {
        if self.channel.get().is_none() {
            let endpoint = self.endpoint.clone().tls_config(self.tls.clone());
            let endpoint = endpoint.map_err(|why| bad_address(&self.address, &why))?;
            // Nobody else sets it meanwhile: the cell is not shared between threads.
            let _ = self.channel.set(endpoint.connect_lazy());
        }
        self.channel.get().ok_or_else(nobody)
    }
}

fn bad_address(address: &str, why: &dyn std::fmt::Display) -> Fault {
    Fault::usage("profile", format!("server `{address}`: {why}"))
        .hint("write `host:port` in the profile's `servers`")
}

/// The cluster as seen by a client.
pub struct Client {
    servers: Vec<Server>,
    /// The one that answered last.
    current: Cell<usize>,
    /// Whether a server may answer from what it has applied, without asking a leader.
    stale: bool,
    /// The key that the first change is to have, and those that changes had.
    keys: (Option<RequestKey>, Keys),
}

/// A document with the log index that it shows.
#[derive(Debug)]
pub struct Answer<T> {
    /// The document.
    pub value: T,
    /// The log index.
    pub log_index: u64,
}

impl Client {
    /// A client for the servers of a profile. Connects when it is first used.
    ///
    /// # Errors
    /// When the profile's certificates cannot be read or an address is none.
    pub fn new(profile: &Profile) -> Result<Self, Fault> {
        let tls = tls(&profile.ca, &profile.cert, &profile.key)?;
        let server = |address: &String| {
            let endpoint = Endpoint::from_shared(format!("https://{address}"))
                .map_err(|why| bad_address(address, &why))?
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE.0)
                .keep_alive_timeout(KEEP_ALIVE.1);
            let (address, tls) = (address.clone(), tls.clone());
            Ok(Server { address, endpoint, tls, channel: OnceCell::new() })
        };
        let servers: Vec<Server> =
            profile.servers.iter().map(server).collect::<Result<_, Fault>>()?;
        if let Some(first) = servers.first() {
            first.channel()?;
        }
        Ok(Self { servers, current: Cell::new(0), stale: false, keys: Default::default() })
    }

    /// Lets any server answer from what it has applied, even without a leader.
    #[must_use]
    pub fn stale(self, stale: bool) -> Self {
        Self { stale, ..self }
    }

    /// Takes the keys of changes from these, the first one being `given` if there is one.
    #[must_use]
    pub fn under(self, given: Option<RequestKey>, keys: Keys) -> Self {
        Self { keys: (given, keys), ..self }
    }

    /// The key of the next change.
    fn key(&self) -> Result<Bytes, Fault> {
        let (given, keys) = &self.keys;
        keys.next(*given)
    }

    /// Whether [`Client::stale`] was asked for.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Asks this server first from now on, if the profile names it.
    pub fn prefer(&self, address: &str) {
        if let Some(number) = self.servers.iter().position(|server| server.address == address) {
            self.current.set(number);
        }
    }

    /// Servers in the order in which they are to be asked.
    fn order(&self) -> impl Iterator<Item = (usize, &Server)> {
        let first = self.current.get();
        let all = self.servers.iter().enumerate();
        all.cycle().skip(first).take(self.servers.len())
    }

    /// The channels of all servers, the one that answered last first.
    fn channels(&self) -> impl Iterator<Item = (&str, &Channel)> {
        self.order()
            .filter_map(|(_, server)| Some((server.address.as_str(), server.channel().ok()?)))
    }

    /// Makes one call, at another server when one does not answer, until patience ends.
    ///
    /// The call must be one that may be repeated: a read, or a change under a key.
    ///
    /// # Errors
    /// The first answer that repetition cannot cure; or that nobody answered.
    pub async fn call<T, F, R>(&self, make: F) -> Result<T, Fault>
    where
        F: Fn(AssayClient<Channel>) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let start = Instant::now();
        let (mut pause, mut deaf) = (PAUSE.0, 0);
        loop {
            let mut connected = false;
            let (mut last, mut refused) = (None, None);
            for (number, server) in self.order() {
                let channel = server.channel()?;
                let call = tokio::time::timeout(ANSWER, make(service(channel)));
                let status = match call.await {
                    Ok(Ok(response)) => {
                        self.current.set(number);
                        return Ok(response.into_inner());
                    }
                    Ok(Err(status)) => status,
                    Err(_) => late(),
                };
                let answered = wire_fault::came_from_server(&status);
                connected |= answered;
                let fault = of_status(&status, &server.address);
                // What a server said holds for all; what its connection said, for it alone.
                if !fault.retry_safe && (answered || !status_is_silence(&status)) {
                    self.current.set(number);
                    return Err(fault);
                }
                if fault.retry_safe {
                    last = Some(fault);
                } else {
                    refused = Some(fault);
                }
            }
            // Of servers that close a connection for one reason, not each gets to say it.
            if let Some(fault) = refused.take_if(|_| !connected) {
                return Err(fault);
            }
            deaf = if connected { 0 } else { deaf + 1 };
            if deaf >= DEAF_ROUNDS || start.elapsed() + pause > PATIENCE {
                return Err(refused.or(last).unwrap_or_else(nobody));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// When nobody answers, or what is asked for is not there.
    pub async fn query<T: DeserializeOwned>(&self, what: What) -> Result<Answer<T>, Fault> {
        let request = v1::QueryRequest { stale: self.stale, what: Some(what) };
        let document = self
            .call(|mut service| {
                let request = request.clone();
                async move { service.query(request).await }
            })
            .await?;
        answer(&document)
    }

    /// Asks every server of the profile for a document, each once.
    pub async fn query_each<T: DeserializeOwned>(
        &self,
        what: What,
    ) -> Vec<(String, Result<Answer<T>, Fault>)> {
        let request = v1::QueryRequest { stale: false, what: Some(what) };
        let mut answers = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let channel = match server.channel() {
                Ok(channel) => channel,
                Err(fault) => {
                    answers.push((server.address.clone(), Err(fault)));
                    continue;
                }
            };
            let mut service = service(channel);
            let call = tokio::time::timeout(ANSWER, service.query(request.clone()));
            let result = match call.await {
                Ok(Ok(document)) => answer(document.get_ref()),
                Ok(Err(status)) => Err(of_status(&status, &server.address)),
                Err(_) => Err(of_status(&late(), &server.address)),
            };
            answers.push((server.address.clone(), result));
        }
        answers
    }
}

fn late() -> Status {
    Status::deadline_exceeded("no answer in time")
}

/// Whether the call may not have reached a server at all.
fn status_is_silence(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown)
}

fn nobody() -> Fault {
    Fault::usage("profile", "the profile names no servers").hint("add `servers` to it")
}

/// Reads a document.
///
/// # Errors
/// When this release does not understand it.
fn answer<T: DeserializeOwned>(document: &v1::Document) -> Result<Answer<T>, Fault> {
    let value = serde_json::from_slice(&document.json).map_err(|fault| {
        Fault::internal("document", format!("the server's answer cannot be read: {fault}"))
            .hint("use the `assay` of the servers' release")
    })?;
    Ok(Answer { value, log_index: document.log_index })
}

fn service(channel: &Channel) -> AssayClient<Channel> {
    AssayClient::new(channel.clone())
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX)
}

fn tls(ca: &Path, cert: &Path, key: &Path) -> Result<ClientTlsConfig, Fault> {
    proto::cipher::prefer_sha256();
    let read = |path: &Path| {
        std::fs::read(path).map_err(|fault| {
            Fault::file(path, &fault).hint("the profile names this file; is the cluster set up?")
        })
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(ca)?))
        .identity(Identity::from_pem(read(cert)?, read(key)?)))
}
