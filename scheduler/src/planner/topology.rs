//! Nearness as a reason to wait: what is required of where a gang lies.

use super::{
    fit::{fits, rooms},
    free::FreeNode,
    near::largest,
    sites,
};
use crate::state::sched::Shape;
use domain::{topology::Level, view::ReasonView};
use std::cmp::Reverse;

/// The reason, where a gang that does not fit on `nodes` would fit if what it requires of where it
/// lies were a wish.
#[must_use]
pub fn reason(nodes: &[FreeNode<'_>], shape: &Shape, never: bool) -> Option<ReasonView> {
    let level = shape.topology.require?;
    let wish = Shape { topology: shape.topology.as_a_wish(), ..shape.clone() };
    if !fits(nodes, &wish) {
        return None;
    }
    let each = u64::from(shape.resources.gpus);
    let (needs, unit) = match each {
        0 => (u64::from(shape.tasks), "tasks"),
        each => (u64::from(shape.tasks) * each, "GPUs"),
    };
    let one = level.one();
    let free = if never { "most" } else { "most free" };
    let has = match most(nodes, shape, level) {
        Some((name, room)) => format!("the {one} with {free} has room for {room} ({name})"),
        None if level >= Level::Rack => {
            format!("no node that it fits on says in which {one} it is (`assay agent --{one}`)")
        }
        None => format!("no node that it fits on says which of its GPUs are in one {one}"),
    };
    let wait = if never { "" } else { ", or wait until others end" };
    Some(ReasonView {
        kind: "topology".into(),
        detail: format!("needs {needs} {unit} within one {one}; {has}"),
        remedy: format!("submit it with `topology = \"{}\"`{wait}", wish.topology),
        never,
    })
}

/// What of this level has most room for a gang, by name, with how many of its GPUs or tasks.
fn most(nodes: &[FreeNode<'_>], shape: &Shape, level: Level) -> Option<(String, u64)> {
    let rooms = rooms(nodes, shape, |_| false);
    let each = u64::from(shape.resources.gpus).max(1);
    let on_node = |(at, room): &(usize, u32)| {
        let room = u64::from(*room) * each;
        let inside = || sites::suiting(&nodes[*at], &shape.resources, level);
        match level.is_inside_a_node() {
            true => Some((inside().map(|(_, gpus)| gpus).max()?.min(room), nodes[*at].id)),
            false => Some((room, nodes[*at].id)),
        }
    };
    let node = rooms.iter().filter_map(on_node).max_by_key(|(room, id)| (*room, Reverse(*id)));
    let node = node.map(|(room, id)| (id.to_string(), room));
    let zone = largest(nodes, shape, level, &rooms);
    match (zone.map(|(zone, tasks)| (zone.to_string(), tasks * each)), node) {
        // A node that names no rack is a rack of its own, as far as is known.
        (Some(zone), Some(node)) => Some(if node.1 > zone.1 { node } else { zone }),
        (Some(zone), None) => Some(zone),
        (None, node) => node.filter(|_| level <= Level::Node),
    }
}
