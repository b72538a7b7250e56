//! The shell around a replica: one thread that owns it, one that writes, and a handle for all
//! others.

mod persist;
mod turn;

use super::{
    Identity, MemberChange, Membership, Overlay, ReplicaConfig, RocksRows, Role, Store, StoreError,
    WriteOp, membership::ChangeError, replica::Input, transport::Transport,
};
use crate::{
    consensus::machine::Machine,
    state::command::{Effect, Reply, Request},
};
use domain::{LogIndex, ReplicaId, limit};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use super::replica::{ProposeError, ReadError};

/// The rows as a read sees them.
pub type Rows = Overlay<RocksRows>;

/// Effects that wait for the leader's duties; what does not fit is rebuilt from state.
const EFFECTS: usize = 4_096;

/// One member as others show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// `host:port`.
    pub address: String,
    /// leader, follower or learner.
    pub role: String,
    /// The newest entry it is known to hold, as the leader sees it.
    pub matched: LogIndex,
    /// Whether the leader knows it to follow.
    pub active: bool,
}

/// What a replica is and knows of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This server.
    pub id: ReplicaId,
    /// What it is.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<ReplicaId>,
    /// Newest committed entry.
    pub commit: LogIndex,
    /// All members.
    pub members: BTreeMap<ReplicaId, MemberStatus>,
}

impl Status {
    /// Whether this server leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

/// How a replica is started.
pub struct Start {
    /// Its data directory.
    pub dir: PathBuf,
    /// The cluster and its own id.
    pub identity: Identity,
    /// The founders, or nobody when it joins a cluster that runs.
    pub founders: BTreeMap<ReplicaId, String>,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Links to the others.
    pub transport: Transport,
}

type Run<M> = Box<dyn FnOnce(&M, &Rows) + Send>;

/// A read that waits for its quorum round; dropped unrun when there is none.
struct Read<M> {
    run: Run<M>,
    failed: oneshot::Sender<ReadError>,
}

/// What reaches the replica's thread.
enum Mail<M> {
    Input(Input),
    Propose { request: Request, answer: oneshot::Sender<Result<Reply, ProposeError>> },
    Read(Read<M>),
    ReadLocal(Run<M>),
    Change { change: MemberChange, answer: oneshot::Sender<Result<LogIndex, ChangeError>> },
    Written { seq: u64, installed: Option<u64> },
    Checkpointed { to: ReplicaId, checkpoint: Option<Arc<super::store::Checkpointed>> },
    Receive(Received),
    Stop,
}

/// A snapshot that came in whole.
struct Received {
    from: ReplicaId,
    message: bytes::Bytes,
    family: u64,
    settled: oneshot::Sender<bool>,
}

/// A handle on a running replica.
pub struct Node<M> {
    mail: mpsc::Sender<Mail<M>>,
    status: watch::Receiver<Status>,
    applied: watch::Receiver<LogIndex>,
    ended: watch::Receiver<Option<String>>,
    disk_free: Arc<AtomicU64>,
    store: Store,
}

impl<M> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self {
            mail: self.mail.clone(),
            status: self.status.clone(),
            applied: self.applied.clone(),
            ended: self.ended.clone(),
            disk_free: self.disk_free.clone(),
            store: self.store.clone(),
        }
    }
}

/// What applied entries ask for; a gap is told by [`Effects::missed`].
pub struct Effects {
    stream: mpsc::Receiver<Vec<Effect>>,
    missed: Arc<std::sync::atomic::AtomicBool>,
}

impl Effects {
    /// The next effects; none when the replica has ended.
    pub async fn next(&mut self) -> Option<Vec<Effect>> {
        self.stream.recv().await
    }

    /// Effects that have gathered.
    pub fn gathered(&mut self) -> Vec<Effect> {
        let mut all = Vec::new();
        while let Ok(more) = self.stream.try_recv() {
            all.extend(more);
        }
        all
    }

    /// Whether effects were dropped since the last call: everything is to be looked at again.
    pub fn missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

/// Bytes that must stay free for the log; below it, requests are refused.
const DISK_RESERVE: u64 = 64 << 20;

impl<M: Machine + Send + 'static> Node<M> {
    /// Opens the disk and starts the replica.
    ///
    /// # Errors
    /// When the disk cannot be used or does not fit together: this server must be replaced.
    pub fn start(start: Start) -> Result<(Self, Effects), StoreError> {
        let genesis = match start.founders.is_empty() {
            true => WriteOp::default(),
            false => WriteOp::genesis(Membership::founders(start.founders)),
        };
        let store = Store::open(&start.dir, &start.identity, &genesis)?;
        store.forget_checkpoints();
        let boot = store.boot()?;
        let config = ReplicaConfig::new(start.identity.id);
        let (mail, inbox) = mpsc::channel(limit::PROPOSE_QUEUE);
        let (effects, stream) = mpsc::channel(EFFECTS);
        let missed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let status = watch::Sender::new(Status { id: start.identity.id, ..Status::default() });
        let applied = watch::Sender::new(LogIndex(boot.applied.index));
        let ended = watch::Sender::new(None);
        let node = Self {
            mail: mail.clone(),
            status: status.subscribe(),
            applied: applied.subscribe(),
            ended: ended.subscribe(),
            disk_free: Arc::new(AtomicU64::new(u64::MAX)),
            store: store.clone(),
        };
        let writer = persist::start(store.clone(), mail.clone());
        let turn = turn::Turn::new(turn::Parts {
            config,
            boot,
            store,
            writer,
            mail: mail.downgrade(),
            transport: start.transport,
            address: start.address,
            effects,
            missed: missed.clone(),
            status,
            applied,
            ended,
        })?;
        let thread = std::thread::Builder::new().name("replica".into());
        let spawned = thread.spawn(move || turn.run(inbox));
        spawned.expect("the system gives threads at start");
        node.tick();
        node.watch_disk();
        Ok((node, Effects { stream, missed }))
    }

