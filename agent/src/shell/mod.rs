//! The agent as a process: feeds its machine with what happens and does what it says.

mod ahead;
mod apart;
mod boot;
mod care;
mod config;
mod local;
mod notice;
mod obey;
mod quota;
mod ready;
mod tail;
mod vigil;
mod ward;

#[cfg(test)]
mod tests;

pub use config::{AgentError, Config};
pub use ready::{Ready, ready};

use crate::{
    driver::{
        checkpoints::{self, CheckpointWatch, Seen},
        clock,
        dirs::NodeDirs,
        gpu::{self, Gpus},
        host,
        patrol::{self, News},
        pool::FolderPool,
        supervisor::Said,
        tasks::{Heard, ORDERS_AHEAD, Order},
    },
    link::{self, LinkConfig, LinkEvent},
    machine::{AgentMachine, Exit, Input},
    store::{Cache, Servers, Stores},
};
use care::Told;
use domain::{
    LeaseId, Millis,
    hardware::{Hardware, HostHardware},
    job::EndCause,
    link::{Down, Up},
    node::Inventory,
};
use local::Local;
use registry::seal::node::NodeKey;
use std::{collections::BTreeMap, future::Future, io, sync::Arc, time::Duration};
use tail::Tail;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use vigil::Vigil;
use ward::{HEALTH_AHEAD, Node, Ward};

/// Outcomes of background work that wait for the machine.
const DONE_AHEAD: usize = 1_024;
/// Events of the link that wait for the machine.
const EVENTS_AHEAD: usize = 1_024;
/// Longest sleep, whatever the machine says: its clock also runs while the system sleeps.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Free bytes below which a failed task is taken to have failed for want of them.
const FREE_MIN: u64 = 1 << 20;

/// Runs an agent until `stop` completes. Its tasks go on under the supervisor: the next agent on
/// this folder takes them over.
///
/// # Errors
/// When the node cannot be set up, or its supervisor hangs.
pub async fn run(ready: Ready, stop: impl Future<Output = ()>) -> Result<(), AgentError> {
    let Ready { config, isolation, supervisor } = ready;
    let dirs = NodeDirs { root: config.dir.clone() };
    let host = host::read_host()?;
    let gpus = gpu::open(config.nvml.as_deref())?;
    let cut = gpu::keep(&dirs, &config.gpu_shares, &*gpus, &host.boot_id)?;
    let gpus: Arc<dyn Gpus> = Arc::from(gpu::shared(gpus, cut, config.gpu_shares.clone()));
    let hardware = hardware(&config, host, &*gpus)?;
    let inventory = host::inventory(config.name.clone(), &hardware, isolation, &config.place);
    let class = hardware.class();
    tracing::info!(node = %config.name, gpus = inventory.gpus.len(), %class, "agent starts");
    for gpu in &hardware.gpus.unread {
        tracing::warn!(gpu = gpu.index, why = %gpu.why, "GPU does not answer and is not offered");
    }
    let setting = |fault: tonic::transport::Error| AgentError::Setting {
        setting: "servers",
        fault: format!("{fault}"),
        remedy: "give addresses as `host:port`, and certificates in PEM",
    };
    let blobs = Servers::new(&config.servers, config.tls.as_ref(), &config.name);
    let blobs = Arc::new(blobs.map_err(setting)?);
    let link_config = LinkConfig {
        servers: config.servers.clone(),
        tls: config.tls.clone(),
        name: config.name.clone(),
    };
    let (events, inbox) = mpsc::channel(EVENTS_AHEAD);
    let mut parts = JoinSet::new();
    parts.spawn(link::run(link_config, events));
    let leads = Arc::clone(&blobs);
    let on_leader = move |leader| leads.prefer(leader);
    let failed =
        |why: io::Error| AgentError::Folder { path: config.dir.display().to_string(), why };
    let (tell, heard) = mpsc::channel(HEALTH_AHEAD);
    let ward = Ward::open(&dirs, &hardware).map_err(failed)?;
    patrol::begin(gpus, hardware.clone(), tell).map_err(failed)?;
    let hardware = Some(Box::new(hardware));
    let node = Node { inventory, hardware, ward, heard, supervisor };
    let served = serve_on(config, node, blobs, inbox, on_leader, stop).await;
    parts.shutdown().await;
    served
}

