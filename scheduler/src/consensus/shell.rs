//! A replica at work: its threads, its disk, its peers, and the handle that the rest uses.
//!
//! One thread at a time steps the replica: one that brings mail, if that is quick, or the one that
//! is there for it. Each takes all that has gathered. Another one writes: while it syncs a batch,
//! the next gathers.

mod desk;
mod mail;
mod persist;
mod pump;
mod scrub;
mod space;
mod status;

pub use super::replica::{ProposeError, ReadError};
pub use mail::Reports;
pub use status::{MemberStatus, Status};

use super::{
    codec,
    machine::Machine,
    membership::{ChangeError, MemberChange, Membership},
    overlay::Overlay,
    replica::{Input, Received, Replica, ReplicaConfig, Role},
    rows::RocksRows,
    store::{Checkpointed, Identity, Store, StoreError},
    write::WriteOp,
};
use crate::state::command::{Effect, Reply, Request};
use bytes::Bytes;
use domain::{Bytes as Size, LogIndex, ReplicaId, limit};
use mail::{Gauges, Mail, Mailbox};
use space::Space;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// The rows as a read sees them.
pub type Rows = Overlay<RocksRows>;

/// Effects that wait for the leader's duties; what does not fit is rebuilt from state.
const EFFECTS: usize = 4_096;
/// Longest wait for a successor when a leader is stopped.
const HANDOVER: Duration = Duration::from_millis(4 * limit::TICK.0);

/// How other servers are reached.
pub trait Peers: Send + Sync + 'static {
    /// Called once, before anything else: where to report what became of what was sent, and
    /// where this server itself is reached.
    fn attach(&self, reports: Reports, address: &str);
    /// Who the members are, and where.
    fn members(&self, members: &Membership);
    /// Another server says where it is reached.
    fn learn(&self, from: ReplicaId, address: &str);
    /// Sends or loses a message; never waits.
    fn send(&self, to: ReplicaId, bytes: Bytes);
    /// Sends a snapshot and reports its end.
    fn send_snapshot(&self, to: ReplicaId, copy: Checkpointed, message: Bytes);
}

/// What a server needs to start.
pub struct Start {
    /// Its data directory.
    pub dir: PathBuf,
    /// The cluster and its own id.
    pub identity: Identity,
    /// The founders with their addresses; nobody when it joins a cluster that runs, where it
    /// waits for the leader to send it a snapshot.
    pub founders: BTreeMap<ReplicaId, String>,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Links to the others.
    pub peers: Arc<dyn Peers>,
    /// What is particular to its replica.
    pub replica: ReplicaConfig,
    /// Time between two scrubs of its rows.
    pub scrub_every: Duration,
}

