//! The world: virtual time, what is due in it, and who is reached.

mod nodes;
mod streams;

use crate::{
    chance::Chance,
    client::{self, Client},
    disk::SimDisk,
    event::Event,
    fault::Faults,
    law::{Broken, Laws},
    node::Node,
    server::{self, Server},
};
use agent::machine::Input as NodeInput;
use domain::{Digest, LeaseId, ReplicaId, limit};
use scheduler::{
    consensus::{Input, Membership, Planted, ReplicaConfig, WriteOp},
    leader::duties::Event as DutyEvent,
    state::command::Command,
};
use sha2::{Digest as _, Sha256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Time with faults. Unit: ms.
    pub fault_ms: u64,
    /// Longest time to heal after them. Unit: ms.
    pub heal_ms: u64,
    /// A bug of the replica.
    pub planted: Planted,
    /// Whether to print every event.
    pub trace: bool,
}

/// How much of what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// Events.
    pub events: u64,
    /// Server crashes.
    pub crashes: u64,
    /// Agents killed.
    pub agent_kills: u64,
    /// Machines rebooted.
    pub reboots: u64,
    /// Links cut.
    pub cuts: u64,
    /// Servers paused.
    pub pauses: u64,
    /// Snapshots sent.
    pub snapshots: u64,
    /// Artifacts sealed.
    pub sealed: u64,
    /// Attempts that were granted.
    pub attempts: u64,
    /// Jobs acknowledged.
    pub jobs: u64,
}

/// One cluster in one thread.
pub struct World {
    /// What it is made of.
    pub plan: Plan,
    /// Virtual time. Unit: ms.
    pub now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<u64, Event>,
    next_event: u64,
    hash: Sha256,
    /// The servers.
    pub servers: Vec<Server>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Directed links that carry nothing, between servers or from (1000 + node) to servers.
    pub cut: BTreeSet<(u64, u64)>,
    /// One message in so many is lost; 0 for none.
    pub loss: u64,
    /// Whether the faults are over.
    pub healing: bool,
    /// Which servers hold which blobs.
    pub blobs: BTreeMap<Digest, BTreeSet<usize>>,
    /// What happened.
    pub coverage: Coverage,
    laws: Laws,
    faults: Faults,
    net: Chance,
    next_link: u64,
    /// Delivery times on streams never overtake each other.
    stream_at: BTreeMap<(u64, bool), u64>,
}

/// Entries between digests, and kept after a compaction, so that runs of minutes see both.
fn config(id: ReplicaId, planted: Planted) -> ReplicaConfig {
    let base = ReplicaConfig::new(id);
    ReplicaConfig { planted, log_kept: 60, log_kept_bytes: 40_000, digest_every: 32, ..base }
}