/// Runs an agent on any blob store and any link: `inbox` says what happens on the stream.
///
/// # Errors
/// As [`run`].
pub async fn serve<B: Stores>(
    config: Config,
    inventory: Inventory,
    blobs: Arc<B>,
    inbox: mpsc::Receiver<LinkEvent>,
    on_leader: impl Fn(Option<String>),
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    serve_on(config, Node::unwatched(inventory), blobs, inbox, on_leader, stop).await
}

async fn serve_on<B: Stores>(
    config: Config,
    node: Node,
    blobs: Arc<B>,
    inbox: mpsc::Receiver<LinkEvent>,
    on_leader: impl Fn(Option<String>),
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let mut parts = JoinSet::new();
    let (mut shell, mailboxes) = boot::boot(config, node, blobs, inbox, &mut parts).await?;
    shell.offer();
    let served = shell.live(mailboxes, on_leader, stop).await;
    parts.shutdown().await;
    served
}

/// This machine, as far as the settings let tasks use it.
fn hardware(
    config: &Config,
    mut host: HostHardware,
    gpus: &dyn Gpus,
) -> Result<Hardware, AgentError> {
    host.cpu = config.cpu.unwrap_or(host.cpu);
    host.memory = config.memory.unwrap_or(host.memory);
    Ok(Hardware { host, gpus: gpus.read()? })
}

/// All that a running agent holds.
struct Shell<B> {
    machine: AgentMachine,
    /// All that the node has; what it offers of it is the ward's.
    inventory: Inventory,
    /// The whole machine; none where nobody looks after it.
    hardware: Option<Box<Hardware>>,
    ward: Ward,
    told: Told,
    vigil: Vigil,
    quotas: quota::Quotas,
    aheads: ahead::Aheads,
    notices: notice::Notices,
    dirs: NodeDirs,
    pool: Arc<FolderPool>,
    cache: Arc<Cache>,
    blobs: Arc<B>,
    /// What this node signs its own word on results with.
    node_key: Option<Arc<NodeKey>>,
    watch: CheckpointWatch,
    /// The open stream.
    up: Option<mpsc::Sender<Up>>,
    orders: mpsc::Sender<Order>,
    tail: mpsc::Sender<Tail>,
    done: mpsc::Sender<Input>,
    leases: BTreeMap<LeaseId, Local>,
    /// Removal of folders, which nothing waits for.
    sweeping: JoinSet<()>,
    /// Whether the supervisor is another user, who has to hand folders back before they are removed.
    apart: bool,
    /// Who waits for that.
    forgotten: BTreeMap<LeaseId, oneshot::Sender<()>>,
    overrun: bool,
}

/// Where things come in.
struct Mailboxes {
    link: mpsc::Receiver<LinkEvent>,
    heard: mpsc::Receiver<Heard>,
    seen: mpsc::Receiver<Seen>,
    done: mpsc::Receiver<Input>,
    news: mpsc::Receiver<News>,
}

