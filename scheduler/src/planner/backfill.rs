//! Nodes that are kept for a gang that does not fit, and until when others may use them.
//!
//! Attempts with a time limit end by it, so that it is known by when a gang could start. What
//! ends before that may run on the nodes that are kept for it meanwhile (EASY backfill: Lifka,
//! JSSPP '95). Time that preparing takes is not counted. Of attempts without a limit nothing is
//! known: where the gang has to wait for one of those, nobody else uses its nodes.

use super::{
    fit::{place_gang, suits},
    free::FreeNode,
};
use crate::state::{sched::Shape, view::View};
use domain::{
    LeaseId, Millis, NodeId,
    lease::{Lease, Member, Phase},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// What is kept for a gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The nodes.
    pub nodes: BTreeSet<NodeId>,
    /// When it can start at the latest, if every attempt keeps its time limit; none where it
    /// waits for one without.
    pub at: Option<Millis>,
}

impl Reservation {
    /// Whether an attempt that begins now and runs for `limit` leaves in time.
    #[must_use]
    pub fn outlasts(&self, now: Millis, limit: Option<Millis>) -> bool {
        self.at.zip(limit).is_some_and(|(at, limit)| now.plus(limit) <= at)
    }
}

/// The nodes that a gang could have soonest; none where it would not fit if nothing ran.
#[must_use]
pub fn reserve<'a>(
    view: &View<'a>,
    now: Millis,
    nodes: &[FreeNode<'a>],
    shape: &Shape,
) -> Option<Reservation> {
    let order = |lease: &'a Lease| {
        let at = end(view, lease, now);
        Reverse((at.is_none(), at, lease.id))
    };
    let mut ends: BinaryHeap<_> = view.all_leases().map(order).collect();
    let mut room = Emptying::new(nodes, shape);
    let mut ended = Vec::new();
    // The more have ended the sooner it fits: the first number with which it does.
    while !room.fits() {
        let Reverse((_, end, id)) = ends.pop()?;
        ended.push((end, id));
        room.end(view, id);
    }
    let members = match shape.topology.is_default() {
        true => place_gang(&mut room.nodes(), shape, &BTreeSet::new())?,
        false => {
            let first = ended.len();
            ended.extend(
                ends.into_sorted_vec().into_iter().rev().map(|Reverse((_, end, id))| (end, id)),
            );
            let (count, members) = near(view, nodes, shape, &ended, first)?;
            ended.truncate(count);
            members
        }
    };
    let at = ended.last().map_or(Some(now), |(end, _)| *end);
    Some(Reservation { nodes: members.iter().map(|member| member.node).collect(), at })
}

/// With how many ended a gang fits whose parts have to be near each other, at least `first`: each
/// try looks at all nodes, so by halves.
fn near<'a>(
    view: &View<'a>,
    nodes: &[FreeNode<'a>],
    shape: &Shape,
    ends: &[(Option<Millis>, LeaseId)],
    first: usize,
) -> Option<(usize, Vec<Member>)> {
    let place = |count: usize| {
        let mut room = Emptying::new(nodes, shape);
        ends[..count].iter().for_each(|(_, id)| room.end(view, *id));
        place_gang(&mut room.nodes(), shape, &BTreeSet::new())
    };
    let (mut low, mut high) = (first, ends.len());
    let mut members = place(high)?;
    while low < high {
        let middle = low + (high - low) / 2;
        match place(middle) {
            Some(found) => (members, high) = (found, middle),
            None => low = middle + 1,
        }
    }
    Some((high, members))
}

/// When an attempt has ended at the latest, if that is known.
fn end(view: &View<'_>, lease: &Lease, now: Millis) -> Option<Millis> {
    let limit = view.live_job(lease.element.job)?.brief.time_limit;
    match lease.phase {
        Phase::Stopping { .. } => Some(now),
        Phase::Preparing { .. } | Phase::Started { .. } => {
            limit.map(|limit| lease.granted.plus(limit).max(now))
        }
    }
}

/// Nodes as one lease after another ends on them, with the room that a gang has there.
struct Emptying<'s, 'a> {
    shape: &'s Shape,
    nodes: &'s [FreeNode<'a>],
    places: BTreeMap<NodeId, usize>,
    /// Nodes that something has left.
    changed: BTreeMap<usize, FreeNode<'a>>,
    /// Nodes that hold the whole gang.
    whole: usize,
    /// Tasks that fit on the nodes of each class that may share a gang.
    shared: BTreeMap<&'a str, u64>,
}

impl<'s, 'a> Emptying<'s, 'a> {
    fn new(nodes: &'s [FreeNode<'a>], shape: &'s Shape) -> Self {
        let places = nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let (changed, shared) = (BTreeMap::new(), BTreeMap::new());
        let mut emptying = Self { shape, nodes, places, changed, whole: 0, shared };
        for node in nodes {
            emptying.count(node, 0, emptying.room(node));
        }
        emptying
    }

    fn room(&self, node: &FreeNode<'_>) -> u32 {
        match suits(node, self.shape) {
            true => node.room(&self.shape.resources, self.shape.tasks),
            false => 0,
        }
    }

    /// A node has room for `now` tasks where it had for `before`.
    fn count(&mut self, node: &FreeNode<'a>, before: u32, now: u32) {
        if before < self.shape.tasks && now >= self.shape.tasks {
            self.whole += 1;
        }
        if node.isolation.takes(&self.shape.confinement, true) {
            *self.shared.entry(node.class).or_default() += u64::from(now.saturating_sub(before));
        }
    }

    fn fits(&self) -> bool {
        let tasks = u64::from(self.shape.tasks);
        self.whole > 0 || self.shared.values().any(|room| *room >= tasks)
    }

    /// A lease ends. What it leaves to a gang that it makes room for, is that gang's.
    fn end(&mut self, view: &View<'a>, id: LeaseId) {
        if view.is_ceding(id) {
            return;
        }
        let lease = view.lease(id);
        let job = lease.and_then(|lease| view.live_job(lease.element.job));
        let Some((lease, job)) = lease.zip(job) else { return };
        for member in &lease.members {
            let Some(at) = self.places.get(&member.node) else { continue };
            let Some(node) = view.node_in_use(member.node) else { continue };
            let changed = self.changed.remove(at);
            let mut free = changed.unwrap_or_else(|| self.nodes[*at].clone());
            let (at, before) = (*at, self.room(&free));
            free.left_by(node, member, &job.brief.resources);
            self.count(&free, before, self.room(&free));
            self.changed.insert(at, free);
        }
    }

    fn nodes(self) -> Vec<FreeNode<'a>> {
        let mut nodes = self.nodes.to_vec();
        for (at, node) in self.changed {
            nodes[at] = node;
        }
        nodes
    }
}