impl World {
    /// A cluster of three servers, three nodes and two clients, all up.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let root = Chance::new(plan.seed);
        let address = |id| (ReplicaId(id), format!("host-{id}:1"));
        let genesis = WriteOp::genesis(Membership::founders((1..=3).map(address).collect()));
        let server =
            |id| Server::new(ReplicaId(id), SimDisk::new(&genesis), root.branch("server", id));
        let node = |at: usize| Node::new(at, 2 + at as u32, root.branch("node", at as u64));
        let client = |at: usize| Client::new(at, root.branch("client", at as u64));
        let mut world = Self {
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            next_event: 0,
            hash: Sha256::new(),
            servers: (1..=3).map(server).collect(),
            nodes: (0..3).map(node).collect(),
            clients: (0..2).map(client).collect(),
            cut: BTreeSet::new(),
            loss: 0,
            healing: false,
            blobs: BTreeMap::new(),
            coverage: Coverage::default(),
            laws: Laws::default(),
            faults: Faults::new(root.branch("fault", 0)),
            net: root.branch("net", 0),
            next_link: 0,
            stream_at: BTreeMap::new(),
        };
        for at in 0..world.servers.len() {
            world.after(0, Event::Boot { server: at });
        }
        for at in 0..world.nodes.len() {
            world.after(10, Event::StartAgent { node: at, life: 0 });
        }
        for at in 0..world.clients.len() {
            world.after(2_000, Event::Client { client: at, call: 0 });
        }
        world.after(5_000, Event::Fault);
        world
    }

    /// Makes an event due.
    pub fn after(&mut self, wait: u64, event: Event) {
        self.next_event += 1;
        self.queue.push(Reverse((self.now + wait, self.next_event)));
        self.due.insert(self.next_event, event);
    }

    /// Runs to the end. Gives the digest of all that happened.
    ///
    /// # Errors
    /// The first law that was broken.
    pub fn run(&mut self) -> Result<Digest, Broken> {
        let end = self.plan.fault_ms + self.plan.heal_ms;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > end {
                break;
            }
            if !self.healing && at >= self.plan.fault_ms {
                self.heal();
            }
            self.now = self.now.max(at);
            let Some(event) = self.due.remove(&number) else { continue };
            if self.plan.trace {
                println!("{:>8} {event:?}", self.now);
            }
            self.coverage.events += 1;
            self.hash.update(self.now.to_be_bytes());
            self.happen(event).map_err(|fault| fault.at(self.now))?;
            if self.healing && self.now.is_multiple_of(16) && self.is_quiet() {
                break;
            }
        }
        self.settled().map_err(|fault| fault.at(self.now))?;
        Ok(Digest(self.hash.clone().finalize().into()))
    }

    fn heal(&mut self) {
        self.healing = true;
        self.cut.clear();
        self.loss = 0;
        for at in 0..self.servers.len() {
            self.servers[at].paused_until = 0;
        }
    }

    /// Whether all that was asked for has ended, everywhere.
    fn is_quiet(&self) -> bool {
        let idle = self.clients.iter().all(|client| client.asked.is_none());
        idle && self.servers.iter().any(|server| {
            server.leads()
                && server
                    .replica
                    .as_ref()
                    .is_some_and(|replica| replica.view().0.0.view().live_jobs() == 0)
        })
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Tick { server, life } => self.tick(server, life)?,
            Event::Written { server, life } => self.written(server, life)?,
            Event::Message { from, to, bytes } => {
                self.step(to, Input::Message { from, bytes })?;
            }
            Event::Snapshot { from, to, message, rows } => {
                self.coverage.snapshots += 1;
                if self.is_up(to) {
                    let family = self.servers[to].disk.receive(rows);
                    self.step(to, Input::SnapshotReceived { from, message, family })?;
                }
            }
            Event::SnapshotReported { server, life, to, delivered } => {
                if self.servers[server].life == life {
                    self.step(server, Input::SnapshotReported { to, delivered })?;
                }
            }
            Event::SnapshotBuilt { server, life, to } => {
                if self.servers[server].life == life {
                    while self.write_one(server)? {}
                    let mark = Some(self.servers[server].disk.mark.clone());
                    self.step(server, Input::SnapshotBuilt { to, mark })?;
                }
            }
            Event::Seal { server, life, ticket } => self.seal(server, life, ticket)?,
            other => return self.happen_outside(other),
        }
        Ok(())
    }

    /// What happens on nodes, at clients, and to processes.
    fn happen_outside(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Up { server, link, up } => self.up(server, link, *up)?,
            Event::Down { node, link, down } => self.down(node, link, *down)?,
            Event::Broken { node, link } => self.broken(node, link)?,
            Event::Connect { node, life } => self.connect(node, life)?,
            Event::Node { node, life, input } => {
                if self.nodes[node].life == life {
                    self.node_input(node, *input)?;
                }
            }
            Event::NodeTick { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].machine.is_some() {
                    self.node_input(node, NodeInput::Tick)?;
                    self.after(100, Event::NodeTick { node, life });
                }
            }
            Event::Work { node, boot } => self.work(node, boot)?,
            Event::Ask { server, client, call, request } => {
                let caller = crate::session::Caller::Client { client, call };
                self.with_server(server, |server, now, asks| {
                    server.propose(caller, *request, now, asks);
                })?;
            }
            Event::Answer { client, call, reply } => {
                let heard = self.clients[client].hear(call, reply.map(|reply| *reply));
                heard.map_err(Broken::new)?;
                if self.clients[client].asked.is_none() {
                    let pause = self.clients[client].pause();
                    self.after(pause, Event::Client { client, call: 0 });
                }
            }
            Event::Client { client, call } => self.client(client, call),
            Event::Fault => self.fault(),
            Event::Boot { server } => self.boot(server)?,
            Event::Resume { server, life } => {
                if self.servers[server].life == life {
                    self.servers[server].paused_until = 0;
                }
            }
            Event::StartAgent { node, life } => {
                if self.nodes[node].life == life {
                    self.start_agent(node);
                }
            }
            Event::Tick { .. }
            | Event::Written { .. }
            | Event::Message { .. }
            | Event::Snapshot { .. }
            | Event::SnapshotReported { .. }
            | Event::SnapshotBuilt { .. }
            | Event::Seal { .. } => unreachable!("these happen to servers"),
        }
        Ok(())
    }

    fn is_up(&self, at: usize) -> bool {
        self.servers[at].replica.is_some() && self.servers[at].paused_until <= self.now
    }

    fn tick(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.servers[at].life != life {
            return Ok(());
        }
        // Clocks of servers run a little apart.
        let wait = limit::TICK.0 + u64::from(self.net.one_in(20));
        self.after(wait, Event::Tick { server: at, life });
        self.step(at, Input::Tick)?;
        self.with_server(at, |server, now, asks| {
            server.duty(DutyEvent::Tick, now, asks);
        })?;
        if self.servers[at].replica.as_ref().is_some_and(|replica| replica.unannounced()) {
            self.step(at, Input::Announce)?;
        }
        Ok(())
    }

    fn written(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.servers[at].life != life {
            return Ok(());
        }
        if self.servers[at].paused_until > self.now {
            self.after(20, Event::Written { server: at, life });
            return Ok(());
        }
        self.write_one(at)?;
        Ok(())
    }

    fn write_one(&mut self, at: usize) -> Result<bool, Broken> {
        match self.servers[at].disk.write_next() {
            Some(seq) => self.step(at, Input::Written { seq }).map(|()| true),
            None => Ok(false),
        }
    }

    fn step(&mut self, at: usize, input: Input) -> Result<(), Broken> {
        self.with_server(at, |server, now, asks| server.input(input, now, asks))
    }

    fn with_server(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Server, u64, &mut Vec<server::Ask>),
    ) -> Result<(), Broken> {
        if !self.is_up(at) {
            return Ok(());
        }
        let mut asks = Vec::new();
        act(&mut self.servers[at], self.now, &mut asks);
        for ask in asks {
            self.server_asks(at, ask)?;
        }
        Ok(())
    }

    fn server_asks(&mut self, at: usize, ask: server::Ask) -> Result<(), Broken> {
        let (id, life) = (self.servers[at].id, self.servers[at].life);
        match ask {
            server::Ask::Write => {
                let spread = if self.net.one_in(50) { 300 } else { 3 };
                let wait = 1 + self.net.below(spread);
                self.after(wait, Event::Written { server: at, life });
            }
            server::Ask::Send(to, bytes) => {
                let to = to.0 as usize - 1;
                if let Some(wait) = self.hop(id.0, to as u64 + 1) {
                    if self.loss > 0 && self.net.one_in(30) {
                        let again = bytes.clone();
                        self.after(wait + 5, Event::Message { from: id, to, bytes: again });
                    }
                    self.after(wait, Event::Message { from: id, to, bytes });
                }
            }
            server::Ask::BuildSnapshot(to) => {
                self.after(5, Event::SnapshotBuilt { server: at, life, to });
            }
            server::Ask::SendSnapshot(to, message) => {
                let hop = self.hop(id.0, to.0);
                let delivered = hop.is_some();
                if let Some(wait) = hop {
                    let rows = self.servers[at].disk.rows();
                    let to = to.0 as usize - 1;
                    self.after(wait + 30, Event::Snapshot { from: id, to, message, rows });
                }
                self.after(60, Event::SnapshotReported { server: at, life, to, delivered });
            }
            server::Ask::Answer(client, call, reply) => {
                // Answers are lost like anything else.
                if self.loss == 0 || !self.net.one_in(10) {
                    let reply = reply.map(Box::new);
                    self.after(1, Event::Answer { client, call, reply });
                }
            }
            server::Ask::Tell(link, down) => self.tell(link, down),
            server::Ask::Close(link) => self.close(link),
            server::Ask::Seal(ticket) => {
                let wait = self.net.between(5, 200);
                self.after(wait, Event::Seal { server: at, life, ticket });
            }
            server::Ask::Applied => {
                let digest = self.laws.applied(&self.servers[at], &mut self.coverage)?;
                self.hash.update(digest.0);
            }
            server::Ask::Stopped(reason) => {
                return Err(Broken::new(format!("state_digest: {id} stops: {reason}")));
            }
        }
        Ok(())
    }

    /// The leader's check of a ticket, and its signature.
    fn seal(&mut self, at: usize, life: u64, ticket: LeaseId) -> Result<(), Broken> {
        if self.servers[at].life != life || !self.is_up(at) {
            return Ok(());
        }
        let Some(replica) = &self.servers[at].replica else { return Ok(()) };
        let view = replica.view().0.0.view();
        let Some(open) = view.ticket(ticket) else { return Ok(()) };
        let digests = [open.output.tree, open.output.statement, open.output.provenance];
        let holders: BTreeSet<usize> = digests
            .iter()
            .filter_map(|digest| self.blobs.get(digest).cloned())
            .reduce(|a, b| a.intersection(&b).copied().collect())
            .unwrap_or_default();
        let copies: Vec<ReplicaId> = holders.iter().map(|at| self.servers[*at].id).collect();
        let fails = !self.healing && self.net.one_in(10);
        let command = Command::CompleteSeal {
            ticket,
            signature: Digest::of_value(&("signature", ticket)),
            provenance: Digest::of_value(&("envelope", ticket)),
            signer: Digest::of(b"signer"),
            copies,
        };
        self.with_server(at, |server, now, asks| {
            if fails || holders.len() < limit::BLOB_COPIES {
                server.duty(DutyEvent::SealFailed { ticket }, now, asks);
            } else {
                let request = server.own(command);
                let caller = crate::session::Caller::Seal { ticket };
                server.propose(caller, request, now, asks);
            }
        })
    }

    fn client(&mut self, at: usize, call: u64) {
        let waits = self.clients[at].asked.as_ref().map(|(newest, _)| *newest);
        match (waits, call) {
            // Answered meanwhile, or asked again.
            (Some(newest), call) if call != 0 && call != newest => return,
            (None, call) if call != 0 => return,
            (None, _) if self.healing => return,
            _ => {}
        }
        let (call, request) = self.clients[at].ask();
        let count = self.servers.len();
        let server = self.clients[at].server(count);
        let wait = 1 + self.net.below(5);
        let request = Box::new(request);
        self.after(wait, Event::Ask { server, client: at, call, request });
        self.after(client::PATIENCE, Event::Client { client: at, call });
    }

    fn boot(&mut self, at: usize) -> Result<(), Broken> {
        if self.servers[at].replica.is_some() {
            return Ok(());
        }
        let config = config(self.servers[at].id, self.plan.planted);
        self.servers[at].boot(config).map_err(|fault| Broken::new(format!("restart: {fault}")))?;
        self.laws.restarted(&self.servers[at])?;
        let life = self.servers[at].life;
        self.after(1, Event::Tick { server: at, life });
        Ok(())
    }

    /// Starts an agent over what runs on its node.
    pub fn start_agent(&mut self, at: usize) {
        self.nodes[at].start();
        let (life, boot) = (self.nodes[at].life, self.nodes[at].boot);
        self.after(1, Event::Connect { node: at, life });
        self.after(1, Event::NodeTick { node: at, life });
        self.after(1, Event::Work { node: at, boot });
    }

    fn fault(&mut self) {
        if self.healing {
            return;
        }
        let mut faults = std::mem::take(&mut self.faults);
        let wait = faults.strike(self);
        self.faults = faults;
        self.after(wait, Event::Fault);
    }

    /// Artifacts that the leader knows.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        let leader = self.servers.iter().find(|server| server.leads());
        leader.and_then(|server| server.replica.as_ref()).map_or(0, |replica| {
            let (machine, rows) = replica.view();
            machine.0.view().artifacts(rows, domain::ArtifactId(0), 100_000).len() as u64
        })
    }

    /// What must hold when the world has come to rest.
    fn settled(&self) -> Result<(), Broken> {
        self.laws.settled(self)
    }
}
