//! The leader's side of an agent's one stream.

use super::{
    context::{Context, keyed},
    error,
    identity::Identity,
};
use crate::{
    leader::duties::Event,
    state::{
        command::{Command, HARDWARE_KEPT, Refusal, Reply},
        view::{Told, WantedNews},
    },
};
use domain::{
    Digest, LeaseId, NodeId, RequestKey,
    hardware::Hardware,
    health::HeldGpu,
    job::EndCause,
    lease::Phase,
    link::{Down, LINK_HEADER, LINK_VERSION, LogSource, Report, Up, WantedLease},
    node::Inventory,
    version::ClusterVersion,
};
use futures::FutureExt;
use proto::{
    frame,
    v1::{AgentFrame, agents_server::Agents},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages that wait for a slow agent before its stream is closed.
const OUT_QUEUE: usize = 1_024;
/// Reports of one agent that are on their way into the log.
const REPORTS_AT_ONCE: usize = 256;
/// Pause before a report that came too early is proposed again, and how often.
const NOT_YET: (Duration, u32) = (Duration::from_millis(50), 100);
/// Longest wait for the first message.
const FIRST: Duration = Duration::from_secs(5);

/// [`LINK_VERSION`](domain::link::LINK_VERSION) since which an agent understands
/// [`Down::WantedNews`].
const NEWS_SINCE: u32 = 2;
/// The same of [`EndCause::Drained`].
const DRAINED_SINCE: u32 = 3;

/// A lease in words that agents of older releases know: what leaves a drained node leaves a window.
fn as_before(mut wanted: WantedLease) -> WantedLease {
    let notice = wanted.lease.notice.as_mut().map(|notice| &mut notice.cause);
    let stops = match &mut wanted.lease.phase {
        Phase::Stopping { cause, .. } => Some(cause),
        Phase::Preparing { .. } | Phase::Started { .. } => None,
    };
    for cause in notice.into_iter().chain(stops) {
        if let EndCause::Drained { node } = cause {
            *cause = EndCause::Reserved { window: format!("drain of {node}") };
        }
    }
    wanted
}

/// The service of one server.
#[derive(Clone)]
pub struct AgentService(pub Arc<Context>);

type Out = mpsc::Sender<Result<AgentFrame, Status>>;

#[tonic::async_trait]
impl Agents for AgentService {
    type SessionStream = ReceiverStream<Result<AgentFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let name = Identity::of(&request)?.node()?;
        let said = request.metadata().get(LINK_HEADER).and_then(|said| said.to_str().ok());
        let link = said.and_then(|said| said.parse().ok()).unwrap_or(1);
        let (out, frames) = mpsc::channel(OUT_QUEUE);
        let context = self.0.clone();
        let inbound = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = run(context, (name, link), inbound, &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        let mut answer = Response::new(ReceiverStream::new(frames));
        answer.metadata_mut().insert(LINK_HEADER, LINK_VERSION.into());
        Ok(answer)
    }
}

async fn send(out: &Out, down: &Down) -> Result<(), Status> {
    let body = AgentFrame { body: frame::encode(down) };
    let late = || error::status("unavailable", "the agent does not read", "reconnect", true);
    tokio::time::timeout(FIRST, out.send(Ok(body))).await.map_err(|_| late())?.map_err(|_| late())
}

async fn next(inbound: &mut Streaming<AgentFrame>) -> Result<Option<Up>, Status> {
    let Some(message) = inbound.message().await? else { return Ok(None) };
    let up = frame::decode(&message.body)
        .map_err(|fault| error::status("invalid", fault.to_string(), "upgrade the agent", false))?;
    Ok(Some(up))
}

async fn run(
    context: Arc<Context>,
    (name, link): (String, u32),
    mut inbound: Streaming<AgentFrame>,
    out: &Out,
) -> Result<(), Status> {
    let first = tokio::time::timeout(FIRST, next(&mut inbound)).await;
    let first = first
        .map_err(|_| error::status("invalid", "no registration came", "register first", true))??;
    let shared = matches!(first, Some(Up::RegisterShared { .. }));
    let Some(Up::Register { inventory, held } | Up::RegisterShared { inventory, held }) = first
    else {
        let why = "the first message must be a registration".to_owned();
        return send(out, &Down::Refused { why }).await;
    };
    if inventory.name != name {
        let why = format!(
            "the certificate is of node `{name}`, the registration of `{}`; use the node's own",
            inventory.name
        );
        return send(out, &Down::Refused { why }).await;
    }
    if !context.node.leads() {
        let leader = context.node.leader_address().unwrap_or_default();
        return send(out, &Down::Redirect { leader }).await;
    }
    let boot = Digest::of(format!("{name}/{}", inventory.boot_id).as_bytes());
    let node = match register(&context, &name, (inventory, shared), held).await? {
        Ok(node) => node,
        Err(refusal) => return send(out, &Down::Refused { why: refusal.to_string() }).await,
    };
    send(out, &Down::Welcome { node }).await?;
    context.hub.set_idle(node, Vec::new());
    let (serial, changed) = context.sessions.open(node);
    let session = Session { context, name, link, boot, node, serial, out: out.clone() };
    session.touched().await;
    let ended = session.serve(inbound, &changed).await;
    session.context.sessions.close(node, serial);
    ended
}

async fn register(
    context: &Context,
    name: &str,
    (inventory, shared): (Inventory, bool),
    held: Vec<LeaseId>,
) -> Result<Result<NodeId, Refusal>, Status> {
    let command = match shared || inventory.has_shares() {
        true => Command::RegisterShared { inventory, held },
        false => Command::Register { inventory, held },
    };
    if command.since() > ClusterVersion::FIRST
        && let Err(status) = context.check_age(&command).await
    {
        let why = format!("`gpu_shares`: {}", status.message());
        return Ok(Err(Refusal::NotYet { why }));
    }
    let actor = format!("node:{name}");
    let request = crate::state::command::Request { key: None, actor, command };
    match context.propose(request).await? {
        Reply::Registered { node } => Ok(Ok(node)),
        Reply::Refused(refusal) => Ok(Err(refusal)),
        other => Err(error::status("internal", format!("reply {other:?}"), "reconnect", true)),
    }
}

struct Session {
    context: Arc<Context>,
    name: String,
    /// Which messages the agent understands: [`domain::link::LINK_VERSION`].
    link: u32,
    /// Digest of node and boot, from which the keys of its reports follow.
    boot: Digest,
    node: NodeId,
    serial: u64,
    out: Out,
}

/// What a session has said and heard so far.
#[derive(Default)]
struct SoFar {
    /// Files whose offsets the agent was told.
    followed: BTreeSet<(LeaseId, LogSource)>,
    /// Leases that the agent was told.
    told: Option<Told>,
    /// The newest machine, until it is recorded.
    unkept: Option<Box<Hardware>>,
    /// The one that is being recorded; it gives back what could not be.
    keeping: Option<JoinHandle<Option<Box<Hardware>>>>,
}

impl Session {
    async fn serve(
        &self,
        mut inbound: Streaming<AgentFrame>,
        changed: &tokio::sync::Notify,
    ) -> Result<(), Status> {
        let reports = Arc::new(Semaphore::new(REPORTS_AT_ONCE));
        let mut so_far = SoFar::default();
        changed.notify_one();
        loop {
            // Both arms are cancel-safe: `message` of a stream and `notified` lose nothing.
            tokio::select! {
                up = next(&mut inbound) => match up? {
                    None => return Ok(()),
                    Some(up) => self.hear(up, &reports, &mut so_far).await?,
                },
                () = changed.notified() => {
                    if !self.context.sessions.is_current(self.node, self.serial) {
                        return Ok(());
                    }
                    if !self.context.node.leads() {
                        let leader = self.context.node.leader_address().unwrap_or_default();
                        return send(&self.out, &Down::Redirect { leader }).await;
                    }
                    self.send_wanted(&mut so_far).await?;
                }
            }
        }
    }

    /// Sends what the node is to hold, and where each followed file goes on.
    async fn send_wanted(&self, so_far: &mut SoFar) -> Result<(), Status> {
        let SoFar { followed, told, .. } = so_far;
        let node = self.node;
        // An agent of an older release is told all of it each time.
        let before = told.take().filter(|_| self.link >= NEWS_SINCE);
        let first = before.is_none();
        let cluster_name = self.context.cluster.clone();
        let read = self.context.node.read_local(move |cluster, rows| {
            let view = cluster.view();
            let news = view.wanted_news(node, &cluster_name, rows, before.unwrap_or_default());
            (view.applied(), news, view.acceptances(node), view.accusations(node))
        });
        let (at, WantedNews { held, leases, told: now }, accepted, accused) =
            read.await.map_err(|fault| super::query::unreadable(&fault))?;
        let leases = match self.link >= DRAINED_SINCE {
            true => leases,
            false => leases.into_iter().map(as_before).collect(),
        };
        let ids: BTreeSet<_> = held.iter().copied().collect();
        followed.retain(|(lease, _)| ids.contains(lease));
        let mut fresh = BTreeSet::new();
        for wanted in &leases {
            let Some(member) = wanted.lease.member(self.node) else { continue };
            for task in &member.tasks {
                fresh.insert((wanted.lease.id, LogSource::Output { rank: task.rank }));
                fresh.insert((wanted.lease.id, LogSource::Metrics { rank: task.rank }));
            }
        }
        let down = match first {
            true => Down::Wanted { at, leases },
            false => Down::WantedNews { at, held, leases },
        };
        send(&self.out, &down).await?;
        *told = Some(now);
        for acceptance in accepted {
            send(&self.out, &Down::Accept { acceptance }).await?;
        }
        for accusation in accused {
            send(&self.out, &Down::Accuse { accusation }).await?;
        }
        for (lease, source) in fresh {
            if followed.insert((lease, source)) {
                self.send_have(lease, source).await?;
            }
        }
        Ok(())
    }

    async fn send_have(&self, lease: LeaseId, source: LogSource) -> Result<(), Status> {
        match self.context.hub.have(lease, source) {
            Ok(offset) => send(&self.out, &Down::LogHave { lease, source, offset }).await,
            Err(fault) => {
                tracing::warn!(%lease, error = %fault, "log file not readable");
                Ok(())
            }
        }
    }

    async fn hear(
        &self,
        up: Up,
        reports: &Arc<Semaphore>,
        so_far: &mut SoFar,
    ) -> Result<(), Status> {
        match up {
            Up::Register { .. } | Up::RegisterShared { .. } => {
                let why = "a stream registers once; open a new one".to_owned();
                send(&self.out, &Down::Refused { why }).await
            }
            Up::Heartbeat { seq, .. } => {
                self.contact(seq);
                self.keep_hardware(so_far);
                Ok(())
            }
            Up::Report { seq, report } => {
                let permit = reports.clone().acquire_owned().await;
                let permit = permit.expect("this semaphore is never closed");
                let task = self.reporter();
                tokio::spawn(async move {
                    task.record(seq, report).await;
                    drop(permit);
                });
                Ok(())
            }
            Up::Log { lease, source, offset, bytes } => {
                self.take_log(lease, source, offset, &bytes, &so_far.followed).await
            }
            Up::Health { gpus } => self.health(gpus).await,
            Up::Idle { ranks } => {
                self.context.hub.set_idle(self.node, ranks);
                Ok(())
            }
            Up::Hardware { hardware } => {
                so_far.unkept = Some(hardware);
                self.keep_hardware(so_far);
                Ok(())
            }
        }
    }

    /// Records which GPUs are held back, where that is news. In order with what else the node
    /// says; a fault ends the stream, and the next one tells it again.
    async fn health(&self, gpus: Vec<HeldGpu>) -> Result<(), Status> {
        let node = self.node;
        let known = self.context.node.read_local(move |cluster, _| {
            cluster.view().health(node).map(|health| health.gpus.clone())
        });
        let known = known.await.map_err(|fault| super::query::unreadable(&fault))?;
        if known.as_ref() == Some(&gpus) {
            return Ok(());
        }
        let request = crate::state::command::Request {
            key: None,
            actor: format!("node:{}", self.name),
            command: Command::Health { node, gpus },
        };
        match self.context.propose(request).await? {
            Reply::Refused(refusal) => {
                send(&self.out, &Down::Refused { why: refusal.to_string() }).await
            }
            _ => Ok(()),
        }
    }

    /// Has the newest machine recorded, where that is news, one at a time and beside all else: what
    /// is only shown must not keep a node's stream, so what fails is tried at the next heartbeat.
    fn keep_hardware(&self, so_far: &mut SoFar) {
        if so_far.keeping.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let failed = so_far.keeping.take().and_then(|task| task.now_or_never()?.ok()?);
        // What came since is newer.
        so_far.unkept = so_far.unkept.take().or(failed);
        if self.context.node.status().version < HARDWARE_KEPT {
            return;
        }
        let Some(hardware) = so_far.unkept.take() else { return };
        let task = self.reporter();
        so_far.keeping = Some(tokio::spawn(async move { task.keep_hardware(hardware).await }));
    }

    async fn take_log(
        &self,
        lease: LeaseId,
        source: LogSource,
        offset: u64,
        bytes: &[u8],
        followed: &BTreeSet<(LeaseId, LogSource)>,
    ) -> Result<(), Status> {
        let end = offset + bytes.len() as u64;
        match self.context.hub.append(lease, source, offset, bytes) {
            Ok(have) if have == end => Ok(()),
            Ok(have) if have < end && followed.contains(&(lease, source)) => {
                send(&self.out, &Down::LogHave { lease, source, offset: have }).await
            }
            Ok(_) => Ok(()),
            Err(fault) => {
                tracing::warn!(%lease, error = %fault, "log lines not stored");
                Ok(())
            }
        }
    }

    /// Answers a heartbeat after a quorum round that began after it came.
    fn contact(&self, seq: u64) {
        let task = self.reporter();
        tokio::spawn(async move {
            let read = task.context.node.read(|_, _| ());
            if read.await.is_ok() {
                task.touched().await;
                let _ = send(&task.out, &Down::Contact { seq }).await;
            }
        });
    }

    async fn touched(&self) {
        self.reporter().touched().await;
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            context: self.context.clone(),
            name: self.name.clone(),
            boot: self.boot,
            node: self.node,
            out: self.out.clone(),
        }
    }
}

