//! One replica as a plain step function: input in, outputs out.
//!
//! It draws no number, reads no clock and waits for nothing, so a seed replays it to the byte.
//! raft-rs runs inside; what it wants written, sent and applied leaves as [`Output`]s in the order
//! that keeps the promises: nothing is sent before what it depends on is durable, nothing is
//! answered before it is applied.

mod apply;
mod change;
mod damage;
mod divergence;
mod io;
mod planted;
mod reads;
mod ready;
mod receive;
mod snapshots;
mod stall;
mod storage;
mod turn;
mod version;
mod writes;

pub use io::{Damage, Input, Output, ProposeError, ReadError, Received, Role, StopReason};
pub use planted::Planted;
pub(super) use version::too_new;

use super::{
    boot::{BootError, BootState},
    machine::Machine,
    membership::Membership,
    overlay::Overlay,
    propose::{Proposals, Refused},
    write::LogStart,
};
use divergence::Exchange;
use domain::{LogIndex, Millis, ReplicaId, limit, port::RowRead, version::Understood};
use raft::{RawNode, ReadOnlyOption, StateRole};
use reads::Reads;
use snapshots::Snapshots;
use std::collections::{BTreeMap, BTreeSet};
use storage::LogTail;
use writes::Writes;

/// Gathered requests beyond which they are proposed at once.
const GATHER_MAX: usize = 1_024;

/// What is particular to one replica.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Its id.
    pub id: ReplicaId,
    /// What it understands of what is replicated.
    pub understands: Understood,
    /// A bug to show that the simulator finds it.
    pub planted: Planted,
    /// Entries kept after a compaction.
    pub log_kept: u64,
    /// Bytes of log beyond which it is compacted.
    pub log_kept_bytes: u64,
    /// Entries between two exchanges of digests.
    pub digest_every: u64,
}

impl ReplicaConfig {
    /// The figures of [`domain::limit`].
    #[must_use]
    pub fn new(id: ReplicaId) -> Self {
        Self {
            id,
            understands: Understood::BUILD,
            planted: Planted::Nothing,
            log_kept: limit::LOG_KEPT,
            log_kept_bytes: limit::LOG_KEPT_BYTES.0,
            digest_every: limit::DIGEST_EVERY,
        }
    }

    fn raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.id.0,
            applied,
            election_tick: limit::ELECTION_TICKS,
            heartbeat_tick: limit::RAFT_HEARTBEAT_TICKS,
            max_size_per_msg: limit::RAFT_MESSAGE_MAX.0,
            max_inflight_msgs: limit::INFLIGHT_APPENDS,
            max_uncommitted_size: limit::UNCOMMITTED_MAX.0,
            max_committed_size_per_ready: 4 * limit::RAFT_MESSAGE_MAX.0,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: true,
            ..raft::Config::default()
        }
    }
}

/// Role, term and leader as they were last told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    role: Role,
    term: u64,
    leader: u64,
}

/// One member of the replicated log, with the state machine behind it.
pub struct Replica<M, R: RowRead> {
    config: ReplicaConfig,
    node: RawNode<LogTail>,
    machine: M,
    rows: Overlay<R>,
    membership: Membership,
    applied: LogStart,
    proposals: Proposals,
    reads: Reads,
    digests: Exchange,
    writes: Writes,
    snapshots: Snapshots,
    heard: BTreeMap<ReplicaId, u64>,
    understood: BTreeMap<ReplicaId, (u64, Understood)>,
    ticks: u64,
    announced: u64,
    seen: Seen,
    drawn_for: Option<(u64, StateRole, u64)>,
    timeout: usize,
    conflict_since: Option<u64>,
    ending: Option<(StopReason, u64)>,
    stop: Option<StopReason>,
    stopped: bool,
}

