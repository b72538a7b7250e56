//! Nodes that are kept for a gang that does not fit, and until when others may use them.
//!
//! Attempts with a time limit end by it, so that it is known by when a gang could start. What
//! ends before that may run on the nodes that are kept for it meanwhile (EASY backfill: Lifka,
//! JSSPP '95). Time that preparing takes is not counted. Of attempts without a limit nothing is
//! known: where the gang has to wait for one of those, nobody else uses its nodes.

use super::{fit::place_gang, free::FreeNode};
use crate::state::{
    sched::{Node, Shape},
    view::View,
};
use domain::{
    Millis, NodeId,
    lease::{Lease, Phase},
};
use std::collections::{BTreeMap, BTreeSet};

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
    let mut ends: Vec<(Option<Millis>, &Lease)> =
        view.all_leases().map(|lease| (end(view, lease, now), lease)).collect();
    ends.sort_by_key(|(at, lease)| (at.is_none(), *at, lease.id));
    let known: BTreeMap<NodeId, &Node> = view.all_nodes().collect();
    let place = |count: usize| {
        let mut then = without(view, &known, nodes, &ends[..count]);
        place_gang(&mut then, shape, &BTreeSet::new())
    };
    // The more have ended the sooner it fits: the first number with which it does.
    let (mut low, mut high) = (0, ends.len());
    let mut members = place(high)?;
    while low < high {
        let middle = low + (high - low) / 2;
        match place(middle) {
            Some(found) => (members, high) = (found, middle),
            None => low = middle + 1,
        }
    }
    let last = high.checked_sub(1).and_then(|at| ends.get(at));
    Some(Reservation {
        nodes: members.iter().map(|member| member.node).collect(),
        at: last.map_or(Some(now), |(at, _)| *at),
    })
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

fn without<'a>(
    view: &View<'a>,
    known: &BTreeMap<NodeId, &'a Node>,
    nodes: &[FreeNode<'a>],
    ended: &[(Option<Millis>, &Lease)],
) -> Vec<FreeNode<'a>> {
    let mut then = nodes.to_vec();
    let places: BTreeMap<NodeId, usize> =
        then.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
    for (_, lease) in ended.iter().filter(|(_, lease)| !view.is_ceding(lease.id)) {
        let Some(job) = view.live_job(lease.element.job) else { continue };
        for member in &lease.members {
            if let (Some(at), Some(node)) = (places.get(&member.node), known.get(&member.node)) {
                then[*at].left_by(node, member, &job.brief.resources);
            }
        }
    }
    then
}
