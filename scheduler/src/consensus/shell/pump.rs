//! The thread that owns the replica.

use super::{
    Peers, Status,
    desk::{By, Next, Work},
    mail::{Gauges, Mail, Task},
    persist::{self, Job},
    space::Space,
};
use crate::{
    consensus::{
        machine::Machine,
        membership::ChangeError,
        replica::{Input, Output, ProposeError, ReadError, Replica, Role},
        rows::RocksRows,
        store::{Checkpointed, Store},
        write::WriteOp,
    },
    state::command::{Effect, Reply},
};
use domain::{LogIndex, Millis, ReplicaId, limit};
use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

const TICK: Duration = Duration::from_millis(limit::TICK.0);
/// Quiet after which followers are told what is committed.
const QUIET: Duration = Duration::from_millis(2);
/// Ticks between two looks at the disk's free space.
const SPACE_TICKS: u32 = 20;
/// A write that takes longer is told of.
const STALLED: Duration = Duration::from_millis(20 * limit::TICK.0);
/// Least time between two times that a full disk has a leader give its leadership away.
const HANDOVER_EVERY: Duration = Duration::from_secs(30);

/// The system's randomness.
pub(super) type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// A generator seeded by the system: it is asked for election timeouts and boot numbers only.
pub(super) fn entropy() -> std::io::Result<Entropy> {
    let mut state = getrandom::u64()?;
    Ok(Box::new(move || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }))
}

/// Runs a thread's body; a panic in it ends the process, which starts again from the disk.
pub(super) fn guard(name: &str, body: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
        tracing::error!(thread = name, "thread panicked, process ends");
        eprintln!("assay: the {name} thread panicked; the process ends, its disk holds the truth");
        std::process::abort();
    }
}

enum Waiter<M> {
    Propose(oneshot::Sender<Result<Reply, ProposeError>>),
    Read(Task<M>),
    Change(oneshot::Sender<Result<LogIndex, ChangeError>>),
}

/// What the thread is made of.
pub(super) struct Parts<M: Machine> {
    pub(super) replica: Replica<M, RocksRows>,
    pub(super) entropy: Entropy,
    pub(super) gauges: Arc<Gauges>,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) store: Store,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) status: watch::Sender<Status>,
    pub(super) applied: watch::Sender<LogIndex>,
    pub(super) ended: watch::Sender<Option<String>>,
    pub(super) effects: async_mpsc::Sender<Vec<Effect>>,
    pub(super) missed: Arc<AtomicBool>,
}

/// The thread's own state.
pub(super) struct Pump<M: Machine> {
    parts: Parts<M>,
    waiters: HashMap<u64, Waiter<M>>,
    next_token: u64,
    copies: BTreeMap<ReplicaId, Checkpointed>,
    settling: BTreeMap<u64, oneshot::Sender<bool>>,
    inputs: Vec<Input>,
    /// Who steps, and whether anything is to be sent since the last write.
    by: By,
    sending: bool,
    heard: Instant,
    next_tick: Instant,
    /// The newest write that the other thread was given, and the newest that it has done.
    given: (u64, u64),
    /// Since when that thread has had something to write.
    busy_since: Instant,
    last_sync: Duration,
    ticks: u32,
    space: Space,
    handed_over: Option<Instant>,
    ended: Option<String>,
}

