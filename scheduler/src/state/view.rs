//! The only window onto the state, for reading alone.

mod checks;
mod config_plan;
mod documents;
mod drift;
mod ended;
mod making_room;
mod queues;
mod registry_view;
mod retained;
mod traced;
mod usage;
mod wanted;
mod windows;

pub use documents::JobFilter;
pub use ended::{EndedRun, ended_runs};
pub(super) use registry_view::sources;
pub use retained::Place;
pub use traced::TraceAsked;
pub use usage::{UsageAsked, UsageBy};
pub use wanted::{Told, WantedNews};

use super::{
    queue::{Bar, Queue},
    row::{ConfigRow, HealthRow, NodeRow, Progress, Submitted},
    sched::{Job, Node, Sched},
    usual::Usual,
};
use domain::{
    Digest, JobId, LeaseId, LogIndex, Millis, NodeId,
    artifact::SealTicket,
    chunks::Pin,
    health::{Acceptance, HeldGpu},
    lease::Lease,
    port::RowRead,
    queue::{ClusterConfig, ConfigError, PriorityClasses},
    scratch::{self, SetHash},
};
use registry::{
    ledger::{EventProof, Head, Ledger},
    seal::tlog::TreeFault,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A read-only view. A function of replicated rows only.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) sched: &'a Sched,
    pub(super) ledger: &'a Ledger,
    hash: SetHash,
}

impl<'a> View<'a> {
    pub(super) fn new(sched: &'a Sched, ledger: &'a Ledger, hash: SetHash) -> Self {
        Self { sched, ledger, hash }
    }

