//! What every service of one server shares.

use super::{
    backups::BackupService,
    blobs::BlobService,
    channels::Channels,
    chunks::ChunkService,
    datasets::Scans,
    error,
    foreseeing::Foreseer,
    forward::{ForwardFault, Forwarded, Forwarder},
    gates::Gatekeeper,
    keyring::Keyring,
    log_hub::LogHub,
    metrics::Metrics,
    seal_waits::SealWaits,
    sessions::Sessions,
};
use crate::{
    consensus::shell::{Node, ProposeError},
    leader::duties::Event,
    state::{
        Cluster,
        command::{Command, Reply, Request},
    },
};
use domain::{ReplicaId, RequestKey, limit, version::ClusterVersion};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

/// First and longest pause between two tries to find a leader.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// Longest wait for a leader whose disk is full to give its leadership away.
const HANDOVER: Duration = Duration::from_secs(3);

/// One server's parts.
pub struct Context {
    /// This server.
    pub me: ReplicaId,
    /// The cluster's identity.
    pub cluster: String,
    /// The replicated log and the state behind it.
    pub node: Node<Cluster>,
    /// Bytes by digest.
    pub blobs: BlobService,
    /// What backups are read from.
    pub backups: BackupService,
    /// Chunks of checkpoints.
    pub chunks: ChunkService,
    /// What tasks write.
    pub hub: LogHub,
    /// Connections to other servers.
    pub channels: Channels,
    /// The way to the leader, where this server is not.
    pub forwarder: Forwarder,
    /// The signing proxy.
    pub keyring: Keyring,
    /// Results whose seal did not succeed yet, while this server leads.
    pub seal_waits: SealWaits,
    /// The cluster's authority: certificates in PEM.
    pub authority: String,
    /// Agents that are connected here.
    pub sessions: Sessions,
    /// Users who say who may approve promotions.
    pub admins: BTreeSet<String>,
    /// Data sets that are looked through.
    pub scans: Scans,
    /// Whoever decides at gates.
    pub gates: Gatekeeper,
    /// Whoever looks ahead.
    pub foreseer: Foreseer,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// What the leader's duties are told.
    pub events: mpsc::Sender<Event>,
}

/// The time that this server stamps on what it proposes.
#[must_use]
pub fn wall_clock() -> domain::Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    domain::Millis(since.as_millis() as u64)
}

impl Context {
    /// Proposes through whichever server leads, and waits for the reply.
    ///
    /// A request with a key is repeated under it until the deadline, so that the loss of a
    /// leader does not show.
    ///
    /// # Errors
    /// When there is no leader in time, or the request can never be proposed. A refusal by the
    /// state machine is a reply, not an error.
    pub async fn propose(&self, request: Request) -> Result<Reply, Status> {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(limit::CALL_TIMEOUT.0);
        let mut pause = PAUSE.0;
        loop {
            let fault = match self.propose_once(&request).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let repeat = match &fault {
                ForwardFault::NotLeader | ForwardFault::Busy | ForwardFault::Soon(_) => true,
                ForwardFault::Unknown => request.key.is_some(),
                ForwardFault::NoRoom(_) => start.elapsed() < HANDOVER,
                ForwardFault::Refused(_) => false,
            };
            if !repeat || Instant::now() + pause > deadline {
                return Err(status_of(&fault));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Refuses a command that the cluster is too old for, before what leads up to it is proposed.
    ///
    /// # Errors
    /// Why it is, with the members that are behind.
    pub async fn check_age(&self, command: &Command) -> Result<(), Status> {
        let newer = self.too_new(command).await;
        newer.map_or(Ok(()), |fault| Err(status_of(&fault)))
    }

    /// Why the cluster is too old for a command, if it is. What this server knows of a version that
    /// was raised just now may be old by a moment: then what a quorum knows counts.
    async fn too_new(&self, command: &Command) -> Option<ForwardFault> {
        let fault = self.node.status().too_new(command)?;
        match self.node.read(|cluster, _| cluster.version()).await {
            Ok(runs) if command.since() <= runs => None,
            Ok(_) => Some(fault.into()),
            // No quorum has answered: it may well run at that version.
            Err(_) => Some(ForwardFault::NotLeader),
        }
    }

    async fn propose_once(&self, request: &Request) -> Forwarded {
        if !self.node.leads() {
            if request.command.since() > ClusterVersion::FIRST
                && let Some(fault) = self.too_new(&request.command).await
            {
                return Err(fault);
            }
            return self.forwarder.forward(request).await;
        }
        match self.node.propose(request.clone()).await {
            Err(ProposeError::NotLeader { .. }) => self.forwarder.forward(request).await,
            other => other.map_err(Into::into),
        }
    }

    /// A request by a server's own duty, under no key.
    #[must_use]
    pub fn own(&self, command: Command) -> Request {
        Request { key: None, actor: format!("server:{}", self.me.0), command }
    }
}

fn status_of(fault: &ForwardFault) -> Status {
    match fault {
        ForwardFault::NotLeader => error::status(
            "unavailable",
            "no leader is known; fewer than half of the servers may be up",
            "`assay cluster status` shows the servers; the request is safe to repeat",
            true,
        ),
        ForwardFault::Unknown => error::status(
            "unavailable",
            "the leader changed before it answered",
            "repeat it with the same request key",
            true,
        ),
        ForwardFault::Busy => {
            error::status("busy", "the leader's queue is full", "repeat it in a moment", true)
        }
        ForwardFault::Soon(why) => {
            error::status("busy", why.clone(), "repeat it in a moment", true)
        }
        ForwardFault::NoRoom(why) => {
            error::status("refused", why.clone(), "free space there, then repeat it", false)
        }
        ForwardFault::Refused(why) => {
            error::status("refused", why.clone(), "see the message", false)
        }
    }
}

/// A request of a caller with a key.
#[must_use]
pub fn keyed(key: RequestKey, actor: String, command: Command) -> Request {
    Request { key: Some(key), actor, command }
}