struct Shared<M> {
    mail: Mailbox<M>,
    status: watch::Receiver<Status>,
    applied: watch::Receiver<LogIndex>,
    ended: watch::Receiver<Option<String>>,
    peers: Arc<dyn Peers>,
    store: Store,
    threads: Mutex<Vec<JoinHandle<()>>>,
    scrub: Mutex<Option<scrub::Leash>>,
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

/// What applied entries ask for; a gap is told by [`Effects::missed`].
pub struct Effects {
    stream: mpsc::Receiver<Vec<Effect>>,
    missed: Arc<AtomicBool>,
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

impl<M: Machine + Send + 'static> Node<M> {
    /// Opens the disk and starts the threads.
    ///
    /// # Errors
    /// When the disk is unusable, damaged or another server's. Each says what to do.
    pub fn start(start: Start) -> Result<(Self, Effects), StoreError> {
        let genesis = match start.founders.is_empty() {
            true => WriteOp::default(),
            false => WriteOp::genesis(Membership::founders(start.founders)),
        };
        let store = Store::open(&start.dir, &start.identity, &genesis)?;
        store.forget_checkpoints();
        let boot = store.boot()?;
        let members = boot.membership.clone();
        let refused = |what| move |source| StoreError::System { what, source };
        let mut entropy = pump::entropy().map_err(refused("random numbers"))?;
        let replica = Replica::new(start.replica, boot, store.rows(), &mut entropy)?;

        let (status_out, status) = watch::channel(Status::of(&replica));
        let (applied_out, applied) = watch::channel(replica.applied());
        let (ended_out, ended) = watch::channel(None);
        let (effects, stream) = mpsc::channel(EFFECTS);
        let missed = Arc::new(AtomicBool::new(false));
        let mail = Mailbox::new(Gauges::new(&start.dir));
        start.peers.attach(mail.reports(), &start.address);
        start.peers.members(&members);
        let (jobs, writer) =
            persist::start(store.clone(), mail.clone()).map_err(refused("a thread"))?;
        let pump = pump::Pump::new(pump::Parts {
            replica,
            entropy,
            gauges: mail.gauges(),
            jobs,
            store: store.clone(),
            peers: Arc::clone(&start.peers),
            status: status_out,
            applied: applied_out,
            ended: ended_out,
            effects,
            missed: Arc::clone(&missed),
        });
        let desk = mail.desk();
        let own = move || pump::guard("replica", || desk.own(Box::new(pump)));
        let owner = std::thread::Builder::new().name("replica".into()).spawn(own);
        let owner = owner.map_err(refused("a thread"))?;
        let (leash, scrubber) = scrub::start(store.clone(), mail.clone(), start.scrub_every)
            .map_err(refused("a thread"))?;
        let threads = Mutex::new(vec![owner, writer, scrubber]);
        let (scrub, peers) = (Mutex::new(Some(leash)), start.peers);
        let shared = Shared { mail, status, applied, ended, peers, store, threads, scrub };
        Ok((Self { shared: Arc::new(shared) }, Effects { stream, missed }))
    }

    /// Puts a request in the log and gives the state machine's reply, if this server leads.
    ///
    /// # Errors
    /// [`ProposeError::Unknown`] when it may or may not take effect: repeat it with its key. All
    /// others when it certainly has no effect.
    pub async fn propose(&self, request: Request) -> Result<Reply, ProposeError> {
        let submits = request.command.submits();
        match self.shared.mail.space() {
            Space::Low { free } if submits => return Err(self.full(free, limit::DISK_LOW)),
            Space::Full { free } => return Err(self.full(free, limit::DISK_FULL)),
            Space::Enough | Space::Low { .. } => {}
        }
        let busy = ProposeError::Busy { retry_after_ms: 200 };
        let _place = self.shared.mail.enter().ok_or(busy)?;
        let (reply, answer) = oneshot::channel();
        if !self.shared.mail.post(Mail::Propose { request, reply }) {
            return Err(ProposeError::Stopped);
        }
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    fn full(&self, free: u64, needed: Size) -> ProposeError {
        let status = self.shared.status.borrow();
        match status.is_leader() {
            true => ProposeError::DiskFull { server: status.id, free: Size(free), needed },
            // Another may have more room.
            false => ProposeError::NotLeader { leader: status.leader },
        }
    }

    /// Reads what was acknowledged before now, on any server with a quorum behind it.
    ///
    /// The function runs while nothing else can be stepped: it should take microseconds.
    ///
    /// # Errors
    /// When no quorum confirms it in time, too many reads wait, or this server is ending.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.ask(true, read).await
    }

