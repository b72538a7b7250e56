//! A cluster of replicas in one thread from one seed, and a toy state machine behind them.

mod toy;

pub(super) use toy::Toy;

use super::{
    codec::PeerMessage,
    disk::{Disk, Rows},
    *,
};
use crate::state::command::{Command, Request};
use bytes::Bytes;
use domain::{
    Digest, ElementId, JobId, LogIndex, Millis, ReplicaId, RequestKey, limit,
    port::{Row, RowRead},
    scratch::SetHash,
    version::Understood,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

pub(super) fn request(key: u64, actor: &str) -> Request {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    Request {
        key: Some(RequestKey(bytes)),
        actor: actor.to_owned(),
        command: Command::Cancel { element: ElementId::from(JobId(1)) },
    }
}

pub(super) fn founders(count: u64) -> Membership {
    let address = |id| (ReplicaId(id), format!("host-{id}:1"));
    Membership::founders((1..=count).map(address).collect())
}

/// SplitMix64: enough chance for a test, and the same everywhere.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What a replica reads: the rows as written, synced or not.
#[derive(Clone, Default)]
pub(super) struct SharedRows(Rc<RefCell<(u64, Disk)>>);

impl RowRead for SharedRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let shared = self.0.borrow();
        shared.1.families.get(&shared.0).and_then(|rows| RowRead::get(rows, key))
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        let shared = self.0.borrow();
        let rows = shared.1.families.get(&shared.0);
        rows.map_or_else(Vec::new, |rows| RowRead::range(rows, from, to, limit))
    }
}

/// A server: its disk, what is not synced on it, and the replica while it is up.
pub(super) struct Server {
    pub(super) id: ReplicaId,
    pub(super) replica: Option<Replica<Toy, SharedRows>>,
    pub(super) durable: Disk,
    unsynced: Vec<WriteOp>,
    queue: VecDeque<(u64, WriteOp)>,
    shared: SharedRows,
    /// What the release understands that it is started with.
    pub(super) understands: Understood,
    pub(super) stopped: Option<StopReason>,
    /// Why it does not start.
    pub(super) refused: Option<BootError>,
    next_family: u64,
    next_tick: u64,
    pub(super) down_until: u64,
    /// Whether its disk answers nothing.
    pub(super) disk_hangs: bool,
}

/// A message under way.
struct Flight {
    at: u64,
    from: ReplicaId,
    to: ReplicaId,
    load: Load,
}

#[derive(Clone)]
enum Load {
    Message(Bytes),
    Snapshot(Bytes, Rows),
}

/// A cluster in one thread.
pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
    pub(super) chance: Chance,
    pub(super) now: u64,
    pub(super) config: fn(ReplicaId) -> ReplicaConfig,
    /// One message in so many is lost; 0 for none.
    pub(super) loss: u64,
    pub(super) cut: BTreeSet<(ReplicaId, ReplicaId)>,
    flights: Vec<Flight>,
    builds: Vec<(ReplicaId, ReplicaId)>,
    /// What each index was applied as, by whoever came first.
    pub(super) digests: BTreeMap<u64, Digest>,
    /// All that replicas answered to callers.
    pub(super) answers: BTreeMap<u64, Output>,
    pub(super) next_token: u64,
    pub(super) trace: crc32fast::Hasher,
    /// Snapshots sent.
    pub(super) snapshots: u64,
    /// Snapshots whose rows are other than those that their senders announce.
    pub(super) spoiled: u64,
}

impl Cluster {
    pub(super) fn new(seed: u64, count: u64, config: fn(ReplicaId) -> ReplicaConfig) -> Self {
        let mut cluster = Self {
            servers: Vec::new(),
            chance: Chance(seed),
            now: 0,
            config,
            loss: 0,
            cut: BTreeSet::new(),
            flights: Vec::new(),
            builds: Vec::new(),
            digests: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_token: 1,
            trace: crc32fast::Hasher::new(),
            snapshots: 0,
            spoiled: 0,
        };
        for id in 1..=count {
            let mut disk = Disk::default();
            disk.write(&WriteOp::genesis(founders(count)));
            cluster.add_server(ReplicaId(id), disk);
        }
        cluster
    }

    pub(super) fn add_server(&mut self, id: ReplicaId, durable: Disk) {
        self.servers.push(Server {
            id,
            replica: None,
            durable,
            unsynced: Vec::new(),
            queue: VecDeque::new(),
            shared: SharedRows::default(),
            understands: Understood::BUILD,
            stopped: None,
            refused: None,
            next_family: 100,
            next_tick: 0,
            down_until: 0,
            disk_hangs: false,
        });
    }

    pub(super) fn at(&mut self, id: ReplicaId) -> usize {
        self.servers.iter().position(|server| server.id == id).expect("the server is there")
    }

    /// The process ends: unsynced writes are lost but for a prefix.
    pub(super) fn crash(&mut self, at: usize, down: u64) {
        let server = &mut self.servers[at];
        server.replica = None;
        server.queue.clear();
        let kept = self.chance.below(server.unsynced.len() as u64 + 1) as usize;
        for op in server.unsynced.drain(..).take(kept) {
            server.durable.write(&op);
        }
        server.down_until = self.now + down;
    }