impl<B: Stores> Shell<B> {
    async fn live(
        mut self,
        mut mail: Mailboxes,
        on_leader: impl Fn(Option<String>),
        stop: impl Future<Output = ()>,
    ) -> Result<(), AgentError> {
        tokio::pin!(stop);
        self.feed(Input::Tick);
        while !self.overrun {
            // Every arm is cancel-safe: mailboxes, a timer, a pinned future.
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(event) = mail.link.recv() => self.on_link(event, &on_leader),
                heard = mail.heard.recv() => match heard {
                    Some(heard) => self.on_heard(heard),
                    None => return Err(AgentError::Bereft),
                },
                Some(Seen { lease, step }) = mail.seen.recv() => {
                    self.feed(Input::CheckpointSeen { lease, step });
                }
                Some(input) = mail.done.recv() => self.feed(input),
                Some(news) = mail.news.recv() => self.on_news(news),
                () = tokio::time::sleep(self.nap()) => self.feed(Input::Tick),
                Some(_) = self.sweeping.join_next() => {}
                Some(Ok(found)) = self.quotas.looks.join_next() => self.on_disk(found),
                Some(_) = self.aheads.looks.join_next() => {}
                Some(Ok(counts)) = self.notices.looks.join_next() => self.on_counts(counts),
            }
            self.tell_health();
            self.tell_hardware();
            self.look();
            self.look_at_disk();
            self.look_ahead();
            self.look_at_noticed();
            self.tell_idle();
        }
        Err(AgentError::Overrun)
    }

    /// Time until the machine wants to be woken.
    fn nap(&self) -> Duration {
        let now = clock::boot_now();
        let left =
            self.machine.wake().map_or(SLEEP_MAX, |at| Duration::from_millis(at.minus(now).0));
        left.min(SLEEP_MAX)
    }

    fn feed(&mut self, input: Input) {
        for output in self.machine.on(input, clock::boot_now()) {
            self.obey(output);
        }
    }

    fn on_link(&mut self, event: LinkEvent, on_leader: &impl Fn(Option<String>)) {
        match event {
            LinkEvent::Opened { server, up } => {
                tracing::info!(%server, "stream opened");
                on_leader(Some(server));
                self.up = Some(up.clone());
                self.tell(Tail::Link(Some(up)));
                self.feed(Input::Connected);
            }
            LinkEvent::Speaks(link) => self.told.speaks = link,
            LinkEvent::Down(Down::LogHave { lease, source, offset }) => {
                self.tell(Tail::Have { lease, source, offset });
            }
            LinkEvent::Down(Down::Accept { acceptance }) => self.on_acceptance(&acceptance),
            LinkEvent::Down(Down::Accuse { accusation }) => self.on_accusation(&accusation),
            LinkEvent::Down(down) => {
                self.told.welcomed |= matches!(down, Down::Welcome { .. });
                self.feed(Input::Down(down));
            }
            LinkEvent::Lost => {
                on_leader(None);
                self.up = None;
                self.told = Told::default();
                self.tell(Tail::Link(None));
                self.feed(Input::Disconnected);
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Fault { lease, cause } => self.feed(Input::Faulted { lease, cause }),
            Heard::Said(Said::Started { lease, rank, pid }) => {
                tracing::info!(%lease, rank, pid, "task started");
                if let Some(local) = self.leases.get_mut(&lease) {
                    local.started.get_or_insert_with(clock::wall_now);
                }
            }
            Heard::Said(Said::Differs { lease, why, .. }) => {
                let detail = format!("the environment contract is not in force: {why}");
                self.feed(Input::Faulted { lease, cause: EndCause::Prepare { detail } });
            }
            Heard::Said(Said::Observed { lease, rank, observed }) => {
                if let Some(local) = self.leases.get_mut(&lease) {
                    local.observed.insert(rank, observed);
                }
            }
            Heard::Said(Said::Drifted { lease, rank, name, asked, found }) => {
                let cause = EndCause::Drift { rank, name, asked, found };
                tracing::warn!(%lease, %cause, "drift");
                self.feed(Input::Faulted { lease, cause });
            }
            Heard::Said(Said::NotStarted { lease, why, .. }) => {
                let detail = format!("{why}; check the job's `command`");
                self.feed(Input::Faulted { lease, cause: EndCause::Prepare { detail } });
            }
            Heard::Said(Said::NotConfined { lease, why }) => {
                tracing::error!(%lease, %why, "sandbox not built");
                self.feed(Input::Faulted { lease, cause: EndCause::Sandbox { detail: why } });
            }
            Heard::Said(Said::NotReturned { lease, why }) => {
                tracing::error!(%lease, %why, "what tasks left is not handed back");
                let detail = format!("what its tasks left cannot be taken over: {why}");
                self.feed(Input::Faulted { lease, cause: EndCause::Seal { detail } });
            }
            Heard::Said(Said::Exited { lease, rank, exit, ended, alone }) => {
                if let Some(local) = self.leases.get_mut(&lease) {
                    local.alone = alone;
                }
                tracing::info!(%lease, rank, ?exit, "task ended");
                self.exited(lease, rank, exit, ended);
            }
            Heard::Said(Said::Killed { lease }) => self.feed(Input::Killed { lease }),
            Heard::Said(Said::Looked { ranks }) => self.on_looked(ranks),
            Heard::Said(Said::Noted { lease, rank, added, dump }) => {
                self.on_noted(lease, rank, added, dump);
            }
            Heard::Said(Said::Forgotten { lease }) => {
                // Gone where nobody waits any more.
                self.forgotten.remove(&lease).map(|told| told.send(()));
            }
            // Not handed on.
            Heard::Said(Said::All(_) | Said::LaidOut { .. }) => {}
        }
    }

    /// A task's end is told after all that it printed, and after its last checkpoint.
    fn exited(&mut self, lease: LeaseId, rank: u32, exit: Exit, ended: Millis) {
        if let Some(local) = self.leases.get_mut(&lease) {
            local.ended = local.ended.max(Some(ended));
            local.left.remove(&rank);
            // All ended, this one well: what stands there is complete, seen or not.
            if local.left.is_empty()
                && exit == Exit::Code(0)
                && let Some(step) = checkpoints::newest(&self.dirs.lease(lease))
            {
                self.feed(Input::CheckpointSeen { lease, step });
            }
        }
        let then = match self.full_disk(rank, exit) {
            Some(cause) => Input::Faulted { lease, cause },
            None => Input::Exited { lease, rank, exit },
        };
        if let Err(mpsc::error::TrySendError::Full(Tail::Finish { then, .. })) =
            self.tail.try_send(Tail::Finish { lease, then })
        {
            self.feed(then);
        }
    }

    /// The cause where a task failed on a disk without room: that is the node's fault, not the
    /// job's, and another node may have more. Only a guess, for programs tell nobody why they end.
    fn full_disk(&self, rank: u32, exit: Exit) -> Option<EndCause> {
        let by_itself = matches!(exit, Exit::Code(_) | Exit::Signal(_));
        let failed = exit.cause(rank).filter(|_| by_itself)?;
        let figures = rustix::fs::statvfs(&self.dirs.root).ok()?;
        let free = figures.f_bavail.saturating_mul(figures.f_frsize);
        let inodes_left = figures.f_files == 0 || figures.f_favail > 0;
        if free >= FREE_MIN && inodes_left {
            return None;
        }
        let root = self.dirs.root.display();
        let detail = format!("{failed} when {free} bytes were left at {root}");
        Some(EndCause::DiskFull { detail })
    }

    fn tell(&mut self, tail: Tail) {
        // A full mailbox drops log lines at worst: the server asks for what it lacks.
        if self.tail.try_send(tail).is_err() {
            tracing::warn!("the log follower does not keep up");
        }
    }

    fn order(&mut self, order: Order) {
        if self.orders.try_send(order).is_err() {
            self.overrun = true;
        }
    }

    fn send(&mut self, up: Up) {
        let sent = self.up.as_ref().is_none_or(|open| open.try_send(up).is_ok());
        if !sent {
            // The server does not read: dropping the sender ends the stream, and a new one is
            // opened. Reports are sent again, heartbeats are not missed.
            self.up = None;
        }
    }
}
