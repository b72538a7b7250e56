//! The replica's thread: takes what has gathered, steps once, performs the outputs.

use super::{Mail, MemberStatus, Read, Received, Rows, Status, persist::Job};
use crate::{
    consensus::{
        BootState, Membership, Replica, ReplicaConfig, RocksRows, Role, Store, StoreError,
        machine::Machine,
        membership::ChangeError,
        replica::{Input, Output, ProposeError, ReadError},
        snapshot,
        store::Checkpointed,
        transport::Transport,
    },
    state::command::{Effect, Reply},
};
use domain::{LogIndex, Millis, ReplicaId, limit};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool, mpsc::SyncSender},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Mails taken in one step.
const MAILS: usize = 4_096;

pub(super) struct Parts<M> {
    pub config: ReplicaConfig,
    pub boot: BootState,
    pub store: Store,
    pub writer: SyncSender<Job>,
    pub mail: mpsc::WeakSender<Mail<M>>,
    pub transport: Transport,
    pub address: String,
    pub effects: mpsc::Sender<Vec<Effect>>,
    pub missed: Arc<AtomicBool>,
    pub status: watch::Sender<Status>,
    pub applied: watch::Sender<LogIndex>,
    pub ended: watch::Sender<Option<String>>,
}

/// Callers that wait for an answer, by token.
struct Waiting<M> {
    next: u64,
    proposals: BTreeMap<u64, oneshot::Sender<Result<Reply, ProposeError>>>,
    reads: BTreeMap<u64, Read<M>>,
    changes: BTreeMap<u64, oneshot::Sender<Result<LogIndex, ChangeError>>>,
    received: BTreeMap<u64, oneshot::Sender<bool>>,
}

pub(super) struct Turn<M: Machine> {
    replica: Replica<M, RocksRows>,
    rows: RocksRows,
    store: Store,
    writer: SyncSender<Job>,
    mail: mpsc::WeakSender<Mail<M>>,
    transport: Transport,
    runtime: tokio::runtime::Handle,
    effects: mpsc::Sender<Vec<Effect>>,
    missed: Arc<AtomicBool>,
    status: watch::Sender<Status>,
    applied: watch::Sender<LogIndex>,
    ended: watch::Sender<Option<String>>,
    waiting: Waiting<M>,
    snapshots: BTreeMap<ReplicaId, Arc<Checkpointed>>,
    stop: Option<String>,
}

fn entropy() -> u64 {
    getrandom::u64().expect("the system gives random numbers")
}

/// The wall clock, which stamps proposals.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(since.as_millis() as u64)
}

