//! GPUs of one node that are near each other: NVLink cliques and NUMA nodes.

use super::free::FreeNode;
use domain::{resource::TaskResources, topology::Level};
use std::{cmp::Reverse, collections::BTreeMap};

/// Free GPUs that suit, by what they have in common; those of which it is not known apart.
fn by_site(
    node: &FreeNode<'_>,
    wanted: &TaskResources,
    level: Level,
) -> (BTreeMap<u32, Vec<u32>>, Vec<u32>) {
    let (mut sites, mut apart) = (BTreeMap::<u32, Vec<u32>>::new(), Vec::new());
    for gpu in node.indices(wanted) {
        match node.topology.site(level, gpu) {
            Some(site) => sites.entry(site).or_default().push(gpu),
            None => apart.push(gpu),
        }
    }
    for gpus in sites.values_mut() {
        gpus.sort_unstable();
    }
    (sites, apart)
}

/// Free GPUs that suit, of each clique or NUMA node.
pub fn suiting(
    node: &FreeNode<'_>,
    wanted: &TaskResources,
    level: Level,
) -> impl Iterator<Item = (u32, u64)> {
    by_site(node, wanted, level).0.into_iter().map(|(site, gpus)| (site, gpus.len() as u64))
}

/// How many tasks fit into one clique or NUMA node, of `room` that fit on the node, and how many
/// GPUs that leaves there at least if `tasks` do.
pub fn room(
    node: &FreeNode<'_>,
    wanted: &TaskResources,
    level: Level,
    (room, tasks): (u32, u32),
) -> (u32, u64) {
    if wanted.gpus == 0 {
        return (room, 0);
    }
    let needed = u64::from(wanted.gpus) * u64::from(tasks);
    let sites: Vec<u64> = suiting(node, wanted, level).map(|(_, gpus)| gpus).collect();
    let most = sites.iter().max().map_or(0, |most| most / u64::from(wanted.gpus));
    let left = sites.iter().filter_map(|gpus| gpus.checked_sub(needed)).min().unwrap_or(0);
    (u32::try_from(most).unwrap_or(room).min(room), left)
}

/// The GPUs of `count` tasks that fit on a node, in as few cliques or NUMA nodes as can be, each
/// task in one where it can. Tasks and their GPUs ascend by index, as ranks do.
///
/// All in the one with the least left over, if one holds them all.
pub fn choose(
    node: &FreeNode<'_>,
    wanted: &TaskResources,
    level: Level,
    count: u32,
) -> Vec<Vec<u32>> {
    let (sites, apart) = by_site(node, wanted, level);
    let each = (wanted.gpus as usize).max(1);
    let needed = each * count as usize;
    let mut left: Vec<Vec<u32>> = sites.into_values().collect();
    let tight = left.iter().filter(|gpus| gpus.len() >= needed).min_by_key(|gpus| gpus.len());
    if let Some(gpus) = tight {
        return gpus[..needed].chunks(each).map(<[u32]>::to_vec).collect();
    }
    left.sort_by_key(|gpus| (Reverse(gpus.len()), gpus.first().copied()));
    let mut tasks: Vec<Vec<u32>> = Vec::new();
    for gpus in &mut left {
        let more = (count as usize - tasks.len()).min(gpus.len() / each);
        let taken: Vec<u32> = gpus.drain(..more * each).collect();
        tasks.extend(taken.chunks(each).map(<[u32]>::to_vec));
    }
    // What is left over of each is too little for a task of its own.
    let rest: Vec<u32> = left.into_iter().flatten().chain(apart).collect();
    let more = count as usize - tasks.len();
    tasks.extend(rest.chunks_exact(each).take(more).map(<[u32]>::to_vec));
    tasks.iter_mut().for_each(|gpus| gpus.sort_unstable());
    tasks.sort_unstable();
    tasks
}