impl<M: Machine, R: RowRead> Replica<M, R> {
    /// Starts from what a store holds. `rows` must show the rows of `boot.applied`.
    ///
    /// # Errors
    /// When log and rows do not fit together: such a replica must be replaced.
    pub fn new(
        config: ReplicaConfig,
        boot: BootState,
        rows: R,
        entropy: &mut dyn FnMut() -> u64,
    ) -> Result<Self, BootError> {
        boot.check()?;
        let (stored, understands) = (M::stored_version(&rows), config.understands);
        if !understands.has(stored) {
            return Err(BootError::Version { stored, understands });
        }
        let machine = M::load(&rows);
        if let Some(stored) = boot.applied.digest {
            let found = machine.digest();
            if found != stored {
                return Err(BootError::Rows { at: boot.applied.index, stored, found });
            }
        }
        let log = LogTail::new(
            boot.hard_state.into(),
            boot.membership.conf_state(),
            boot.log_start,
            boot.entries,
        );
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config.raft(boot.applied.index), log, &logger)
            .map_err(|fault| BootError::Raft { why: fault.to_string() })?;
        let nonce = entropy();
        let mut replica = Self {
            node,
            machine,
            rows: Overlay::new(rows),
            membership: boot.membership,
            applied: (&boot.applied).into(),
            proposals: Proposals::new(nonce),
            reads: Reads::new(nonce),
            digests: Exchange::default(),
            writes: Writes::new(),
            snapshots: Snapshots::default(),
            heard: BTreeMap::new(),
            understood: BTreeMap::new(),
            ticks: 0,
            announced: 0,
            seen: Seen::default(),
            drawn_for: None,
            timeout: limit::ELECTION_TICKS,
            conflict_since: None,
            ending: None,
            stop: None,
            stopped: false,
            config,
        };
        replica.settle_timeout(entropy);
        Ok(replica)
    }

    /// Takes one input.
    pub fn step(
        &mut self,
        input: Input,
        now: Millis,
        entropy: &mut dyn FnMut() -> u64,
    ) -> Vec<Output> {
        self.step_many([input], now, entropy)
    }

    /// Takes inputs in order and then answers once, so that what they ask for shares one write
    /// and one message.
    ///
    /// `now` stamps proposals: milliseconds since the Unix epoch. All else is counted in ticks.
    pub fn step_many(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Millis,
        entropy: &mut dyn FnMut() -> u64,
    ) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            if self.stopped || self.stop.is_some() {
                Self::refuse(input, &mut out);
            } else {
                self.take(input, &mut out);
                self.settle_timeout(entropy);
            }
        }
        if !self.stopped {
            self.propose(now, &mut out);
            self.ask_reads();
            self.drive(entropy, &mut out);
            self.finish(&mut out);
        }
        out
    }

    /// The state machine with its rows, as of [`Replica::applied`].
    pub fn view(&self) -> (&M, &Overlay<R>) {
        (&self.machine, &self.rows)
    }

    /// The newest applied entry.
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.applied.index)
    }

    /// The members as of the newest applied entry.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Its role, its term, and who leads.
    pub fn role(&self) -> (Role, u64, Option<ReplicaId>) {
        (self.seen.role, self.seen.term, leader(self.seen.leader))
    }

    /// The newest committed entry, and the last in the log.
    pub fn log(&self) -> (LogIndex, LogIndex) {
        let log = &self.node.raft.raft_log;
        (LogIndex(log.committed), LogIndex(log.last_index()))
    }

    /// How far another member's log is known to agree with the leader's, on the leader.
    pub fn matched(&self, id: ReplicaId) -> Option<LogIndex> {
        let known = self.leads().then(|| self.node.raft.prs().get(id.0)).flatten();
        known.map(|progress| LogIndex(progress.matched))
    }

    /// Whether followers do not know yet what is committed: time for [`Input::Announce`] if
    /// nothing else comes.
    pub fn unannounced(&self) -> bool {
        self.leads() && self.node.raft.raft_log.committed > self.announced
    }

    /// Its id.
    pub fn id(&self) -> ReplicaId {
        self.config.id
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn not_leader(&self) -> ProposeError {
        ProposeError::NotLeader { leader: leader(self.node.raft.leader_id) }
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(out),
            Input::Propose { token, request } => {
                if !self.leads() || self.ending.is_some() {
                    out.push(Output::Rejected { token, error: self.not_leader() });
                } else if let Some(error) = self.too_new(&request) {
                    out.push(Output::Rejected { token, error });
                } else {
                    self.proposals.gather(token, request);
                }
            }
            Input::Message { from, bytes } => self.receive(from, &bytes),
            Input::Written { seq } => self.written(seq, out),
            Input::ReadIndex { token } => self.reads.ask(token, self.ticks),
            Input::Change { token, change } => self.change(token, &change, out),
            Input::Transfer { to } => self.transfer(to),
            Input::Announce => self.announce(),
            Input::Unreachable { to } => self.node.report_unreachable(to.0),
            Input::SnapshotBuilt { to, mark } => self.snapshot_built(to, mark),
            Input::SnapshotReported { to, delivered } => self.snapshot_reported(to, delivered),
            Input::SnapshotReceived { from, message, received } => {
                self.snapshot_received(from, &message, received, out);
            }
            Input::Damaged(damage) => self.damaged(damage),
        }
    }

    /// Answers a caller of a replica that has stopped.
    fn refuse(input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Propose { token, .. } => {
                out.push(Output::Rejected { token, error: ProposeError::Stopped });
            }
            Input::ReadIndex { token } => {
                out.push(Output::ReadFailed { token, error: ReadError::Stopped });
            }
            Input::Change { token, .. } => {
                let result = Err(super::ChangeError::Unknown);
                out.push(Output::Changed { token, result });
            }
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        self.ticks += 1;
        self.writes.tick();
        self.tend_disk();
        // A lone voter elects itself within one call, and raft-rs then takes its whole log for
        // durable: it must be.
        let lone = self.node.raft.prs().is_singleton();
        let log = &self.node.raft.raft_log;
        if !(lone && !self.leads() && log.persisted < log.last_index()) {
            self.node.tick();
        }
        self.reads.expire(self.ticks, out);
        self.tend_members();
        self.tend_version();
        self.tend_digests(out);
    }

    fn announce(&mut self) {
        if self.unannounced() {
            self.announced = self.node.raft.raft_log.committed;
            self.node.ping();
        }
    }

    fn propose(&mut self, now: Millis, out: &mut Vec<Output>) {
        let gathered = self.proposals.gathered();
        if gathered == 0 || !self.leads() {
            return;
        }
        // An entry costs three syncs and four messages whatever it holds. So while one is on its
        // way, the next waits until it is worth as much: as many requests as are under way.
        let log = &self.node.raft.raft_log;
        let busy = self.writes.in_flight() > 0 || log.last_index() > log.committed;
        if busy && gathered < self.proposals.under_way().min(GATHER_MAX) {
            return;
        }
        for refused in self.proposals.propose(&mut self.node, self.config.id, now) {
            let (token, error) = match refused {
                Refused::Dropped(token) => (token, ProposeError::Busy { retry_after_ms: 200 }),
                Refused::TooLarge(token, size) => {
                    (token, ProposeError::TooLarge { size, max: limit::PROPOSAL_MAX.0 })
                }
            };
            out.push(Output::Rejected { token, error });
        }
    }

    /// Starts a quorum round for the reads that wait, where raft-rs would not drop it silently.
    fn ask_reads(&mut self) {
        let raft = &self.node.raft;
        let answered = match raft.state {
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != raft::INVALID_ID,
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        if answered && let Some(context) = self.reads.start(self.ticks) {
            if self.config.planted.is(Planted::StaleRead) && self.leads() {
                self.reads.confirm(&context, self.node.raft.raft_log.committed);
            } else {
                self.node.read_index(context);
            }
        }
    }

    /// raft-rs draws election timeouts from the thread's generator. This puts one from
    /// [`turn::timeout`] in its place, a new one for each term, role and leader.
    fn settle_timeout(&mut self, entropy: &mut dyn FnMut() -> u64) {
        let raft = &self.node.raft;
        let now = Some((raft.term, raft.state, raft.leader_id));
        if self.drawn_for != now {
            self.drawn_for = now;
            let voters = raft.prs().conf().to_conf_state();
            let voters: BTreeSet<_> =
                voters.voters.into_iter().chain(voters.voters_outgoing).collect();
            self.timeout = turn::timeout(raft.id, raft.leader_id, voters, entropy());
        }
        self.node.raft.set_randomized_election_timeout(self.timeout);
    }

    /// Tells role, term and leader if they are new, and lets go of what a leader that is none any
    /// more cannot answer.
    fn note_role(&mut self, out: &mut Vec<Output>) {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        let seen = Seen { role, term: raft.term, leader: raft.leader_id };
        if seen == self.seen {
            return;
        }
        if role != Role::Leader || seen.term != self.seen.term {
            self.abandon(out);
        }
        if seen.leader != self.seen.leader {
            self.tell_understood(out);
        }
        self.seen = seen;
        out.push(Output::RoleChanged { role, term: seen.term, leader: leader(seen.leader) });
    }

    fn abandon(&mut self, out: &mut Vec<Output>) {
        let (outside, inside, change) = self.proposals.abandon();
        let error = self.not_leader();
        out.extend(
            outside.into_iter().map(|token| Output::Rejected { token, error: error.clone() }),
        );
        let unknown = |token| Output::Rejected { token, error: ProposeError::Unknown };
        out.extend(inside.into_iter().map(unknown));
        if let Some(token) = change {
            out.push(Output::Changed { token, result: Err(super::ChangeError::Unknown) });
        }
        self.snapshots.leave(self.node.store());
    }

    /// Ends this replica with the current step.
    fn end(&mut self, reason: StopReason) {
        let forever = match reason {
            StopReason::Diverged { .. }
            | StopReason::LostLog { .. }
            | StopReason::Snapshot { .. }
            | StopReason::Rows { .. }
            | StopReason::Unreadable { .. }
            | StopReason::Removed => true,
            StopReason::NoMajority { .. }
            | StopReason::Entry { .. }
            | StopReason::Version { .. } => false,
        };
        if forever && self.stop.is_none() {
            self.writes.op.condemned = Some(reason.to_string());
            self.writes.op.sync = true;
        }
        self.stop.get_or_insert(reason);
    }
}

fn leader(id: u64) -> Option<ReplicaId> {
    (id != raft::INVALID_ID).then_some(ReplicaId(id))
}
