//! What a node is to hold, and what of it is news to a node that was told before.

use super::{View, submitted};
use domain::{
    JobId, LeaseId, LogIndex, NodeId,
    checkpoint::Checkpoint,
    lease::{Lease, Phase},
    limit,
    link::WantedLease,
    node::Inventory,
    port::RowRead,
    scratch,
};
use std::collections::BTreeMap;

/// What a stream has told its node: each lease as it was told.
#[derive(Clone, Debug, Default)]
pub struct Told(BTreeMap<LeaseId, As>);

/// A lease as it was told. Equal where nothing has changed of its [`WantedLease`]: what was
/// submitted never does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct As {
    lease: Lease,
    /// Step of the newest committed checkpoint.
    newest: Option<u64>,
    /// The newest registration of its gang's nodes.
    registered: LogIndex,
}

/// What a node is to hold, as far as it was not told.
#[derive(Debug)]
pub struct WantedNews {
    /// All leases that the node is to hold, ascending.
    pub held: Vec<LeaseId>,
    /// Those that are news.
    pub leases: Vec<WantedLease>,
    /// What is told once these are sent.
    pub told: Told,
}

impl View<'_> {
    /// What a node is to hold, and what of it a stream has not told yet. Rows are read, and
    /// values copied, of the leases that are news alone.
    #[must_use]
    pub fn wanted_news(
        &self,
        id: NodeId,
        cluster: &str,
        rows: &impl RowRead,
        mut told: Told,
    ) -> WantedNews {
        let (mut held, mut leases, mut now) = (Vec::new(), Vec::new(), Told::default());
        for lease in self.needed(id) {
            let newest = self.newest_step(lease);
            let registered = self.registered(lease);
            let before = told.0.remove(&lease.id).filter(|before| {
                before.newest == newest && before.registered == registered && before.lease == *lease
            });
            let known = match before {
                Some(known) => known,
                None => {
                    let Some(wanted) = self.wanted_lease(id, lease, cluster, rows) else {
                        continue;
                    };
                    leases.push(wanted);
                    As { lease: lease.clone(), newest, registered }
                }
            };
            held.push(lease.id);
            now.0.insert(lease.id, known);
        }
        WantedNews { held, leases, told: now }
    }

    /// What a node is to hold.
    #[must_use]
    pub fn wanted(&self, id: NodeId, cluster: &str, rows: &impl RowRead) -> Vec<WantedLease> {
        self.wanted_news(id, cluster, rows, Told::default()).leases
    }

    /// Leases that the node is to hold.
    fn needed(&self, id: NodeId) -> impl Iterator<Item = &Lease> {
        let node = self.sched.nodes.get(&id);
        let ids = node.into_iter().flat_map(|node| &node.leases);
        let leases = ids.filter_map(|lease| self.sched.leases.get(lease));
        leases.filter(move |lease| match &lease.phase {
            Phase::Stopping { remaining, .. } => remaining.contains(&id),
            Phase::Preparing { .. } | Phase::Started { .. } => true,
        })
    }

    fn newest_step(&self, lease: &Lease) -> Option<u64> {
        let job = self.sched.jobs.get(&lease.element.job)?;
        let row = job.elements.get(&job.brief.position(lease.element)?)?;
        row.newest.as_ref().map(|checkpoint| checkpoint.step)
    }

    fn registered(&self, lease: &Lease) -> LogIndex {
        let nodes = lease.members.iter().filter_map(|member| self.node(member.node));
        nodes.map(|row| row.registered_at).max().unwrap_or_default()
    }

    fn wanted_lease(
        &self,
        node: NodeId,
        lease: &Lease,
        cluster: &str,
        rows: &impl RowRead,
    ) -> Option<WantedLease> {
        let submitted = submitted(rows, lease.element.job)?;
        let position = submitted.brief().position(lease.element)?;
        let recipe = submitted.recipe_of(lease.element);
        let lead = self.sched.nodes.get(&lease.lead())?;
        let master_addr = match lease.members.len() {
            1 => "127.0.0.1".to_owned(),
            _ => lead.row.inventory.name.clone(),
        };
        Some(WantedLease {
            lease: lease.clone(),
            spec: submitted.spec,
            recipe,
            master_addr,
            checkpoints: checkpoints(rows, lease.element.job, position),
            cluster: cluster.to_owned(),
            inventories: if node == lease.lead() { self.inventories(lease) } else { Vec::new() },
        })
    }

    /// The machines of a gang over several nodes.
    fn inventories(&self, lease: &Lease) -> Vec<Inventory> {
        if lease.members.len() == 1 {
            return Vec::new();
        }
        let nodes = lease.members.iter().filter_map(|member| self.node(member.node));
        nodes.map(|row| row.inventory.clone()).collect()
    }
}

pub(super) fn checkpoints(rows: &impl RowRead, job: JobId, position: u32) -> Vec<Checkpoint> {
    let (from, to) = super::super::key::checkpoints(job, position);
    let page = rows.range(&from, &to, limit::CHECKPOINT_DIGESTS_KEPT);
    page.iter().map(|(key, value)| scratch::decode(key, value)).collect()
}
