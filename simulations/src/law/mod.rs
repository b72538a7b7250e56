//! The laws, each in a file of its own, checked as the world goes.

mod acked_kept;
mod audit_chained;
mod checkpoint_monotone;
mod complete_means_sealed;
mod exactly_once;
mod healed;
mod one_leader;
mod recipe_function;
mod self_fence;
mod state_digest;
mod state_laws;

use crate::{
    node::Node,
    server::Server,
    world::{Coverage, World},
};
use domain::{Digest, LeaseId};
use std::fmt;

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
#[derive(Default)]
pub struct Laws {
    digests: state_digest::StateDigest,
    checkpoints: checkpoint_monotone::CheckpointMonotone,
    leaders: one_leader::OneLeader,
}

impl Laws {
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
    pub fn applied(&mut self, server: &Server, coverage: &mut Coverage) -> Result<Digest, Broken> {
        let digest = self.digests.check(server)?;
        state_laws::check(server)?;
        self.checkpoints.check(server)?;
        let Some(replica) = &server.replica else { return Ok(digest) };
        let view = replica.view().0.0.view();
        if let Some(lease) = view.all_leases().last() {
            coverage.attempts = coverage.attempts.max(lease.id.index);
        }
        Ok(digest)
    }

    /// A server has started again from its rows.
    ///
    /// # Errors
    /// When it is not what it was.
    pub fn restarted(&mut self, server: &Server) -> Result<(), Broken> {
        self.digests.check(server).map(drop)
    }

    /// Tasks of a lease have started on a node.
    ///
    /// # Errors
    /// When others that they exclude still run.
    pub fn started(&self, nodes: &[Node], at: usize, lease: LeaseId) -> Result<(), Broken> {
        self_fence::check(nodes, at, lease)
    }

    /// The world has come to rest.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn settled(&self, world: &World) -> Result<(), Broken> {
        healed::check(world)?;
        acked_kept::check(world)?;
        exactly_once::check(world)?;
        complete_means_sealed::check(world)?;
        recipe_function::check(world)?;
        audit_chained::check(world)
    }
}

/// The leader, when the world has come to rest.
fn leader(world: &World) -> Result<&Server, Broken> {
    let found = world.servers.iter().find(|server| server.leads());
    found.ok_or_else(|| Broken::new("healed: no server leads"))
}
