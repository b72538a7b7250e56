//! The laws, each in a file of its own, checked as the world goes.

mod acked_kept;
mod artifact_immutable;
mod audit_chained;
mod bounded;
mod checkpoint_monotone;
mod complete_means_sealed;
pub mod each_entry;
mod exactly_once;
mod gang_whole;
mod gate_before_stage;
mod healed;
mod history_linearizable;
mod ledger_balances;
pub mod log_agreement;
mod named_right;
pub mod near_kept;
pub mod needed_kept;
mod one_leader;
pub mod preemption_used;
pub mod quota_kept;
mod reason_true;
mod recipe_function;
pub mod retrain_once;
pub mod seal_key;
mod self_fence;
mod state_digest;
mod state_laws;
mod version_understood;
pub mod window_kept;

use crate::{
    coverage::Coverage,
    node::Node,
    read::{ReadOf, ReadValue},
    record::Record,
    server::Server,
    world::World,
};
use domain::{Digest, LeaseId, RequestKey};
use scheduler::state::command::{Command, Reply};
use std::{cell::RefCell, fmt, rc::Rc};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    what: String,
    at_ms: u64,
}

impl Broken {
    /// In words that begin with the law's name.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), at_ms: 0 }
    }

    /// With the virtual time.
    #[must_use]
    pub fn at(self, at_ms: u64) -> Self {
        Self { at_ms, ..self }
    }

    /// Its words, without the time.
    #[must_use]
    pub fn into_words(self) -> String {
        self.what
    }

    /// The law's name.
    #[must_use]
    pub fn law(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}.{:03} s: {}", self.at_ms / 1_000, self.at_ms % 1_000, self.what)
    }
}

/// What the laws remember.
pub struct Laws {
    record: Rc<RefCell<Record>>,
    digests: state_digest::StateDigest,
    entries: log_agreement::LogAgreement,
    checkpoints: checkpoint_monotone::CheckpointMonotone,
    leaders: one_leader::OneLeader,
    artifacts: artifact_immutable::ArtifactImmutable,
    audit: audit_chained::Heads,
    gangs: gang_whole::GangWhole,
    history: history_linearizable::History,
    contacts: self_fence::Contacts,
}

impl Laws {
    /// Laws over what machines write into `record`.
    #[must_use]
    pub fn new(record: Rc<RefCell<Record>>) -> Self {
        Self {
            record,
            digests: Default::default(),
            entries: Default::default(),
            checkpoints: Default::default(),
            leaders: Default::default(),
            artifacts: Default::default(),
            audit: Default::default(),
            gangs: Default::default(),
            history: Default::default(),
            contacts: Default::default(),
        }
    }

    /// A server leads in a term.
    ///
    /// # Errors
    /// When another did.
    pub fn leads(&mut self, id: domain::ReplicaId, term: u64) -> Result<(), Broken> {
        self.leaders.leads(id, term)
    }