impl<M: Machine + Send + 'static> Turn<M> {
    pub fn new(parts: Parts<M>) -> Result<Self, StoreError> {
        let rows = parts.store.rows();
        let membership = parts.boot.membership.clone();
        let replica = Replica::new(parts.config, parts.boot, rows.clone(), &mut entropy)?;
        let turn = Self {
            replica,
            rows,
            store: parts.store,
            writer: parts.writer,
            mail: parts.mail,
            transport: parts.transport,
            runtime: tokio::runtime::Handle::current(),
            effects: parts.effects,
            missed: parts.missed,
            status: parts.status,
            applied: parts.applied,
            ended: parts.ended,
            waiting: Waiting {
                next: 0,
                proposals: BTreeMap::new(),
                reads: BTreeMap::new(),
                changes: BTreeMap::new(),
                received: BTreeMap::new(),
            },
            snapshots: BTreeMap::new(),
            stop: None,
        };
        turn.transport.members(&membership, &parts.address);
        turn.show();
        Ok(turn)
    }

    /// Runs until it is told to end, or must not go on.
    pub fn run(mut self, mut inbox: mpsc::Receiver<Mail<M>>) {
        let guard = AbortOnPanic;
        while self.stop.is_none() {
            let Some(first) = inbox.blocking_recv() else { break };
            let mut inputs = Vec::new();
            let mut local = Vec::new();
            self.take(first, &mut inputs, &mut local);
            while inputs.len() + local.len() < MAILS
                && let Ok(more) = inbox.try_recv()
            {
                self.take(more, &mut inputs, &mut local);
            }
            if inbox.is_empty() && self.replica.unannounced() {
                inputs.push(Input::Announce);
            }
            let outputs = self.replica.step_many(inputs, now(), &mut entropy);
            self.perform(outputs);
            for run in local {
                let (machine, rows) = self.replica.view();
                run(machine, rows);
            }
        }
        inbox.close();
        let why = self.stop.take().unwrap_or_default();
        self.ended.send_replace(Some(why));
        std::mem::forget(guard);
    }

    fn token(&mut self) -> u64 {
        self.waiting.next += 1;
        self.waiting.next
    }

    fn take(&mut self, mail: Mail<M>, inputs: &mut Vec<Input>, local: &mut Vec<super::Run<M>>) {
        match mail {
            Mail::Input(input) => inputs.push(input),
            Mail::Propose { request, answer } => {
                let token = self.token();
                self.waiting.proposals.insert(token, answer);
                inputs.push(Input::Propose { token, request });
            }
            Mail::Read(read) => {
                let token = self.token();
                self.waiting.reads.insert(token, read);
                inputs.push(Input::ReadIndex { token });
            }
            Mail::ReadLocal(run) => local.push(run),
            Mail::Change { change, answer } => {
                let token = self.token();
                self.waiting.changes.insert(token, answer);
                inputs.push(Input::Change { token, change });
            }
            Mail::Written { seq, installed } => {
                if let Some(family) = installed {
                    self.rows.switch(family);
                }
                inputs.push(Input::Written { seq });
            }
            Mail::Checkpointed { to, checkpoint } => {
                let mark = checkpoint.as_ref().map(|checkpoint| checkpoint.mark().clone());
                if let Some(checkpoint) = checkpoint {
                    self.snapshots.insert(to, checkpoint);
                }
                inputs.push(Input::SnapshotBuilt { to, mark });
            }
            Mail::Receive(Received { from, message, family, settled }) => {
                self.waiting.received.insert(family, settled);
                inputs.push(Input::SnapshotReceived { from, message, family });
            }
            Mail::Stop => self.stop = Some(String::new()),
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        let mut show = false;
        for output in outputs {
            match output {
                Output::Write { seq, op } => self.hand_over(Job::Write { seq, op }),
                Output::Send { to, bytes } => {
                    if !self.transport.send(to, bytes) {
                        self.post(Input::Unreachable { to });
                    }
                }
                Output::Reply { token, reply } => self.answer(token, Ok(reply)),
                Output::Rejected { token, error } => self.answer(token, Err(error)),
                Output::ReadReady { token, index: _ } => self.read(token),
                Output::ReadFailed { token, error } => self.read_failed(token, error),
                Output::Changed { token, result } => {
                    if let Some(answer) = self.waiting.changes.remove(&token) {
                        let _ = answer.send(result);
                    }
                }
                Output::RoleChanged { role, term, leader } => {
                    tracing::info!(?role, term, ?leader, "role changed");
                    show = true;
                }
                Output::Members(membership) => {
                    self.transport.members(&membership, "");
                    show = true;
                }
                Output::Applied { index } => {
                    self.applied.send_replace(index);
                    show = true;
                }
                Output::Effects(effects) => self.tell(effects),
                Output::BuildSnapshot { to } => self.hand_over(Job::Checkpoint { to }),
                Output::SendSnapshot { to, index: _, message } => self.send_snapshot(to, message),
                Output::SnapshotSettled { family, installed } => self.settle(family, installed),
                Output::Stop(reason) => {
                    tracing::error!(%reason, "replica stops");
                    self.stop = Some(reason.to_string());
                }
            }
        }
        if show {
            self.show();
        }
    }

    fn hand_over(&mut self, job: Job) {
        if self.writer.send(job).is_err() {
            self.stop = Some("the thread that writes the log has ended".into());
        }
    }

    /// Sends an input to ourselves without waiting, since we are who empties the mailbox.
    fn post(&self, input: Input) {
        if let Some(mail) = self.mail.upgrade() {
            let _ = mail.try_send(Mail::Input(input));
        }
    }

    fn answer(&mut self, token: u64, result: Result<Reply, ProposeError>) {
        if let Some(answer) = self.waiting.proposals.remove(&token) {
            let _ = answer.send(result);
        }
    }

    fn read(&mut self, token: u64) {
        if let Some(read) = self.waiting.reads.remove(&token) {
            let (machine, rows): (&M, &Rows) = self.replica.view();
            (read.run)(machine, rows);
        }
    }

    fn read_failed(&mut self, token: u64, error: ReadError) {
        if let Some(read) = self.waiting.reads.remove(&token) {
            let _ = read.failed.send(error);
        }
    }

    fn tell(&self, effects: Vec<Effect>) {
        if self.effects.try_send(effects).is_err() {
            self.missed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn send_snapshot(&mut self, to: ReplicaId, message: bytes::Bytes) {
        let Some(checkpoint) = self.snapshots.remove(&to) else {
            self.post(Input::SnapshotReported { to, delivered: false });
            return;
        };
        let (transport, mail) = (self.transport.clone(), self.mail.clone());
        self.runtime.spawn(async move {
            let sent = snapshot::send(&transport, to, message, checkpoint).await;
            if let Err(fault) = &sent {
                tracing::warn!(peer = %to, error = %fault, "snapshot not delivered");
            }
            if let Some(mail) = mail.upgrade() {
                let input = Input::SnapshotReported { to, delivered: sent.is_ok() };
                let _ = mail.send(Mail::Input(input)).await;
            }
        });
    }

    fn settle(&mut self, family: u64, installed: bool) {
        let dropped = match installed {
            true => self.store.drop_older(family),
            false => self.store.drop_family(family),
        };
        if let Err(fault) = dropped {
            tracing::warn!(error = %fault, "old rows not dropped");
        }
        if let Some(settled) = self.waiting.received.remove(&family) {
            let _ = settled.send(installed);
        }
    }

    /// Brings the status up to date.
    fn show(&self) {
        let (role, term, leader) = self.replica.role();
        let (commit, last) = self.replica.log();
        let membership = self.replica.membership();
        let members = membership.everyone().into_iter().map(|id| {
            let matched = match self.replica.matched(id) {
                Some(matched) => matched,
                None if id == self.status.borrow().id => last,
                None => LogIndex(0),
            };
            let status = MemberStatus {
                address: membership.addresses.get(&id).cloned().unwrap_or_default(),
                role: role_of(id, leader, membership).to_owned(),
                matched,
                active: role == Role::Leader && last.minus(matched) <= LogIndex(limit::LOG_KEPT),
            };
            (id, status)
        });
        let fresh = Status {
            id: self.status.borrow().id,
            role,
            term,
            leader,
            commit,
            members: members.collect(),
        };
        self.status.send_if_modified(|status| {
            let changed = *status != fresh;
            *status = fresh;
            changed
        });
    }
}

fn role_of(id: ReplicaId, leader: Option<ReplicaId>, membership: &Membership) -> &'static str {
    if leader == Some(id) {
        "leader"
    } else if membership.learners.contains(&id) {
        "learner"
    } else {
        "follower"
    }
}

/// A panic of the replica's thread ends the process, which starts again from its disk.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("assay server: the replica failed (see above); start it again");
        std::process::abort();
    }
}