    /// Reads this server's own state, which may be behind.
    ///
    /// # Errors
    /// When too many reads wait, or this server is ending.
    pub async fn read_local<T: Send + 'static>(
        &self,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.ask(false, read).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        quorum: bool,
        read: impl FnOnce(&M, &Rows) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let _place = self.shared.mail.enter().ok_or(ReadError::Busy { retry_after_ms: 200 })?;
        let (reply, answer) = oneshot::channel();
        let task = Box::new(move |view: Result<(&M, &Rows), ReadError>| {
            // Whoever asked may have gone away.
            let _ = reply.send(view.map(|(machine, rows)| read(machine, rows)));
        });
        if !self.shared.mail.post(Mail::Read { task, quorum }) {
            return Err(ReadError::Stopped);
        }
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Changes the members, if this server leads. A server that is added gets its vote by itself
    /// when it has caught up.
    ///
    /// # Errors
    /// When the change is refused or its fate is unknown.
    pub async fn change(&self, change: MemberChange) -> Result<LogIndex, ChangeError> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.mail.post(Mail::Change { change, reply }) {
            return Err(ChangeError::Unknown);
        }
        answer.await.unwrap_or(Err(ChangeError::Unknown))
    }

    /// Gives the leadership away, if this server leads, and waits a moment for the successor.
    /// Whether there is one shows in [`Node::status`].
    pub async fn transfer(&self, to: ReplicaId) {
        self.shared.mail.post(Mail::Input(Input::Transfer { to }));
        let mut status = self.status_changes();
        let gone = status.wait_for(|status| !status.is_leader());
        // Without a successor in time this server goes on leading.
        let _ = tokio::time::timeout(Duration::from_millis(limit::ELECTION_MAX.0), gone).await;
    }

    /// Takes messages from another server, whose identity the transport has checked. They are
    /// dropped when too many wait: Raft sends again.
    pub fn deliver(&self, from: ReplicaId, messages: impl IntoIterator<Item = Bytes>) {
        let messages = messages.into_iter().filter(|bytes| match codec::hello(bytes) {
            Some(address) => {
                self.shared.peers.learn(from, address);
                false
            }
            None => true,
        });
        self.shared.mail.deliver(from, messages);
    }

    /// Takes a received snapshot in. True when it now counts.
    pub async fn install(&self, from: ReplicaId, message: Bytes, received: Received) -> bool {
        let (done, answer) = oneshot::channel();
        self.shared.mail.post(Mail::Snapshot { from, message, received, done })
            && answer.await.unwrap_or(false)
    }

    /// The disk, to receive snapshots into.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Whether the disk has room for more than what must be written.
    #[must_use]
    pub fn has_room(&self) -> bool {
        matches!(self.shared.mail.space(), Space::Enough)
    }

    /// What this replica is and knows.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Whether this server leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared.status.borrow().is_leader()
    }

    /// The address of the leader, if it is another server.
    #[must_use]
    pub fn leader_address(&self) -> Option<String> {
        let status = self.shared.status.borrow();
        let leader = status.leader.filter(|leader| *leader != status.id)?;
        status.members.get(&leader).map(|member| member.address.clone())
    }

    /// Tells whenever role, term, leader or members change.
    #[must_use]
    pub fn status_changes(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// Tells whenever entries are applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        let mut applied = self.shared.applied.clone();
        applied.mark_unchanged();
        applied
    }

    /// Waits until the replica has ended; says why, if it ended by itself.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.shared.ended.clone();
        let why = ended.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone())
    }

    /// Gives the leadership away if there is somebody to have it, finishes what is being written,
    /// and ends.
    pub async fn stop(&self) {
        self.hand_over().await;
        self.shared.mail.post(Mail::Stop);
        self.shared.scrub.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(
            &mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let join = move || threads.into_iter().try_for_each(JoinHandle::join);
        // A thread that panicked has ended the process before.
        let _ = tokio::task::spawn_blocking(join).await;
    }

    async fn hand_over(&self) {
        let status = self.status();
        let voters = status
            .members
            .iter()
            .filter(|(id, member)| **id != status.id && member.active && member.may_lead());
        let heir = voters.max_by_key(|(_, member)| member.matched).map(|(id, _)| *id);
        if let (Role::Leader, Some(heir)) = (status.role, heir) {
            // Without a successor in time the others elect one.
            let _ = tokio::time::timeout(HANDOVER, self.transfer(heir)).await;
        }
    }
}
