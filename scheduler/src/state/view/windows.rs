//! Windows of nodes and time, as others see them.

use super::View;
use crate::state::{
    command::Refusal,
    row::NodeRow,
    sched::Job,
    window::{Barred, Guest, WindowRow},
};
use domain::{
    CheckId, Millis, NodeId,
    lease::Lease,
    node::{DrainTerms, NodeState},
    reservation::{NodeWindow, ReservationView},
};
use std::collections::BTreeSet;

impl<'a> View<'a> {
    /// Windows that are not over, by name.
    pub fn windows(&self) -> impl Iterator<Item = &'a WindowRow> + use<'a> {
        self.sched.windows.values()
    }

    /// A window by its name.
    #[must_use]
    pub fn window(&self, name: &str) -> Option<&'a WindowRow> {
        self.sched.windows.get(name)
    }

    /// Windows that keep an attempt of a job from starting now.
    #[must_use]
    pub fn barred(&self, job: &Job, now: Millis) -> Barred<'a> {
        self.sched.barred(Guest::from(&job.brief), now)
    }

    /// The same for what is no job yet, or another time limit.
    #[must_use]
    pub fn barred_as(&self, guest: Guest<'_>, now: Millis) -> Barred<'a> {
        self.sched.barred(guest, now)
    }

    /// Whether an attempt has notice because a window is open on a node of it, or one is taken out
    /// of service.
    #[must_use]
    pub fn leaves_its_nodes(&self, lease: &Lease) -> bool {
        self.sched.leaves_its_nodes(lease)
    }

    /// The node, or the nodes of the rack, that a word names.
    ///
    /// # Errors
    /// When it names none, or racks in several blocks.
    pub fn nodes_named(&self, word: &str) -> Result<BTreeSet<NodeId>, Refusal> {
        self.sched.nodes_named(word)
    }

    /// Whether a node has this name.
    #[must_use]
    pub fn has_node(&self, name: &str) -> bool {
        self.sched.names.contains_key(name)
    }

    /// The open check of a node in quarantine.
    #[must_use]
    pub fn check_of_node(&self, node: NodeId) -> Option<CheckId> {
        self.sched.check_of_node(node)
    }

    /// On which terms a node is out of service.
    #[must_use]
    pub fn drain_terms(&self, node: NodeId) -> DrainTerms {
        self.sched.drains.get(&node).copied().unwrap_or_default()
    }

    /// Whether a node takes work, as lists show it.
    pub(super) fn node_state(&self, id: NodeId, row: &NodeRow) -> NodeState {
        let DrainTerms { until, migrate, quarantine, check: _ } = self.drain_terms(id);
        match &row.drained {
            Some(reason) => {
                NodeState::Drained { reason: reason.clone(), until, migrate, quarantine }
            }
            None if row.lost => NodeState::Lost,
            None => NodeState::Ready,
        }
    }

    /// All windows that are not over, the first to begin first.
    #[must_use]
    pub fn reservations(&self) -> Vec<ReservationView> {
        let mut all: Vec<&WindowRow> = self.windows().collect();
        all.sort_by_key(|row| (row.from, &row.name));
        all.into_iter().map(|row| self.reservation(row)).collect()
    }

    fn reservation(&self, row: &WindowRow) -> ReservationView {
        let nodes = row.nodes.iter().filter_map(|id| self.sched.nodes.get(id));
        let leases: BTreeSet<_> = nodes.flat_map(|node| node.leases.iter().copied()).collect();
        let (mut inside, mut others) = (BTreeSet::new(), BTreeSet::new());
        for lease in leases.into_iter().filter_map(|id| self.lease(id)) {
            let Some(job) = self.live_job(lease.element.job) else { continue };
            match self.sched.admits(row, Guest::from(&job.brief)) {
                true => inside.insert(lease.element),
                false => others.insert(lease.element),
            };
        }
        ReservationView {
            name: row.name.clone(),
            kind: row.kind,
            state: row.word(self.now()).to_owned(),
            starts: row.from,
            ends: row.until,
            nodes: row.nodes.iter().filter_map(|id| self.node_name(*id)).collect(),
            users: row.users.iter().cloned().collect(),
            queues: row.queues.iter().cloned().collect(),
            reason: row.reason.clone(),
            by: row.by.clone(),
            at: row.at.0,
            inside: inside.into_iter().collect(),
            others: others.into_iter().collect(),
        }
    }

    /// Windows that a node is in, or will be, the first to begin first.
    #[must_use]
    pub fn windows_of(&self, node: NodeId) -> Vec<NodeWindow> {
        let mut all: Vec<&WindowRow> =
            self.windows().filter(|it| it.nodes.contains(&node)).collect();
        all.sort_by_key(|row| (row.from, &row.name));
        let window = |row: &WindowRow| NodeWindow {
            name: row.name.clone(),
            kind: row.kind,
            state: row.word(self.now()).to_owned(),
            starts: row.from,
            ends: row.until,
        };
        all.into_iter().map(window).collect()
    }
}
