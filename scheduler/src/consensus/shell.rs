//! A replica at work: its threads, its disk, its peers, and the handle that the rest uses.
//!
//! One thread owns the replica and takes all that has gathered in its mailbox at once. A second
//! one writes: while it syncs a batch, the next gathers. Nothing else touches either.

mod mail;
mod persist;
mod pump;
mod space;

pub use mail::Reports;
pub use space::Space;

use super::{
    machine::Machine,
    membership::{ChangeError, MemberChange, Membership},
    overlay::Overlay,
    replica::{Input, ProposeError, ReadError, Replica, ReplicaConfig, Role, StopReason},
    rows::RocksRows,
    store::{Checkpointed, Identity, Store, StoreError},
    write::WriteOp,
};
use crate::state::command::{Command, Effect, Reply, Request};
use bytes::Bytes;
use domain::{LogIndex, ReplicaId, limit};
use mail::{Gauges, Mail, Mailbox};
use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{broadcast, oneshot, watch};

/// The rows as a read sees them.
pub type Rows = Overlay<RocksRows>;
/// A future that a trait object gives.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Effects that a slow subscriber may lag behind before it loses some.
const EFFECTS_KEPT: usize = 1_024;
/// Longest wait for a leader before a request is refused: two elections.
const LEADER_WAIT: Duration = Duration::from_millis(2 * limit::ELECTION_MAX.0);

/// How other servers are reached.
pub trait Peers: Send + Sync + 'static {
    /// Called once, before anything else: where to report what became of what was sent.
    fn attach(&self, reports: Reports);
    /// Who the members are, and where.
    fn members(&self, members: &Membership);
    /// Sends or loses a message; never waits.
    fn send(&self, to: ReplicaId, bytes: Bytes);
    /// Sends a snapshot and reports its end.
    fn send_snapshot(&self, to: ReplicaId, copy: Checkpointed, message: Bytes);
    /// Hands a request to the leader.
    fn forward(&self, to: ReplicaId, request: Request) -> Later<Result<Reply, ProposeError>>;
}

/// What a server needs to start.
pub struct NodeConfig {
    /// Its cluster's name.
    pub cluster: String,
    /// What is particular to its replica.
    pub replica: ReplicaConfig,
    /// Its data directory.
    pub dir: PathBuf,
    /// The founders with their addresses, if this server is one. A server that joins later has
    /// none: it waits for a leader to send it a snapshot.
    pub founders: BTreeMap<ReplicaId, String>,
}

/// What anyone may know of a server without asking its replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<ReplicaId>,
    /// The newest applied entry.
    pub applied: LogIndex,
}

/// What an operator wants to know of a server.
#[derive(Clone, Debug)]
pub struct Status {
    /// The server.
    pub id: ReplicaId,
    /// Role, term, leader and applied entry.
    pub progress: Progress,
    /// The newest committed entry.
    pub committed: LogIndex,
    /// The last entry in the log.
    pub last: LogIndex,
    /// The members.
    pub members: Membership,
    /// On the leader: how far each member's log is known to agree.
    pub matched: BTreeMap<ReplicaId, LogIndex>,
}

