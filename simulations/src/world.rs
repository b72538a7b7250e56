//! The world: virtual time, what is due in it, and who is reached.

mod clearing;
mod clients;
mod collecting;
mod copying;
mod damage;
mod draining;
mod drifting;
mod healing;
mod keys;
mod nodes;
mod operator;
mod people;
pub mod releases;
mod sealing;
mod servers;
mod streams;

pub use collecting::{documents_of, file_of};

use crate::{
    bits::Bits,
    chance::Chance,
    client::Client,
    coverage::Coverage,
    damage::Service,
    disk::SimDisk,
    event::Event,
    fault::Faults,
    law::{self, Broken, Laws},
    machine,
    node::Node,
    server::Server,
};
use domain::{Digest, ReplicaId, promotion::PromotionState, scratch::SetHash};
use scheduler::consensus::{Input, Membership, Planted, Received, ReplicaConfig, WriteOp};
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
    /// What is run again, and whether its bits are right.
    pub bits: Bits,
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
    /// Directed links that carry nothing any more.
    pub forever: BTreeSet<(u64, u64)>,
    /// One message in so many is lost; 0 for none.
    pub loss: u64,
    /// A server whose disk takes long to sync.
    pub slow_disk: Option<usize>,
    /// Checkpoints that agents reported, to be heard again from zombies.
    pub old_reports: Vec<(usize, domain::link::Report)>,
    /// Whether the faults are over.
    pub healing: bool,
    /// Which servers hold which blobs.
    pub blobs: BTreeMap<Digest, BTreeSet<usize>>,
    /// What servers know of files that are to go.
    collecting: BTreeMap<usize, collecting::Collecting>,
    /// What happened.
    pub coverage: Coverage,
    operator: operator::Operator,
    people: people::People,
    keys: keys::Keys,
    drifting: drifting::Drifting,
    laws: Laws,
    faults: Faults,
    net: Chance,
    next_link: u64,
    /// The newest arrival on each link between servers.
    arrival: BTreeMap<(u64, u64), u64>,
    /// When the world first came to rest, and how far the leader had applied by then.
    rest_ms: Option<u64>,
    /// From when on all servers have had the time to come back and to be led.
    settled_at: u64,
    /// The newest entry by then: all are to have it.
    pub rest_index: u64,
    /// Delivery times on streams never overtake each other.
    stream_at: BTreeMap<(u64, bool), u64>,
}

/// Entries kept after a compaction.
const LOG_KEPT: u64 = 60;

/// Entries between two exchanges of digests.
pub const DIGEST_EVERY: u64 = 32;

/// Entries between digests, and kept after a compaction, so that runs of minutes see both.
fn config(id: ReplicaId, planted: Planted) -> ReplicaConfig {
    let base = ReplicaConfig::new(id);
    ReplicaConfig {
        planted,
        log_kept: LOG_KEPT,
        log_kept_bytes: 40_000,
        digest_every: DIGEST_EVERY,
        ..base
    }
}