impl<M: Machine + Send + 'static> Pump<M> {
    pub(super) fn new(parts: Parts<M>) -> Self {
        Self {
            parts,
            waiters: HashMap::new(),
            next_token: 1,
            copies: BTreeMap::new(),
            settling: BTreeMap::new(),
            inputs: Vec::new(),
            by: By::Owner,
            sending: false,
            heard: Instant::now(),
            next_tick: Instant::now() + TICK,
            given: (0, 0),
            busy_since: Instant::now(),
            last_sync: Duration::MAX,
            ticks: 0,
            space: Space::Enough,
            handed_over: None,
            ended: None,
        }
    }

    /// When the owner is needed.
    fn due(&self) -> Instant {
        match self.parts.replica.unannounced() {
            true => self.next_tick.min(self.heard + QUIET),
            false => self.next_tick,
        }
    }

    /// What only time brings about. At most one tick a visit: a thread that was kept from running
    /// must first hear what its peers said meanwhile.
    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.parts.replica.unannounced() && now >= self.heard + QUIET {
            self.inputs.push(Input::Announce);
        }
        if now >= self.next_tick {
            self.next_tick = (self.next_tick + TICK).max(now);
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.inputs.push(Input::Tick);
        self.show();
        self.ticks += 1;
        if self.ticks.is_multiple_of(SPACE_TICKS) {
            self.look_at_the_disk();
            let waited = self.busy_since.elapsed();
            if self.given.0 != self.given.1 && waited > STALLED {
                tracing::warn!(
                    waited_ms = waited.as_millis() as u64,
                    "disk has not answered a write: a leader gives its leadership away; look at \
                     the disk and at what else writes to it"
                );
            }
        }
    }

    /// Tells of a disk that fills, and has a leader give its leadership away: another may have
    /// more room. Not often: all may be full, and it would go round and round.
    fn look_at_the_disk(&mut self) {
        let space = self.parts.gauges.measure();
        if std::mem::discriminant(&space) != std::mem::discriminant(&self.space) {
            match space {
                Space::Enough => tracing::info!("disk has room again"),
                Space::Low { free } => tracing::warn!(
                    free_bytes = free,
                    needed_bytes = limit::DISK_LOW.0,
                    "disk is nearly full, no new jobs are taken: free some space"
                ),
                Space::Full { free } => tracing::error!(
                    free_bytes = free,
                    "disk is full, nothing is proposed: free some space"
                ),
            }
            self.space = space;
        }
        let lately = self.handed_over.is_some_and(|at| at.elapsed() < HANDOVER_EVERY);
        if space != Space::Enough
            && !lately
            && let Some(to) = self.parts.replica.heir()
        {
            tracing::warn!(%to, "disk nearly full, leadership given away");
            self.handed_over = Some(Instant::now());
            self.inputs.push(Input::Transfer { to });
        }
    }

    fn wait(&mut self, waiter: Waiter<M>) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.waiters.insert(token, waiter);
        token
    }

    fn take(&mut self, mail: Mail<M>) {
        match mail {
            Mail::Input(input) => {
                if let Input::Message { bytes, .. } = &input {
                    self.parts.gauges.taken(bytes.len());
                }
                self.inputs.push(input);
            }
            Mail::Propose { request, reply } => {
                let token = self.wait(Waiter::Propose(reply));
                self.inputs.push(Input::Propose { token, request });
            }
            Mail::Read { task, quorum: true } => {
                let token = self.wait(Waiter::Read(task));
                self.inputs.push(Input::ReadIndex { token });
            }
            Mail::Read { task, quorum: false } => self.view(task),
            Mail::Change { change, reply } => {
                let token = self.wait(Waiter::Change(reply));
                self.inputs.push(Input::Change { token, change });
            }
            Mail::Written { seq, family, took } => {
                self.given.1 = seq;
                self.busy_since = Instant::now();
                self.last_sync = took.unwrap_or(self.last_sync);
                if let Some(family) = family {
                    // What came before is stepped with the rows that it was meant for.
                    self.step();
                    self.parts.replica.view().1.base().switch(family);
                }
                self.inputs.push(Input::Written { seq });
                if family.is_some() {
                    self.step();
                }
            }
            Mail::Copied { to, copy } => {
                let mark = copy.as_ref().map(|copy| copy.mark().clone());
                match copy {
                    Some(copy) => self.copies.insert(to, copy),
                    None => self.copies.remove(&to),
                };
                self.inputs.push(Input::SnapshotBuilt { to, mark });
            }
            Mail::Snapshot { from, message, received, done } => {
                self.settling.insert(received.family, done);
                self.inputs.push(Input::SnapshotReceived { from, message, received });
            }
            Mail::Stop => self.ended = Some(String::new()),
        }
    }

    /// Steps until nothing is left to be told: a write that was done at once is.
    fn step(&mut self) {
        self.sending = false;
        while !self.inputs.is_empty() {
            self.step_once();
        }
    }

    fn step_once(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
        let outputs = self.parts.replica.step_many(inputs, now, &mut *self.parts.entropy);
        for output in outputs {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Write { seq, op } => self.write(seq, op),
            Output::Send { to, bytes } => {
                self.sending = true;
                self.parts.peers.send(to, bytes);
            }
            Output::Reply { token, reply } => self.answer(token, Ok(reply)),
            Output::Rejected { token, error } => self.answer(token, Err(error)),
            Output::ReadReady { token, .. } => {
                if let Some(Waiter::Read(task)) = self.waiters.remove(&token) {
                    self.view(task);
                }
            }
            Output::ReadFailed { token, error } => {
                if let Some(Waiter::Read(task)) = self.waiters.remove(&token) {
                    task(Err(error));
                }
            }
            Output::Changed { token, result } => self.changed(token, result),
            Output::RoleChanged { role, term, leader } => {
                let leader = leader.map(|id| id.to_string());
                tracing::info!(?role, term, leader, "role changed");
                if role != Role::Leader {
                    self.copies.clear();
                }
                self.show();
            }
            Output::Members(members) => {
                self.parts.peers.members(&members);
                self.show();
            }
            Output::Applied { index } => {
                self.parts.applied.send_replace(index);
            }
            // Duties are the leader's; a new one finds out from state.
            Output::Effects(effects) => {
                if self.parts.replica.role().0 == Role::Leader
                    && self.parts.effects.try_send(effects).is_err()
                {
                    self.parts.missed.store(true, Ordering::Relaxed);
                }
            }
            Output::BuildSnapshot { to } => self.job(Job::Copy { to }),
            Output::SendSnapshot { to, index, message } => match self.copies.remove(&to) {
                Some(copy) if copy.mark().index() >= index => {
                    self.parts.peers.send_snapshot(to, copy, message);
                }
                _ => self.inputs.push(Input::SnapshotReported { to, delivered: false }),
            },
            Output::SnapshotSettled { family, installed } => self.settled(family, installed),
            Output::Stop(reason) => {
                tracing::error!(%reason, "replica stopped");
                self.ended = Some(reason.to_string());
            }
        }
    }

    /// Brings the status up to date. Progress alone wakes nobody.
    fn show(&self) {
        let fresh = Status::of(&self.parts.replica);
        self.parts.status.send_if_modified(|status| {
            let differs = status.differs(&fresh);
            *status = fresh;
            differs
        });
    }

    fn settled(&mut self, family: u64, installed: bool) {
        self.job(match installed {
            true => Job::DropOlder { family },
            false => Job::Drop { family },
        });
        if let Some(done) = self.settling.remove(&family) {
            // Whoever sent it may have gone away.
            let _ = done.send(installed);
        }
    }

    /// Writes here if that is quick and nothing is under way that it could overtake. What a
    /// caller's thread is yet to send does not wait for the disk: the peers' disks are to work
    /// at the same time.
    fn write(&mut self, seq: u64, op: WriteOp) {
        let holds_up = std::mem::take(&mut self.sending) && self.by == By::Caller;
        let alone = self.given.0 == self.given.1 && !holds_up;
        if alone && persist::is_quick(&op, self.last_sync) {
            let begun = Instant::now();
            persist::write(&self.parts.store, std::slice::from_ref(&op));
            self.last_sync = begun.elapsed();
            self.inputs.push(Input::Written { seq });
        } else {
            if self.given.0 == self.given.1 {
                self.busy_since = Instant::now();
            }
            self.given.0 = seq;
            self.job(Job::Write { seq, op });
        }
    }

    fn job(&self, job: Job) {
        // The writer ends only after this thread, or with the process.
        let _ = self.parts.jobs.send(job);
    }

    fn answer(&mut self, token: u64, result: Result<Reply, ProposeError>) {
        if let Some(Waiter::Propose(reply)) = self.waiters.remove(&token) {
            // Whoever asked may have gone away.
            let _ = reply.send(result);
        }
    }

    fn changed(&mut self, token: u64, result: Result<LogIndex, ChangeError>) {
        if let Some(Waiter::Change(reply)) = self.waiters.remove(&token) {
            // Whoever asked may have gone away.
            let _ = reply.send(result);
        }
    }

    fn view(&self, task: Task<M>) {
        // A replica that has stopped may have rows under it that it does not understand.
        match self.ended.is_some() {
            true => task(Err(ReadError::Stopped)),
            false => task(Ok(self.parts.replica.view())),
        }
    }
}

impl<M: Machine + Send + 'static> Work<M> for Pump<M> {
    fn visit(&mut self, mails: &mut Vec<Mail<M>>, by: By) -> Next {
        self.by = by;
        if !mails.is_empty() {
            self.heard = Instant::now();
        }
        for mail in mails.drain(..) {
            self.take(mail);
        }
        if by == By::Owner {
            self.keep_time();
        }
        self.step();
        Next { due: self.due(), ended: self.ended.is_some() }
    }

    fn close(mut self: Box<Self>) {
        self.by = By::Owner;
        if let Some(output) = self.parts.replica.rest() {
            self.perform(output);
        }
        let why = self.ended.take().unwrap_or_default();
        self.parts.ended.send_replace(Some(why));
    }
}

impl<M: Machine> Drop for Pump<M> {
    fn drop(&mut self) {
        for (_, waiter) in self.waiters.drain() {
            match waiter {
                // Dropping the sender says that the outcome is unknown.
                Waiter::Propose(_) | Waiter::Change(_) => {}
                Waiter::Read(task) => task(Err(ReadError::Stopped)),
            }
        }
    }
}