    pub(super) fn boot(&mut self, at: usize) {
        let (now, config) = (self.now, (self.config)(self.servers[at].id));
        let server = &mut self.servers[at];
        let config = ReplicaConfig { understands: server.understands, ..config };
        let boot = server.durable.boot().expect("the disk is whole");
        server.durable.families.retain(|family, _| *family == server.durable.family);
        server.shared =
            SharedRows(Rc::new(RefCell::new((server.durable.family, server.durable.clone()))));
        let rows = server.shared.clone();
        let replica = Replica::new(config, boot, rows, &mut || self.chance.draw());
        server.refused = replica.as_ref().err().cloned();
        assert!(matches!(server.refused, None | Some(BootError::Version { .. })));
        server.replica = replica.ok();
        server.down_until = if server.replica.is_none() { u64::MAX } else { server.down_until };
        server.next_tick = now + 1 + self.chance.below(limit::TICK.0);
    }

    pub(super) fn input(&mut self, at: usize, input: Input) {
        let server = &mut self.servers[at];
        let Some(replica) = &mut server.replica else { return };
        let outputs = replica.step(input, Millis(self.now), &mut || self.chance.draw());
        self.trace.update(format!("{} {at} {outputs:?}", self.now).as_bytes());
        let mut stop = false;
        for output in outputs {
            stop |= matches!(output, Output::Stop(_));
            self.perform(at, output);
        }
        if stop {
            while self.write_next(at) {}
            self.servers[at].replica = None;
            self.servers[at].down_until = u64::MAX;
        }
    }

    fn perform(&mut self, at: usize, output: Output) {
        let server = &mut self.servers[at];
        let id = server.id;
        match output {
            Output::Write { seq, op } => server.queue.push_back((seq, op)),
            Output::Send { to, bytes } => self.send(id, to, Load::Message(bytes)),
            Output::SendSnapshot { to, index, message } => {
                let rows = {
                    let disk = &server.shared.0.borrow().1;
                    assert!(disk.applied.index >= index.0, "the copy is of what is written");
                    disk.rows()
                };
                self.snapshots += 1;
                self.send(id, to, Load::Snapshot(message, rows));
            }
            Output::BuildSnapshot { to } => self.builds.push((id, to)),
            Output::SnapshotSettled { .. } | Output::Effects(_) | Output::Members(_) => {}
            Output::Applied { index } => self.check_digest(at, index),
            Output::RoleChanged { .. } => {}
            Output::Stop(reason) => server.stopped = Some(reason),
            Output::Reply { token, .. }
            | Output::Rejected { token, .. }
            | Output::ReadReady { token, .. }
            | Output::ReadFailed { token, .. }
            | Output::Changed { token, .. } => {
                let before = self.answers.insert(token, output);
                // A replica's own proposals have no caller.
                assert!(token == 0 || before.is_none(), "one answer a call");
            }
        }
    }

    /// Law 2: equal applied index, equal digest.
    fn check_digest(&mut self, at: usize, index: LogIndex) {
        let Some(replica) = &self.servers[at].replica else { return };
        let digest = replica.view().0.digest();
        let first = *self.digests.entry(index.0).or_insert(digest);
        if (self.config)(self.servers[at].id).digest_every > 1 {
            assert_eq!(digest, first, "replicas agree at entry {index}");
        }
    }

    fn build(&mut self, id: ReplicaId, to: ReplicaId) {
        let at = self.at(id);
        while self.write_next(at) {}
        let mark = {
            let disk = &self.servers[at].shared.0.borrow().1;
            SnapshotMark { applied: disk.applied, membership: disk.membership.clone() }
        };
        self.input(at, Input::SnapshotBuilt { to, mark: Some(mark) });
    }

    fn send(&mut self, from: ReplicaId, to: ReplicaId, load: Load) {
        let lost = self.loss > 0 && self.chance.one_in(self.loss);
        let cut = self.cut.contains(&(from, to));
        if lost || cut {
            if let Load::Snapshot(..) = load {
                self.report(from, to, false);
            }
            return;
        }
        let twice = self.loss > 0 && self.chance.one_in(4 * self.loss);
        for _ in 0..=u64::from(twice) {
            let at = self.now + 1 + self.chance.below(if self.loss > 0 { 20 } else { 2 });
            self.flights.push(Flight { at, from, to, load: load.clone() });
        }
    }

    fn report(&mut self, from: ReplicaId, to: ReplicaId, delivered: bool) {
        // The stream's end is noticed a little later, outside of the step that began it.
        let at = self.now + 1;
        let marker = PeerMessage::Hello { address: format!("{to} {delivered}") }.encode();
        self.flights.push(Flight { at, from, to: from, load: Load::Message(marker) });
    }