impl World {
    /// A cluster of three servers, some nodes and two clients, all up.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let root = Chance::new(plan.seed);
        let address = |id| (ReplicaId(id), format!("host-{id}:1"));
        let genesis = WriteOp::genesis(Membership::founders((1..=3).map(address).collect()));
        let server =
            |id| Server::new(ReplicaId(id), SimDisk::new(&genesis), root.branch("server", id));
        let (nodes, flips) = (plan.bits.nodes(), plan.bits.flips(&root));
        let node = |at: usize| {
            let gpus = plan.bits.gpus(at);
            let flips = flips.filter(|(node, _)| *node == at).map(|(_, gpu)| gpu);
            Node::new(at, gpus, root.branch("node", at as u64)).flipping(flips)
        };
        let client = |at: usize| Client::new(at, root.branch("client", at as u64), plan.bits);
        let mut world = Self {
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            next_event: 0,
            hash: Sha256::new(),
            servers: (1..=3).map(server).collect(),
            nodes: (0..nodes).map(node).collect(),
            clients: (0..2).map(client).collect(),
            cut: BTreeSet::new(),
            forever: BTreeSet::new(),
            operator: operator::Operator::new(&root),
            people: people::People::new(&root),
            keys: keys::Keys::new(&root),
            drifting: drifting::Drifting::new(&root),
            loss: 0,
            slow_disk: None,
            old_reports: Vec::new(),
            healing: false,
            blobs: BTreeMap::new(),
            collecting: BTreeMap::new(),
            coverage: Coverage::default(),
            laws: Laws::new(machine::start_record()),
            faults: Faults::new(root.branch("fault", 0)),
            net: root.branch("net", 0),
            next_link: 0,
            arrival: BTreeMap::new(),
            rest_ms: None,
            settled_at: 0,
            rest_index: 0,
            stream_at: BTreeMap::new(),
        };
        world.begin();
        world
    }

    /// All that is up starts, and all that acts by itself has its first turn.
    fn begin(&mut self) {
        for at in 0..self.servers.len() {
            self.after(0, Event::Boot { server: at });
        }
        for at in 0..self.nodes.len() {
            self.after(10, Event::StartAgent { node: at, life: 0 });
        }
        for at in 0..self.clients.len() {
            self.after(2_000, Event::Client { client: at, call: 0 });
            self.after(2_000, Event::Look { client: at });
        }
        self.after(5_000, Event::Fault);
        self.after(7_000, Event::Operate);
        self.after(4_000, Event::People);
        self.after(1_000, Event::Keys);
        self.after(8_000, Event::Drift);
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
            if self.healing && self.now.is_multiple_of(16) && self.has_rested() {
                break;
            }
        }
        self.settled().map_err(|fault| fault.at(self.now))?;
        self.count_promotions();
        Ok(Digest(self.hash.clone().finalize().into()))
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        let Some(event) = self.unless_paused(event) else { return Ok(()) };
        match event {
            Event::Tick { server, life } => self.tick(server, life)?,
            Event::Written { server, life } => self.written(server, life)?,
            Event::Message { from, to, bytes } => {
                self.step(to, Input::Message { from, bytes })?;
            }
            Event::Snapshot { from, to, message, rows } => {
                self.coverage.snapshots += 1;
                if self.is_up(to) {
                    let digest = SetHash::of_rows(&rows).digest();
                    let received = Received { family: self.servers[to].disk.receive(rows), digest };
                    self.step(to, Input::SnapshotReceived { from, message, received })?;
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
            Event::Signed { server, life, command } => self.signed(server, life, *command)?,
            Event::CheckCopies { server, life, after } => self.check_copies(server, life, after)?,
            Event::Collect { server, life } => self.collect(server, life)?,
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
            Event::NodeTick { node, life } => self.node_tick(node, life)?,
            Event::Work { node, boot } => self.work(node, boot)?,
            Event::Ask { server, client, call, request } => {
                self.ask(server, client, call, *request)?;
            }
            Event::Answer { client, call, reply } => {
                self.answer(client, call, reply.map(|reply| *reply))?;
            }
            Event::Client { client, call } => self.client(client, call),
            Event::Look { client } => self.keep_looking(client),
            Event::AskRead { server, client, call, of } => {
                self.ask_read(server, client, call, of)?;
            }
            Event::ReadAnswer { client, call, answer } => self.read_answer(client, call, answer)?,
            Event::CutForever => self.cut_forever(),
            Event::Operate => self.operate()?,
            Event::People => self.people()?,
            Event::Keys => self.keep_keys()?,
            Event::KeyOut => self.put_key_out()?,
            Event::Drift => self.drift()?,
            Event::MustLead => law::must_lead(self)?,
            Event::MustRelease { node } => law::must_release(self, node)?,
            Event::Fault => self.fault(),
            Event::Rejoin { server } => self.rejoin(server),
            Event::Crash { server, down } => Faults::crash_for(self, server, down),
            Event::Boot { server } => self.boot(server)?,
            Event::Resume { server, life } => {
                if self.servers[server].life == life {
                    self.resume(server);
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
            | Event::Seal { .. }
            | Event::Signed { .. }
            | Event::CheckCopies { .. }
            | Event::Collect { .. } => unreachable!("these happen to servers"),
        }
        Ok(())
    }

    fn rejoin(&mut self, at: usize) {
        let id = at as u64 + 1;
        self.cut.retain(|(from, to)| *from != id && *to != id);
    }

    fn is_up(&self, at: usize) -> bool {
        self.servers[at].replica.is_some() && self.servers[at].paused_until <= self.now
    }

    /// Starts an agent over what runs on its node.
    pub fn start_agent(&mut self, at: usize) {
        self.nodes[at].start();
        let (life, boot) = (self.nodes[at].life, self.nodes[at].boot);
        self.after(1, Event::Connect { node: at, life });
        self.after(1, Event::NodeTick { node: at, life });
        self.after(1, Event::Work { node: at, boot });
    }

    /// A dead agent comes back after a time.
    pub fn start_agent_after(&mut self, node: usize, wait: u64) {
        if let Some((link, server)) = self.nodes[node].link {
            self.servers[server].sessions.remove(&link);
        }
        let life = self.nodes[node].life;
        self.after(wait, Event::StartAgent { node, life });
    }

    /// Entries that a log may hold at rest.
    #[must_use]
    pub fn log_max(&self) -> usize {
        2 * LOG_KEPT as usize + 8
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

    /// Servers that are kept running.
    #[must_use]
    pub fn in_service(&self) -> Vec<usize> {
        let count = 0..self.servers.len();
        count.filter(|at| self.servers[*at].service == Service::In).collect()
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

    /// Segments that were run again and came to a finding, and GPUs that were named.
    #[must_use]
    pub fn replayed(&self) -> (u64, u64) {
        let leader = self.servers.iter().find(|server| server.leads());
        let Some(replica) = leader.and_then(|server| server.replica.as_ref()) else {
            return (0, 0);
        };
        let (machine, rows) = replica.view();
        let view = machine.0.view();
        let all = (1..).map(domain::CheckId).map_while(|id| view.check(rows, id));
        let found = all.filter(|it| {
            let finding = it.check.finding();
            finding.is_some_and(|it| !matches!(it, domain::check::Finding::GivenUp { .. }))
        });
        let named: usize = view.all_nodes().map(|(id, _)| view.accusations(id).len()).sum();
        (found.count() as u64, named as u64)
    }

    /// Counts promotions that the leader has applied, and those that blocked data stopped.
    fn count_promotions(&mut self) {
        let Some(replica) = self.leader().and_then(|at| self.servers[at].replica.as_ref()) else {
            return;
        };
        let (machine, rows) = replica.view();
        let all = machine.0.view().promotions(rows, domain::PromotionId(0), 100_000);
        let count = |is: fn(&PromotionState) -> bool| {
            all.iter().filter(|promotion| is(&promotion.state)).count() as u64
        };
        self.coverage.promoted += count(|state| *state == PromotionState::Applied);
        self.coverage.data_met += count(|state| match state {
            PromotionState::Refused { why } => why.starts_with("data set "),
            _ => false,
        });
    }

    /// What must hold when the world has come to rest.
    fn settled(&self) -> Result<(), Broken> {
        self.laws.settled(self)
    }
}
