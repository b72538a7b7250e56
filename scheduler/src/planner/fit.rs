//! Whether and where one gang fits: whole or not at all.

use super::{free::FreeNode, near, sites};
use crate::state::sched::Shape;
use domain::{NodeId, hardware::share::SHARES_MAX, lease::Member, resource::GpuShare};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Nodes by their place in a list, with the tasks of a gang that each takes.
pub(super) type Parts = Vec<(usize, u32)>;

/// Finds a place for a gang and takes it from `nodes`.
///
/// One node if any can hold the gang: the one with the least left over (best fit), nodes in
/// `avoid` last. Otherwise the fewest nodes of one hardware class, largest first.
pub fn place_gang(
    nodes: &mut [FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
) -> Option<Vec<Member>> {
    place_outside(nodes, shape, avoid, |_| false)
}

/// As [`place_gang`], on none of the nodes that are `barred`.
pub fn place_outside(
    nodes: &mut [FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    barred: impl Fn(NodeId) -> bool,
) -> Option<Vec<Member>> {
    let Some(sizes) = by_size(shape) else { return place_one(nodes, shape, avoid, barred) };
    let open = |id| barred(id) || avoid.contains(&id);
    let elsewhere = sizes.iter().find_map(|it| place_one(nodes, it, avoid, open));
    elsewhere.or_else(|| sizes.iter().find_map(|it| place_one(nodes, it, avoid, &barred)))
}

/// Of a gang that asks for a part of a GPU, the same gang with each size of share that will do, the
/// smallest first: a large one is what somebody else may need.
pub(super) fn by_size(shape: &Shape) -> Option<Vec<Shape>> {
    let share = shape.resources.gpu_share;
    if !matches!(share, GpuShare::AtLeast(_)) {
        return None;
    }
    let sizes = (2..=SHARES_MAX).rev().filter(|count| share.takes(*count));
    let exact = |count| {
        let mut exact = shape.clone();
        exact.resources.gpu_share = GpuShare::OneOf(count);
        exact
    };
    Some(sizes.map(exact).collect())
}

fn place_one(
    nodes: &mut [FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    barred: impl Fn(NodeId) -> bool,
) -> Option<Vec<Member>> {
    let parts = find(nodes, shape, avoid, barred)?;
    let mut first = 0;
    let mut members = Vec::with_capacity(parts.len());
    for (at, take) in parts {
        members.push(take_on(&mut nodes[at], shape, first, take));
        first += take;
    }
    Some(members)
}

/// Takes the room of `count` tasks on a node, on GPUs that are near each other where that is
/// asked for.
pub(super) fn take_on(node: &mut FreeNode<'_>, shape: &Shape, first: u32, count: u32) -> Member {
    let wanted = &shape.resources;
    match shape.topology.inside().filter(|_| wanted.gpus > 0) {
        Some(level) => {
            let tasks = sites::choose(node, wanted, level, count);
            node.take_these(wanted, first, tasks)
        }
        None => node.take(wanted, first, count),
    }
}

/// Whether a gang fits now.
#[must_use]
pub fn fits(nodes: &[FreeNode<'_>], shape: &Shape) -> bool {
    find(nodes, shape, &BTreeSet::new(), |_| false).is_some()
}

/// Whether a node is one of those that a gang may run on, room aside.
pub(super) fn suits(node: &FreeNode<'_>, shape: &Shape) -> bool {
    shape.class.as_ref().is_none_or(|class| class == node.class)
        && node.isolation.takes(&shape.confinement, false)
}

/// Nodes on which a part of a gang fits, with how much.
pub(super) fn rooms(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    barred: impl Fn(NodeId) -> bool,
) -> Parts {
    nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| suits(node, shape) && !barred(node.id))
        .map(|(at, node)| (at, node.room(&shape.resources, shape.tasks)))
        .filter(|(_, room)| *room > 0)
        .collect()
}

/// Where a gang fits, by a look at every node.
pub(super) fn find(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    barred: impl Fn(NodeId) -> bool,
) -> Option<Parts> {
    let rooms = rooms(nodes, shape, barred);
    if !shape.topology.is_default() {
        return near::find(nodes, shape, avoid, rooms);
    }
    let whole = rooms.iter().filter(|(_, room)| *room >= shape.tasks);
    let best = whole.map(|(at, _)| *at).min_by_key(|at| {
        let node = &nodes[*at];
        (avoid.contains(&node.id), node.gpu_count(), node.leases, node.cpu, node.id)
    });
    match best {
        Some(at) => Some(vec![(at, shape.tasks)]),
        None => over_several(nodes, shape, avoid, rooms),
    }
}

fn over_several(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    rooms: Parts,
) -> Option<Parts> {
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let together = |(at, _): &(usize, u32)| nodes[*at].isolation.takes(&shape.confinement, true);
    for (at, _) in rooms.into_iter().filter(together) {
        classes.entry(nodes[at].class).or_default().push(at);
    }
    let found = classes.into_values().filter_map(|all| fewest(nodes, all, shape, avoid));
    // The first class of those with the fewest.
    found.min_by_key(Vec::len)
}

/// The fewest of these nodes that can hold a gang: those with the largest room first, of equal
/// ones those with most free GPUs; nodes in `avoid` last.
pub(super) fn fewest(
    nodes: &[FreeNode<'_>],
    candidates: impl IntoIterator<Item = usize>,
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
) -> Option<Parts> {
    let rooms = candidates.into_iter().map(|at| {
        let node = &nodes[at];
        let least_left = (Reverse(node.gpu_count()), node.leases, node.cpu, node.id);
        let room = node.room(&shape.resources, shape.tasks);
        ((avoid.contains(&node.id), Reverse(room), least_left), at, room)
    });
    let mut rooms: Vec<_> = rooms.filter(|(.., room)| *room > 0).collect();
    rooms.sort_unstable();
    let (mut left, mut used) = (shape.tasks, Vec::new());
    for (_, at, room) in rooms {
        if left == 0 {
            break;
        }
        let take = room.min(left);
        left -= take;
        used.push((at, take));
    }
    (left == 0).then_some(used)
}