    /// Completes one write of a server.
    pub(super) fn write_next(&mut self, at: usize) -> bool {
        let server = &mut self.servers[at];
        let Some((seq, op)) = server.queue.pop_front() else { return false };
        let install = op.install.as_ref().map(|install| install.family);
        let sync = op.sync;
        server.shared.0.borrow_mut().1.write(&op);
        server.unsynced.push(op);
        if sync {
            for op in server.unsynced.drain(..) {
                if let Some(family) = op.install.as_ref().map(|install| install.family) {
                    let rows = server.shared.0.borrow().1.families.get(&family).cloned();
                    server.durable.families.insert(family, rows.unwrap_or_default());
                }
                server.durable.write(&op);
            }
        }
        if let Some(family) = install {
            server.shared.0.borrow_mut().0 = family;
        }
        self.input(at, Input::Written { seq });
        true
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight { from, to, load, .. } = flight;
        let at = self.at(to);
        match load {
            Load::Message(bytes) if from == to => {
                let Ok(PeerMessage::Hello { address }) = PeerMessage::decode(&bytes) else {
                    return;
                };
                let (peer, delivered) = address.split_once(' ').expect("written by `report`");
                let to = peer.parse().expect("written by `report`");
                self.input(at, Input::SnapshotReported { to, delivered: delivered == "true" });
            }
            Load::Message(bytes) => self.input(at, Input::Message { from, bytes }),
            Load::Snapshot(message, mut rows) => {
                if self.spoiled > 0 {
                    self.spoiled -= 1;
                    rows.insert(b"x".into(), b"y".into());
                }
                let up = self.servers[at].replica.is_some();
                if up {
                    let server = &mut self.servers[at];
                    server.next_family += 1;
                    let digest = SetHash::of_rows(&rows).digest();
                    let received = Received { family: server.next_family, digest };
                    server.shared.0.borrow_mut().1.families.insert(received.family, rows);
                    self.input(at, Input::SnapshotReceived { from, message, received });
                }
                self.report(from, to, up);
            }
        }
    }

    /// One millisecond passes.
    pub(super) fn run_ms(&mut self) {
        self.now += 1;
        let now = self.now;
        let mut index = 0;
        while index < self.flights.len() {
            if self.flights[index].at <= now {
                let flight = self.flights.remove(index);
                self.deliver(flight);
            } else {
                index += 1;
            }
        }
        for (id, to) in std::mem::take(&mut self.builds) {
            self.build(id, to);
        }
        for at in 0..self.servers.len() {
            if self.servers[at].replica.is_none() && self.servers[at].down_until <= now {
                self.boot(at);
            }
            if self.servers[at].next_tick <= now {
                self.servers[at].next_tick = now + limit::TICK.0;
                self.input(at, Input::Tick);
            }
            if self.chance.one_in(3) && !self.servers[at].disk_hangs {
                self.write_next(at);
            }
        }
    }

    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.run_ms();
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |server: &Server| {
            server.replica.as_ref().is_some_and(|replica| replica.role().0 == Role::Leader)
        };
        let term = |at: &usize| self.servers[*at].replica.as_ref().map(|r| r.role().1);
        (0..self.servers.len()).filter(|at| leads(&self.servers[*at])).max_by_key(term)
    }

    /// Waits for a leader.
    pub(super) fn settle(&mut self) -> usize {
        for _ in 0..10_000 {
            self.run_ms();
            if let Some(at) = self.leader() {
                let (committed, last) = self.servers[at].replica.as_ref().expect("it leads").log();
                if committed == last {
                    return at;
                }
            }
        }
        panic!("no leader within ten seconds");
    }

    /// Asks a server and gives the token.
    pub(super) fn call(&mut self, at: usize, input: impl FnOnce(u64) -> Input) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.input(at, input(token));
        token
    }

    pub(super) fn propose(&mut self, at: usize, key: u64, actor: &str) -> u64 {
        let request = request(key, actor);
        self.call(at, |token| Input::Propose { token, request })
    }

    /// Waits for an answer.
    pub(super) fn answer(&mut self, token: u64) -> Output {
        for _ in 0..10_000 {
            if let Some(output) = self.answers.remove(&token) {
                return output;
            }
            self.run_ms();
        }
        panic!("no answer within ten seconds");
    }

    /// Waits until all that are up hold the same.
    pub(super) fn converge(&mut self) {
        for _ in 0..20_000 {
            self.run_ms();
            let Some(leader) = self.leader() else { continue };
            let members = self.servers[leader].replica.as_ref().expect("leads").membership();
            let everyone = members.everyone();
            let applied = |server: &Server| {
                server.replica.as_ref().map(|r| (r.applied(), r.log().1, r.view().0.digest()))
            };
            let wanted = applied(&self.servers[leader]);
            let all = self.servers.iter().filter(|server| everyone.contains(&server.id));
            let same = all.clone().all(|server| applied(server) == wanted);
            if same && wanted.is_some_and(|(applied, last, _)| applied == last) {
                return;
            }
        }
        panic!("the replicas did not come to agree within twenty seconds");
    }
}
