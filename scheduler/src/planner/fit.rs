//! Whether and where one gang fits: whole or not at all.

use super::free::FreeNode;
use crate::state::sched::Shape;
use domain::{NodeId, lease::Member};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Finds a place for a gang and takes it from `nodes`.
///
/// One node if any can hold the gang: the one with the least left over (best fit), nodes in
/// `avoid` last. Otherwise the fewest nodes of one hardware class, largest first.
pub fn place_gang(
    nodes: &mut [FreeNode],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
) -> Option<Vec<Member>> {
    let suits = |node: &FreeNode| shape.class.as_ref().is_none_or(|class| *class == node.class);
    let rooms: Vec<(usize, u32)> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| suits(node))
        .map(|(at, node)| (at, node.room(&shape.resources, shape.tasks)))
        .filter(|(_, room)| *room > 0)
        .collect();
    let whole = rooms.iter().filter(|(_, room)| *room >= shape.tasks);
    let best = whole.map(|(at, _)| *at).min_by_key(|at| {
        let node = &nodes[*at];
        (avoid.contains(&node.id), node.gpus.len(), node.leases, node.cpu, node.id)
    });
    if let Some(at) = best {
        return Some(vec![nodes[at].take(&shape.resources, 0, shape.tasks)]);
    }
    over_several(nodes, shape, avoid, rooms)
}

fn over_several(
    nodes: &mut [FreeNode],
    shape: &Shape,
    avoid: &BTreeSet<NodeId>,
    rooms: Vec<(usize, u32)>,
) -> Option<Vec<Member>> {
    let mut classes: BTreeMap<&str, Vec<(usize, u32)>> = BTreeMap::new();
    for (at, room) in rooms {
        classes.entry(&nodes[at].class).or_default().push((at, room));
    }
    let mut chosen: Option<Vec<(usize, u32)>> = None;
    for mut candidates in classes.into_values() {
        candidates.sort_by_key(|(at, room)| {
            (avoid.contains(&nodes[*at].id), Reverse(*room), nodes[*at].id)
        });
        let mut left = shape.tasks;
        let mut used = Vec::new();
        for (at, room) in candidates {
            if left == 0 {
                break;
            }
            let take = room.min(left);
            left -= take;
            used.push((at, take));
        }
        let better = chosen.as_ref().is_none_or(|chosen| used.len() < chosen.len());
        if left == 0 && better {
            chosen = Some(used);
        }
    }
    let mut first = 0;
    let mut members = Vec::new();
    for (at, take) in chosen? {
        members.push(nodes[at].take(&shape.resources, first, take));
        first += take;
    }
    Some(members)
}
