//! Where a gang fits that asks for nearness: what is required holds whole or not at all, what is
//! preferred as far as it can.

use super::{fit::Parts, free::FreeNode, sites};
use crate::state::sched::Shape;
use domain::{
    NodeId,
    topology::{Layout, Level, Zone},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// What one way to place a gang costs; the least is best.
///
/// Nodes that are to be avoided, racks or blocks that are to be few, nodes, and how many more
/// tasks would fit there: of like racks the fullest is used, so that an empty one stays whole.
type Cost = (usize, usize, usize, u64);

/// Finds a place among `rooms`, each with the tasks of the gang that fit there.
pub fn find(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    rooms: Parts,
) -> Option<Parts> {
    let asked = shape.topology;
    let one = || on_one(nodes, shape, avoid, &rooms);
    match asked.require {
        Some(Level::Nvlink | Level::Numa | Level::Node) => return one(),
        Some(Level::Rack | Level::Block) | None => {}
    }
    // What lies on one node lies in one rack, whether or not it is known in which.
    if asked.layout == Layout::Pack
        && let Some(found) = one()
    {
        return Some(found);
    }
    over_several(nodes, shape, avoid, &rooms).or_else(one)
}

/// The rack or block in which most tasks of a gang fit, with how many.
#[must_use]
pub fn largest<'a>(
    nodes: &[FreeNode<'a>],
    shape: &Shape,
    level: Level,
    rooms: &Parts,
) -> Option<(Zone<'a>, u64)> {
    let mut sums: BTreeMap<(Zone<'a>, &str), u64> = BTreeMap::new();
    for (at, room) in rooms {
        let node = &nodes[*at];
        let together = node.isolation.takes(&shape.confinement, true);
        if let Some(zone) = node.topology.zone(level).filter(|_| together) {
            *sums.entry((zone, node.class)).or_default() += u64::from(*room);
        }
    }
    let most = sums.into_iter().max_by_key(|((zone, _), sum)| (*sum, Reverse(*zone)));
    most.map(|((zone, _), sum)| (zone, sum))
}

/// On the one node with the least left over, inside it in one clique or NUMA node where that is
/// asked for.
fn on_one(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    rooms: &Parts,
) -> Option<Parts> {
    let tasks = shape.tasks;
    let whole = rooms.iter().filter(|(_, room)| *room >= tasks);
    let candidates = whole.filter_map(|(at, room)| {
        let node = &nodes[*at];
        let (split, left) = match shape.topology.inside() {
            None => (false, 0),
            Some(level) => {
                let (inside, left) = sites::room(node, &shape.resources, level, (*room, tasks));
                (inside < tasks, left)
            }
        };
        let required = shape.topology.require.is_some_and(Level::is_inside_a_node);
        let rank = (avoid.contains(&node.id), split, left, node.gpu_count());
        (!split || !required).then_some(((rank, node.leases, node.cpu, node.id), *at))
    });
    candidates.min().map(|(_, at)| vec![(at, tasks)])
}

/// Over nodes of one hardware class, and of one rack or block where that is required.
fn over_several(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    rooms: &Parts,
) -> Option<Parts> {
    let mut groups: BTreeMap<(&str, Option<Zone<'_>>), Parts> = BTreeMap::new();
    for (at, room) in rooms {
        let node = &nodes[*at];
        if !node.isolation.takes(&shape.confinement, true) {
            continue;
        }
        let zone = match shape.topology.require {
            None => None,
            Some(level) => match node.topology.zone(level) {
                Some(zone) => Some(zone),
                // It may be anywhere.
                None => continue,
            },
        };
        groups.entry((node.class, zone)).or_default().push((*at, *room));
    }
    let within = groups.into_values().filter_map(|group| fill(nodes, shape, avoid, group));
    within.min_by_key(|(cost, _)| *cost).map(|(_, parts)| parts)
}

/// Places a gang on nodes of a group, in as few of the preferred racks or blocks as can be.
fn fill(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    group: Parts,
) -> Option<(Cost, Parts)> {
    let tasks = u64::from(shape.tasks);
    let all = sum(&group);
    if all < tasks {
        return None;
    }
    let few = shape.topology.prefer.filter(|level| *level >= Level::Rack);
    let chosen = match few {
        None => vec![group],
        Some(level) => fewest(nodes, level, tasks, group),
    };
    let zones = chosen.len();
    let room: u64 = chosen.iter().map(sum).sum();
    let avoided = |at: &usize| avoid.contains(&nodes[*at].id);
    let key = |(at, room): &(usize, u32)| (avoided(at), Reverse(*room), nodes[*at].id);
    let mut parts = Parts::new();
    let mut left = shape.tasks;
    for mut zone in chosen {
        zone.sort_by_key(key);
        let here = u32::try_from(sum(&zone)).unwrap_or(left).min(left);
        left -= here;
        parts.extend(match shape.topology.layout {
            Layout::Pack => packed(&zone, here),
            Layout::Spread => spread(&without(&zone, here, |at| avoided(&at)), here),
        });
    }
    let avoided = parts.iter().filter(|(at, _)| avoided(at)).count();
    let count = match shape.topology.layout {
        Layout::Pack => parts.len(),
        // The more the better.
        Layout::Spread => usize::MAX - parts.len(),
    };
    Some(((avoided, zones, count, room - tasks), parts))
}

fn sum(parts: &Parts) -> u64 {
    parts.iter().map(|(_, room)| u64::from(*room)).sum()
}

/// The fewest racks or blocks that hold a gang: one, the fullest, or else the largest of them.
/// Nodes of which it is not known where they are come last, each alone.
fn fewest(nodes: &[FreeNode<'_>], level: Level, tasks: u64, group: Parts) -> Vec<Parts> {
    let mut zones: BTreeMap<Zone<'_>, Parts> = BTreeMap::new();
    let mut nowhere: Vec<Parts> = Vec::new();
    for (at, room) in group {
        match nodes[at].topology.zone(level) {
            Some(zone) => zones.entry(zone).or_default().push((at, room)),
            None => nowhere.push(vec![(at, room)]),
        }
    }
    let mut all: Vec<Parts> = zones.into_values().collect();
    let holds = |zone: &&Parts| sum(zone) >= tasks;
    if let Some(one) = all.iter().filter(holds).min_by_key(|zone| (sum(zone), zone.len())) {
        return vec![one.clone()];
    }
    all.sort_by_key(|zone| Reverse(sum(zone)));
    nowhere.sort_by_key(|node| Reverse(sum(node)));
    let mut left = tasks;
    let mut used = Vec::new();
    for zone in all.into_iter().chain(nowhere) {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(sum(&zone));
        used.push(zone);
    }
    used
}

/// On as few nodes as can be: largest first.
fn packed(nodes: &Parts, tasks: u32) -> Parts {
    let mut left = tasks;
    let mut used = Parts::new();
    for (at, room) in nodes {
        let take = left.min(*room);
        if take == 0 {
            break;
        }
        left -= take;
        used.push((*at, take));
    }
    used
}

/// The nodes that are not to be avoided, if `tasks` fit there; else all.
fn without(nodes: &Parts, tasks: u32, avoided: impl Fn(usize) -> bool) -> Parts {
    let others: Parts = nodes.iter().filter(|(at, _)| !avoided(*at)).copied().collect();
    if sum(&others) >= u64::from(tasks) { others } else { nodes.clone() }
}

/// On as many nodes as can be: one on each in turn.
fn spread(nodes: &Parts, tasks: u32) -> Parts {
    let mut takes = vec![0; nodes.len()];
    let mut left = tasks;
    let mut level = 0;
    while left > 0 {
        let before = left;
        for (take, (_, room)) in takes.iter_mut().zip(nodes) {
            if left > 0 && *room > level {
                *take += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
        level += 1;
    }
    let used = nodes.iter().zip(takes).filter(|(_, take)| *take > 0);
    used.map(|((at, _), take)| (*at, take)).collect()
}