/// A server that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its disk cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its replica must not start.
    #[error(transparent)]
    Boot(#[from] super::boot::BootError),
    /// The system refuses a thread.
    #[error("the system refuses a thread; raise its limits")]
    Thread(#[source] std::io::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Entropy(String),
}

struct Shared<M> {
    id: ReplicaId,
    mail: Mailbox<M>,
    progress: watch::Receiver<Progress>,
    members: watch::Receiver<Membership>,
    stopped: watch::Receiver<Option<StopReason>>,
    effects: broadcast::Sender<Arc<Vec<Effect>>>,
    peers: Arc<dyn Peers>,
    store: Store,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A handle on a server's replica. Clones share it.
pub struct Node<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Machine + Send + 'static> Node<M> {
    /// Opens the disk and starts the threads.
    ///
    /// # Errors
    /// When the disk is unusable, damaged or another server's. Each says what to do.
    pub fn start(config: NodeConfig, peers: Arc<dyn Peers>) -> Result<Self, StartError> {
        let identity = Identity { cluster: config.cluster, id: config.replica.id };
        let genesis = match config.founders.is_empty() {
            true => WriteOp::default(),
            false => WriteOp::genesis(Membership::founders(config.founders)),
        };
        let store = Store::open(&config.dir, &identity, &genesis)?;
        store.forget_checkpoints();
        let boot = store.boot()?;
        let members = boot.membership.clone();
        let mut entropy = pump::entropy().map_err(StartError::Entropy)?;
        let replica = Replica::new(config.replica, boot, store.rows(), &mut entropy)?;

        let first = Progress { applied: replica.applied(), ..Progress::default() };
        let (progress_out, progress) = watch::channel(first);
        let (members_out, members_in) = watch::channel(members.clone());
        let (stopped_out, stopped) = watch::channel(None);
        let (effects, _) = broadcast::channel(EFFECTS_KEPT);
        let (mail, mails) = Mailbox::new(Gauges::new(&config.dir));
        peers.attach(mail.reports());
        peers.members(&members);
        let (jobs, writer) =
            persist::start(store.clone(), mail.clone()).map_err(StartError::Thread)?;
        let pump = pump::Pump::new(pump::Parts {
            replica,
            entropy,
            gauges: mail.gauges(),
            jobs,
            peers: Arc::clone(&peers),
            progress: progress_out,
            members: members_out,
            stopped: stopped_out,
            effects: effects.clone(),
        });
        let owner = pump.start(mails).map_err(StartError::Thread)?;
        let shared = Shared {
            id: identity.id,
            mail,
            progress,
            members: members_in,
            stopped,
            effects,
            peers,
            store,
            threads: Mutex::new(vec![owner, writer]),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// This server's id.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.shared.id
    }

    /// Puts a request into the log, wherever the leader is, and waits for the answer of the state
    /// machine.
    ///
    /// # Errors
    /// [`ProposeError::Unknown`] when it may or may not take effect: repeat it with its key. All
    /// others when it certainly has no effect.
    pub async fn propose(&self, request: Request) -> Result<Reply, ProposeError> {
        let mut progress = self.shared.progress.clone();
        let deadline = tokio::time::Instant::now() + LEADER_WAIT;
        loop {
            let known = *progress.borrow_and_update();
            let result = match known.leader {
                Some(leader) if leader == self.id() => self.propose_here(request.clone()).await,
                Some(leader) => self.shared.peers.forward(leader, request.clone()).await,
                None => Err(ProposeError::NotLeader { leader: None }),
            };
            let Err(ProposeError::NotLeader { leader }) = result else { return result };
            // It is in no log. A leader that is named but not known here will be soon.
            let wait = match leader {
                Some(_) if leader != known.leader => Duration::from_millis(limit::TICK.0 / 2),
                _ => Duration::from_millis(limit::TICK.0 * 4),
            };
            if tokio::time::Instant::now() + wait > deadline {
                return Err(ProposeError::NotLeader { leader });
            }
            // A timeout only means that nothing has changed: ask again.
            let _ = tokio::time::timeout(wait, progress.changed()).await;
        }
    }

    /// Puts a request into the log if this server leads.
    ///
    /// # Errors
    /// As [`Node::propose`]; at once when this server does not lead.
    pub async fn propose_here(&self, request: Request) -> Result<Reply, ProposeError> {
        if let Space::Low { free } = self.shared.mail.space()
            && matches!(request.command, Command::Submit { .. })
        {
            return Err(ProposeError::DiskFull { free });
        }
        let busy = ProposeError::Busy { retry_after_ms: 200 };
        let _place = self.shared.mail.enter().ok_or(busy)?;
        let (reply, answer) = oneshot::channel();
        if !self.shared.mail.post(Mail::Propose { request, reply }) {
            return Err(ProposeError::Stopped);
        }
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Reads what was acknowledged before now, on any server with a quorum behind it.
    ///
    /// The function runs on the thread that owns the replica: it should take microseconds.
    ///
    /// # Errors
    /// When no quorum confirms it in time.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.ask(true, move |machine, rows, _| read(machine, rows)).await
    }

    /// Reads this server's own view, which may be behind, with the index that it shows.
    ///
    /// # Errors
    /// When this server is stopping, or too many reads wait.
    pub async fn read_local<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<(T, LogIndex), ReadError> {
        self.ask(false, move |machine, rows, applied| (read(machine, rows), applied)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        quorum: bool,
        read: impl FnOnce(&M, &Rows, LogIndex) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let _place = self.shared.mail.enter().ok_or(ReadError::Busy { retry_after_ms: 200 })?;
        let (reply, answer) = oneshot::channel();
        let task = Box::new(move |view: Result<mail::View<'_, M>, ReadError>| {
            // Whoever asked may have gone away.
            let _ = reply.send(view.map(|view| read(view.machine, view.rows, view.applied)));
        });
        if !self.shared.mail.post(Mail::Read { task, quorum }) {
            return Err(ReadError::Stopped);
        }
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Waits until all that was acknowledged before now is applied here: a quorum round begun
    /// after the call.
    ///
    /// # Errors
    /// As [`Node::read`].
    pub async fn confirm(&self) -> Result<(), ReadError> {
        self.read(|_, _| ()).await
    }

    /// Role, term, leader and applied entry as they are now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.shared.progress.borrow()
    }

    /// What an operator wants to know of this server.
    ///
    /// # Errors
    /// When this server is stopping.
    pub async fn status(&self) -> Result<Status, ReadError> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.mail.post(Mail::Status { reply }) {
            return Err(ReadError::Stopped);
        }
        answer.await.map_err(|_| ReadError::Stopped)
    }

    /// Changes the members, if this server leads. A server that is added gets its vote by itself
    /// when it has caught up.
    ///
    /// # Errors
    /// When it must not or cannot be done now.
    pub async fn change(&self, change: MemberChange) -> Result<LogIndex, ChangeError> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.mail.post(Mail::Change { change, reply }) {
            return Err(ChangeError::Unknown);
        }
        answer.await.unwrap_or(Err(ChangeError::Unknown))
    }

    /// Asks this server, if it leads, to give the leadership to `to`. Whether it did shows in
    /// [`Node::progress`].
    pub fn transfer(&self, to: ReplicaId) {
        self.shared.mail.post(Mail::Input(Input::Transfer { to }));
    }

    /// Takes a message from another server, whose identity the transport has checked. Gives
    /// false when it was dropped because too many wait; the sender repeats it.
    pub fn deliver(&self, from: ReplicaId, bytes: Bytes) -> bool {
        self.shared.mail.deliver(from, bytes)
    }

    /// Hands over a snapshot whose rows were received whole. Gives whether it was installed.
    pub async fn install(&self, from: ReplicaId, message: Bytes, family: u64) -> bool {
        let (done, answer) = oneshot::channel();
        self.shared.mail.post(Mail::Snapshot { from, message, family, done })
            && answer.await.unwrap_or(false)
    }

    /// Role, term, leader and applied entry, as they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.shared.progress.clone()
    }

    /// The members, as they change.
    #[must_use]
    pub fn watch_members(&self) -> watch::Receiver<Membership> {
        self.shared.members.clone()
    }

    /// Effects of applied entries. A subscriber that lags loses some, which costs nothing but
    /// time: state tells the same.
    #[must_use]
    pub fn effects(&self) -> broadcast::Receiver<Arc<Vec<Effect>>> {
        self.shared.effects.subscribe()
    }

    /// Waits until the replica must not go on, and says why. The process is then to end; none is
    /// given when it was shut down.
    pub async fn stopped(&self) -> Option<StopReason> {
        let mut stopped = self.shared.stopped.clone();
        // An error means that the owner has ended: the last value counts.
        let _ = stopped.wait_for(Option::is_some).await;
        stopped.borrow().clone()
    }

    /// The disk, for receiving snapshots.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Gives the leadership away if it can, finishes what is being written, and ends.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        self.shared.mail.post(Mail::Shutdown);
        let threads = std::mem::take(
            &mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner),
        );
        // A thread that panicked has ended the process before.
        let _ =
            tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(JoinHandle::join))
                .await;
    }

    async fn hand_over(&self) {
        let Ok(status) = self.status().await else { return };
        if status.progress.role != Role::Leader {
            return;
        }
        let others = status
            .matched
            .iter()
            .filter(|(id, _)| **id != self.id() && status.members.voters.contains(id));
        if let Some((heir, _)) = others.max_by_key(|(_, matched)| **matched) {
            self.transfer(*heir);
            let mut progress = self.watch();
            let gone = progress.wait_for(|now| now.role != Role::Leader);
            let wait = Duration::from_millis(limit::ELECTION_MAX.0);
            // Without an heir in time the others elect one.
            let _ = tokio::time::timeout(wait, gone).await;
        }
    }
}