    fn tick(&self) {
        let mail = self.mail.downgrade();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(limit::TICK.0));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(mail) = mail.upgrade() else { return };
                // A full mailbox means work, not silence: the tick may be late.
                if mail.send(Mail::Input(Input::Tick)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn watch_disk(&self) {
        let (free, dir) = (self.disk_free.clone(), self.store.dir().to_owned());
        let mail = self.mail.downgrade();
        tokio::spawn(async move {
            while mail.upgrade().is_some() {
                if let Ok(disk) = rustix::fs::statvfs(&dir) {
                    free.store(disk.f_bavail * disk.f_frsize, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// Puts a request in the log and gives the state machine's reply.
    ///
    /// # Errors
    /// When it was not put in the log, or its fate is unknown: the error says which.
    pub async fn propose(&self, request: Request) -> Result<Reply, ProposeError> {
        let free = self.disk_free.load(Ordering::Relaxed);
        if free < DISK_RESERVE {
            return Err(ProposeError::DiskFull { free });
        }
        let (answer, wait) = oneshot::channel();
        let sent = self.mail.try_send(Mail::Propose { request, answer });
        match sent {
            Ok(()) => wait.await.unwrap_or(Err(ProposeError::Unknown)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(ProposeError::Busy { retry_after_ms: 200 })
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ProposeError::Stopped),
        }
    }

    /// Reads the state after a quorum round: all that was acknowledged before the call is seen.
    ///
    /// # Errors
    /// When no quorum answers in time.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, wait) = oneshot::channel();
        let (failed, fault) = oneshot::channel();
        let run: Run<M> = Box::new(move |machine, rows| {
            let _ = answer.send(read(machine, rows));
        });
        self.post(Mail::Read(Read { run, failed })).await?;
        match wait.await {
            Ok(value) => Ok(value),
            Err(_) => Err(fault.await.unwrap_or(ReadError::Stopped)),
        }
    }

    /// Reads this server's own state, which may be behind.
    ///
    /// # Errors
    /// When this server is ending.
    pub async fn read_local<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, wait) = oneshot::channel();
        let run: Run<M> = Box::new(move |machine, rows| {
            let _ = answer.send(read(machine, rows));
        });
        self.post(Mail::ReadLocal(run)).await?;
        wait.await.map_err(|_| ReadError::Stopped)
    }

    async fn post(&self, mail: Mail<M>) -> Result<(), ReadError> {
        self.mail.send(mail).await.map_err(|_| ReadError::Stopped)
    }

    /// Changes the members.
    ///
    /// # Errors
    /// When the change is refused or its fate is unknown.
    pub async fn change(&self, change: MemberChange) -> Result<LogIndex, ChangeError> {
        let (answer, wait) = oneshot::channel();
        let sent = self.mail.send(Mail::Change { change, answer }).await;
        sent.map_err(|_| ChangeError::Unknown)?;
        wait.await.unwrap_or(Err(ChangeError::Unknown))
    }

    /// Gives the leadership away, if this server leads.
    pub async fn transfer(&self, to: ReplicaId) {
        let _ = self.mail.send(Mail::Input(Input::Transfer { to })).await;
    }

    /// Takes a message from another replica, whose identity was checked. Drops it when too much
    /// waits: Raft sends again.
    pub fn deliver(&self, from: ReplicaId, bytes: bytes::Bytes) {
        let _ = self.mail.try_send(Mail::Input(Input::Message { from, bytes }));
    }

    /// Takes a received snapshot in. True when it now counts.
    pub async fn install(&self, from: ReplicaId, message: bytes::Bytes, family: u64) -> bool {
        let (settled, wait) = oneshot::channel();
        let received = Received { from, message, family, settled };
        self.mail.send(Mail::Receive(received)).await.is_ok() && wait.await.unwrap_or(false)
    }

    /// The disk, to receive snapshots into.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What this replica is and knows.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Tells whenever the status changes.
    #[must_use]
    pub fn status_changes(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Tells whenever entries are applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        let mut applied = self.applied.clone();
        applied.mark_unchanged();
        applied
    }

    /// Waits until the replica has ended; says why, if it ended by itself.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        let why = ended.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone())
    }

    /// Ends the replica after what it has taken in.
    pub async fn stop(&self) {
        let _ = self.mail.send(Mail::Stop).await;
    }
}