/// What a spawned task of a session needs.
struct Reporter {
    context: Arc<Context>,
    name: String,
    boot: Digest,
    node: NodeId,
    out: Out,
}

impl Reporter {
    /// Tells the lease duty that the node was in contact.
    async fn touched(&self) {
        let _ = self.context.events.send(Event::Contact { node: self.node }).await;
    }

    /// Records the whole machine; gives it back where that has to be tried again.
    async fn keep_hardware(&self, hardware: Box<Hardware>) -> Option<Box<Hardware>> {
        let (node, told) = (self.node, hardware.clone());
        let news = self
            .context
            .node
            .read_local(move |cluster, rows| cluster.view().is_news_of_hardware(rows, node, &told));
        match news.await {
            Ok(false) => return None,
            Ok(true) if !hardware.is_bounded() => {
                tracing::warn!(%node, "the node's machine takes too much room and is not kept");
                return None;
            }
            Ok(true) => {}
            Err(_) => return Some(hardware),
        }
        let request = crate::state::command::Request {
            key: None,
            actor: format!("node:{}", self.name),
            command: Command::Hardware { node, hardware: hardware.clone() },
        };
        match self.context.propose(request).await {
            Ok(Reply::Refused(refusal)) => {
                tracing::warn!(%node, %refusal, "what the node tells of its machine is not kept");
                None
            }
            Ok(_) => None,
            Err(_) => Some(hardware),
        }
    }

    async fn record(&self, seq: u64, report: Report) {
        let key = Digest::of_value(&("assay report", self.boot, seq));
        let mut key_bytes = [0; 16];
        key_bytes.copy_from_slice(&key.0[..16]);
        let command = Command::Report { node: self.node, report };
        let actor = format!("node:{}", self.name);
        for _ in 0..NOT_YET.1 {
            // A report that came too early has no stored reply, so its key is not used up.
            let request = keyed(RequestKey(key_bytes), actor.clone(), command.clone());
            let refused = match self.context.propose(request).await {
                Ok(Reply::Refused(Refusal::NotYet { .. })) => {
                    tokio::time::sleep(NOT_YET.0).await;
                    continue;
                }
                Ok(Reply::Refused(refusal)) => Some(refusal.to_string()),
                Ok(_) => None,
                // The agent repeats it, here or at the next leader.
                Err(_) => return,
            };
            let _ = send(&self.out, &Down::Recorded { seq, refused }).await;
            return;
        }
    }
}
