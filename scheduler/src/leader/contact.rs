//! Ends the leases of nodes that have been out of contact for too long.

use crate::state::{sched::Job, view::View};
use domain::{
    LeaseId, LogIndex, Millis, NodeId,
    job::OnDisconnect,
    lease::{Lease, Phase},
    limit,
};
use std::collections::{BTreeMap, BTreeSet};

/// Time without contact after which a node's leases are over: nothing of them can run any more
/// on a node that keeps the rules. It holds the lease's time, what two clocks may part in it,
/// and the time to kill.
///
/// Source: rulings, 5. A renewal counts here from when it was confirmed, on the node from when
/// its heartbeat was sent, which is earlier.
pub const LOST_AFTER: Millis =
    Millis(limit::LEASE_TTL.0 + limit::DRIFT_MARGIN.0 + limit::KILL_GRACE.0);

/// Time after which the loss of a node is proposed again, if it is not in the log by then.
const REPEAT: Millis = Millis(2_000);

/// When each node was last in contact with this leader.
#[derive(Clone, Debug)]
pub(super) struct Contacts {
    renewed: BTreeMap<NodeId, Millis>,
    /// Losses on their way into the log, with the registration that they speak of.
    told: BTreeMap<NodeId, (LogIndex, Millis)>,
    /// Gangs whose end is on its way into the log.
    broken: BTreeMap<LeaseId, Millis>,
}

impl Contacts {
    /// A new leader does not know when its predecessor last renewed: as if it had been just now.
    pub fn new(now: Millis, view: &View<'_>) -> Self {
        let renewed = view.watched_nodes().map(|(node, _)| (node, now)).collect();
        Self { renewed, told: BTreeMap::new(), broken: BTreeMap::new() }
    }

    /// Takes note of a contact. Says whether the node must register anew, since it counts as
    /// lost.
    pub fn renewed(&mut self, node: NodeId, view: &View<'_>, now: Millis) -> bool {
        self.renewed.insert(node, now);
        view.node(node).is_some_and(|row| row.lost)
    }

    /// Nodes whose leases are over, with the registration that the end speaks of.
    pub fn lost(&mut self, view: &View<'_>, now: Millis) -> Vec<(NodeId, LogIndex)> {
        let mut lost = Vec::new();
        for (node, registered_at) in view.watched_nodes() {
            // A node that this leader sees for the first time has just registered.
            let renewed = *self.renewed.entry(node).or_insert(now);
            if now < renewed.plus(LOST_AFTER) {
                continue;
            }
            let told = self.told.get(&node);
            if told.is_some_and(|(at, when)| *at == registered_at && now < when.plus(REPEAT)) {
                continue;
            }
            self.told.insert(node, (registered_at, now));
            lost.push((node, registered_at));
        }
        lost
    }

    /// Gangs that have a silent node, each with that node: the lease time of its part is over, so
    /// that its own agent has ended it, and the others wait for it in vain. Nothing is granted
    /// anew by that: the node itself counts as lost only after [`LOST_AFTER`].
    pub fn broken(&mut self, view: &View<'_>, now: Millis) -> Vec<(NodeId, LeaseId)> {
        let over = |node: &NodeId| {
            self.renewed.get(node).is_some_and(|at| now >= at.plus(limit::LEASE_TTL))
        };
        let silent: BTreeSet<NodeId> =
            view.watched_nodes().map(|(node, _)| node).filter(over).collect();
        if silent.is_empty() {
            self.broken.clear();
            return Vec::new();
        }
        let mut broken = Vec::new();
        for lease in view.all_leases().filter(|lease| is_gang_that_stops(view, lease)) {
            let mut nodes = lease.members.iter().map(|member| member.node);
            let Some(node) = nodes.find(|node| silent.contains(node)) else { continue };
            if self.broken.get(&lease.id).is_none_or(|when| now >= when.plus(REPEAT)) {
                self.broken.insert(lease.id, now);
                broken.push((node, lease.id));
            }
        }
        self.broken.retain(|lease, _| view.lease(*lease).is_some());
        broken
    }
}

/// Whether a lease runs on several nodes, each of which ends it by itself when it hears nothing.
fn is_gang_that_stops(view: &View<'_>, lease: &Lease) -> bool {
    let stops = |job: &Job| job.brief.on_disconnect == OnDisconnect::Stop;
    lease.members.len() > 1
        && !matches!(lease.phase, Phase::Stopping { .. })
        && view.live_job(lease.element.job).is_some_and(stops)
}