    /// Digest of all that the view shows. Costs the same however much that is: it is the set
    /// hash of the rows, which every apply carries on, and the view is a function of the rows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hash.digest()
    }

    /// The newest applied entry.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.sched.meta.applied
    }

    /// The log's clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.sched.meta.now
    }

    /// All nodes.
    pub fn all_nodes(&self) -> impl Iterator<Item = (NodeId, &'a Node)> + use<'a> {
        self.sched.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// One node's row.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&'a NodeRow> {
        self.sched.nodes.get(&id).map(|node| &node.row)
    }

    /// One node with what is in use on it.
    #[must_use]
    pub fn node_in_use(&self, id: NodeId) -> Option<&'a Node> {
        self.sched.nodes.get(&id)
    }

    /// The queues by name, with what waits in each.
    #[must_use]
    pub fn queues(&self) -> &'a BTreeMap<Arc<str>, Queue> {
        &self.sched.queues
    }

    /// What tasks of jobs that have not ended ask for.
    #[must_use]
    pub fn usual(&self) -> &'a Usual {
        &self.sched.usual
    }

    /// What holds for all queues.
    #[must_use]
    pub fn config(&self) -> &'a ConfigRow {
        &self.sched.config
    }

    /// The configuration as a whole.
    #[must_use]
    pub fn cluster_config(&self) -> ClusterConfig {
        self.sched.cluster_config()
    }

    /// Names for priorities.
    #[must_use]
    pub fn priority_classes(&self) -> &'a PriorityClasses {
        &self.sched.priority_classes
    }

    /// Whether another configuration may take the place of this one.
    ///
    /// # Errors
    /// Why not.
    pub fn check_config(&self, expected: u64, next: &ClusterConfig) -> Result<(), ConfigError> {
        self.sched.check_config(expected, next)
    }

    /// The bounds that keep one more gang of a job from starting: of its user, of its queue, and
    /// of those above.
    #[must_use]
    pub fn bars(&self, job: &Job, now: Millis) -> Vec<(Arc<str>, Bar)> {
        self.sched.bars(&job.brief, now)
    }

    /// When the first pause is over.
    #[must_use]
    pub fn next_pause(&self) -> Option<Millis> {
        self.sched.next_pause()
    }

    /// Whether a budget has something to be told of at `now`.
    #[must_use]
    pub fn has_news(&self, now: Millis) -> bool {
        self.sched.has_news(now)
    }

    /// Jobs of which an element may be placed as far as the job goes, in the order of each group.
    pub fn waiting_jobs(&self) -> impl Iterator<Item = JobId> + use<'a> {
        let orders = self.sched.queues.values().flat_map(|queue| queue.waiting.values());
        orders.flatten().map(|key| key.job)
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn live_jobs(&self) -> usize {
        self.sched.jobs.len()
    }

    /// The newest job that was ever taken in.
    #[must_use]
    pub fn newest_job(&self) -> JobId {
        JobId(self.sched.meta.jobs)
    }

    /// A live job.
    #[must_use]
    pub fn live_job(&self, id: JobId) -> Option<&'a Job> {
        self.sched.jobs.get(&id)
    }

    /// All live jobs.
    pub fn all_live_jobs(&self) -> impl Iterator<Item = (JobId, &'a Job)> + use<'a> {
        self.sched.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// A live job's name.
    #[must_use]
    pub fn job_name(&self, id: JobId) -> Option<String> {
        self.sched.jobs.get(&id).map(|job| job.brief.name.to_string())
    }

    /// The name of a node.
    #[must_use]
    pub fn node_name(&self, id: NodeId) -> Option<String> {
        self.sched.nodes.get(&id).map(|node| node.row.inventory.name.clone())
    }

    /// A live lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<&'a Lease> {
        self.sched.leases.get(&id)
    }

    /// All live leases.
    pub fn all_leases(&self) -> impl Iterator<Item = &'a Lease> + use<'a> {
        self.sched.leases.values()
    }

    /// An open ticket.
    #[must_use]
    pub fn ticket(&self, id: LeaseId) -> Option<&'a SealTicket> {
        self.sched.tickets.get(&id)
    }

    /// All open tickets.
    pub fn all_tickets(&self) -> impl Iterator<Item = &'a SealTicket> + use<'a> {
        self.sched.tickets.values()
    }

    /// Nodes that hold leases, or are in service, with the entry of their registration: those
    /// whose contact the leader has to watch.
    pub fn watched_nodes(&self) -> impl Iterator<Item = (NodeId, LogIndex)> + use<'a> {
        let watched = |node: &Node| !node.row.lost;
        self.sched
            .nodes
            .iter()
            .filter(move |(_, node)| watched(node))
            .map(|(id, node)| (*id, node.row.registered_at))
    }

    /// The newest event of the audit chain, and the newest signed one's number.
    #[must_use]
    pub fn audit_head(&self) -> (Option<Head>, u64) {
        (self.ledger.head(), self.ledger.signed())
    }

    /// An event with what proves it, if there is one.
    ///
    /// # Errors
    /// When rows of the tree over the events are missing.
    pub fn audit_proof(
        &self,
        rows: &impl RowRead,
        event: u64,
    ) -> Result<Option<EventProof>, TreeFault> {
        registry::ledger::prove(self.ledger, rows, event)
    }

    /// The keys that sign for the cluster.
    #[must_use]
    pub fn keys(&self, rows: &impl RowRead) -> domain::signing::KeysView {
        registry::ledger::signing_key::view(rows, self.now())
    }

    /// GPUs of a node that are held back, with those that an operator has accepted.
    #[must_use]
    pub fn health(&self, id: NodeId) -> Option<&'a HealthRow> {
        self.sched.nodes.get(&id).map(|node| &node.health)
    }

    /// Operators' words that a node has not acted on.
    #[must_use]
    pub fn acceptances(&self, id: NodeId) -> Vec<Acceptance> {
        let Some(HealthRow { gpus, accepted, .. }) = self.health(id) else { return Vec::new() };
        let word = |gpu: &HeldGpu| {
            let at = *accepted.get(&gpu.uuid)?;
            Some(Acceptance { uuid: gpu.uuid.clone(), at, since: gpu.since })
        };
        gpus.iter().filter_map(word).collect()
    }

    /// Whether a list of chunks is needed that these attempts have put on a server.
    #[must_use]
    pub fn needs_list(&self, rows: &impl RowRead, list: Digest, pins: &BTreeSet<Pin>) -> bool {
        self.sched.needs_list(rows, list, pins)
    }

    /// The entry that held the newest plan.
    #[must_use]
    pub fn planned_at(&self) -> LogIndex {
        self.sched.meta.planned
    }

    /// A job's submission and progress, live or ended.
    #[must_use]
    pub fn job_rows(&self, rows: &impl RowRead, id: JobId) -> Option<(Submitted, Progress)> {
        let submitted = submitted(rows, id)?;
        if let Some(job) = self.sched.jobs.get(&id) {
            return Some((submitted, job.progress.clone()));
        }
        let key = super::key::job(id);
        let progress = scratch::decode(&key, &rows.get(&key)?);
        Some((submitted, progress))
    }
}

fn submitted(rows: &impl RowRead, id: JobId) -> Option<Submitted> {
    let key = super::key::job_spec(id);
    Some(scratch::decode(&key, &rows.get(&key)?))
}