    /// A server has applied entries.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn applied(
        &mut self,
        server: &mut Server,
        coverage: &mut Coverage,
    ) -> Result<Digest, Broken> {
        if let Some(what) = self.record.borrow_mut().broken() {
            return Err(Broken::new(what));
        }
        let index = server.replica.as_ref().map_or(0, |replica| replica.applied().0);
        self.entries.applied(server.id, &mut server.tail, index)?;
        let digest = self.digests.check(server)?;
        state_laws::check(server)?;
        version_understood::check(server)?;
        self.checkpoints.check(server)?;
        self.artifacts.check(server)?;
        self.audit.check(server)?;
        coverage.reasons += u64::from(reason_true::check(server)?);
        coverage.replans = self.record.borrow().replans;
        coverage.near = self.record.borrow().near;
        (coverage.preemptions, coverage.preempted) = self.record.borrow().preempted();
        coverage.collected = self.record.borrow().collected();
        coverage.key_rotations = self.record.borrow().seals.rotated;
        coverage.key_revocations = self.record.borrow().seals.revoked;
        coverage.seals_refused = self.record.borrow().seals.refused;
        self.record.borrow().drift().count(coverage);
        Ok(digest)
    }

    /// A server has started again from its rows.
    ///
    /// # Errors
    /// When it is not what it was.
    pub fn restarted(&mut self, server: &Server) -> Result<(), Broken> {
        self.artifacts.forget(server.id);
        self.digests.check(server).map(drop)
    }

    /// A node has laid out all that a lease needs.
    pub fn prepared(&mut self, node: domain::NodeId, lease: LeaseId) {
        self.gangs.prepared(node, lease);
    }

    /// Tasks of a lease have started on a node.
    ///
    /// # Errors
    /// When others that they exclude still run, or their gang is not prepared.
    pub fn started(&self, nodes: &[Node], at: usize, lease: LeaseId) -> Result<(), Broken> {
        self_fence::check(nodes, at, lease)?;
        let node = nodes[at].id().unwrap_or(domain::NodeId(0));
        let held = nodes[at].tasks.get(&lease).map(|running| &running.wanted.lease);
        held.map_or(Ok(()), |held| self.gangs.started(node, held, self.checkpoints.knows(lease)))
    }

    /// A node sends a heartbeat.
    pub fn beats(&mut self, node: &Node, seq: u64, now: u64) {
        if let Some((link, _)) = node.link {
            self.contacts.sent(node.at, link, seq, now);
        }
    }

    /// A node hears that a heartbeat was covered by a quorum.
    pub fn contact(&mut self, node: &Node, seq: u64) {
        if let Some((link, _)) = node.link.filter(|_| node.machine.is_some()) {
            self.contacts.answered(node.at, link, seq);
        }
    }

    /// Time has passed for the tasks of a node.
    ///
    /// # Errors
    /// When one lives that the lease time should have ended.
    pub fn worked(&self, node: &Node, now: u64) -> Result<(), Broken> {
        self.contacts.check(node, now)
    }

    /// A client asks for something under a key.
    pub fn calls(&mut self, key: RequestKey) {
        self.history.calls(key);
    }

    /// A client has its answer.
    ///
    /// # Errors
    /// When it is not what the log gave, or not at its time.
    pub fn written(&mut self, key: RequestKey, reply: &Reply) -> Result<(), Broken> {
        self.history.written(&self.record.borrow(), key, reply)
    }

    /// A client asks for a read.
    pub fn reads(&mut self, client: usize, call: u64, of: ReadOf) {
        self.history.reads(client, call, of);
    }

    /// A client has its answer to a read, or will have none.
    ///
    /// # Errors
    /// When it is stale, or not what the log gives.
    pub fn read(
        &mut self,
        client: usize,
        call: u64,
        answer: Option<(u64, &ReadValue)>,
    ) -> Result<(), Broken> {
        self.history.read(&self.record.borrow(), client, call, answer)
    }

    /// A leader makes a plan.
    pub fn planned(&self, command: &Command) {
        self.record.borrow_mut().planned(command);
    }

    /// The world has come to rest.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn settled(&self, world: &World) -> Result<(), Broken> {
        healed::check(world)?;
        version_understood::settled(world)?;
        acked_kept::check(world)?;
        exactly_once::check(world)?;
        complete_means_sealed::check(world)?;
        recipe_function::check(world)?;
        self.record.borrow().seals.settled(world.waited_for_keys())?;
        named_right::check(world)?;
        gate_before_stage::check(world)?;
        retrain_once::settled(world)?;
        bounded::check(world)?;
        ledger_balances::check(world)?;
        let mut taught = world.servers.iter().filter(|server| bounded::was_taught(world, server));
        taught.try_for_each(|server| self.artifacts.check_all(server))?;
        audit_chained::check(world)
    }
}

/// After the faults: a server leads.
///
/// # Errors
/// When none does.
pub fn must_lead(world: &World) -> Result<(), Broken> {
    leader(world).map(drop)
}

/// After the faults, once a dead node's lease time is over: its leases are released.
///
/// # Errors
/// When one is not.
pub fn must_release(world: &World, node: usize) -> Result<(), Broken> {
    healed::released(world, node)
}

/// The leader, when the world has come to rest.
fn leader(world: &World) -> Result<&Server, Broken> {
    let term = |server: &&Server| server.replica.as_ref().map_or(0, |replica| replica.role().1);
    let found = world.servers.iter().filter(|server| server.leads()).max_by_key(term);
    found.ok_or_else(|| {
        let states: Vec<String> = world.servers.iter().filter_map(Server::state).collect();
        Broken::new(format!("healed: no server leads: {}", states.join("; ")))
    })
}
