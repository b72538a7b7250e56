//! Where checks may run: on what nobody wants, and for as long as nobody wants it.

use super::{
    fit::place_gang,
    free::{self, FreeNode, kind},
    pass::plan_on,
    stock::Stock,
};
use crate::state::{
    sched::{Node, Shape},
    view::View,
    window::Guest,
};
use domain::{
    LeaseId, Millis, NodeId,
    check::{Check, QUEUE, Seat, Subject, USER},
    hardware::share,
    isolation::Confinement,
    lease::{Member, TaskPlace},
    limit,
    topology::Topology,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where the next run of a check may go now, if anywhere.
///
/// What a job could have is for the caller to keep free: this looks at what is idle alone.
#[must_use]
pub fn seats(view: &View<'_>, check: &Check) -> Option<Vec<Member>> {
    // A run ends within this time.
    let limit = Some(limit::CHECK_KEPT);
    let guest = Guest { user: USER, queue: QUEUE, reservation: None, limit };
    let barred = view.barred_as(guest, view.now());
    let ready = || free::ready(view).into_iter().filter(|node| !barred.has(node.id));
    match &check.subject {
        Subject::Gpu { node, index, .. } => {
            view.reference(&check.class, check.build_key)?;
            let open = |(id, _): &(NodeId, &Node)| id == node && !barred.has(*id);
            let (_, on) = view.all_nodes().find(open)?;
            has_room(on, check, *index).then(|| {
                let tasks = vec![TaskPlace { rank: 0, gpus: vec![*index] }];
                vec![Member { node: *node, tasks }]
            })
        }
        Subject::Node { node } => {
            view.reference(&check.class, check.build_key)?;
            let open = |(id, _): &(NodeId, &Node)| id == node && !barred.has(*id);
            let (_, on) = view.all_nodes().find(open)?;
            if on.row.lost {
                return None;
            }
            place(vec![FreeNode::now(*node, on)], check)
        }
        Subject::Class => {
            let had: BTreeSet<NodeId> = places(check).collect();
            // Other nodes first: what is wrong with a machine is wrong with all of its GPUs.
            let (fresh, same): (Vec<_>, Vec<_>) = ready().partition(|node| !had.contains(&node.id));
            let seats: Vec<&Seat> = check.ballots.iter().flat_map(|it| &it.gpus).collect();
            place(fresh, check).or_else(|| {
                // Without GPUs a machine has one say.
                let same = same.into_iter().filter(|_| check.needs.resources.gpus > 0);
                let without = same.map(|mut node| {
                    let id = node.id;
                    let on = view.node(id).map(|row| &row.inventory.gpus);
                    let name = |index: u32| on?.iter().find(|gpu| gpu.index == index);
                    // A GPU has one say, whole or in shares.
                    let same = |seat: &Seat, index: u32| {
                        let gpu = name(index).map(|gpu| share::whole(gpu).1);
                        seat.index == index || gpu == Some(share::whole_name(&seat.uuid))
                    };
                    let used = |index: &u32| {
                        seats.iter().any(|seat| seat.node == id && same(seat, *index))
                    };
                    node.gpus.values_mut().for_each(|all| all.retain(|index| !used(index)));
                    node
                });
                place(without.collect(), check)
            })
        }
        Subject::Segment { .. } => {
            let had: BTreeSet<NodeId> = places(check).collect();
            let nodes = ready().filter(|node| !had.contains(&node.id));
            place(nodes.collect(), check)
        }
    }
}

/// Nodes that have had their say.
fn places(check: &Check) -> impl Iterator<Item = NodeId> + '_ {
    check.ballots.iter().flat_map(|ballot| &ballot.members).map(|member| member.node)
}

fn place(mut nodes: Vec<FreeNode<'_>>, check: &Check) -> Option<Vec<Member>> {
    let shape = Shape {
        tasks: check.needs.tasks,
        resources: check.resources(),
        class: Some(check.class.clone()),
        confinement: Confinement { disk: None, ..check.needs.confinement },
        topology: Topology::default(),
    };
    place_gang(&mut nodes, &shape, &BTreeSet::new())
}

/// Whether a GPU in quarantine, and the node that it is in, could run something now.
fn has_room(node: &Node, check: &Check, index: u32) -> bool {
    let has = &node.row.inventory;
    let each = &check.needs.resources;
    !node.row.lost
        && !node.gpus_used.contains(&index)
        && node.cpu_used.plus(each.cpu) <= has.cpu
        && node.memory_used.plus(each.memory) <= has.memory
}

/// Leases of checks whose room a job that waits would be given.
///
/// Plans as if they had ended: where a gang then goes to a node that has no room for it as it is,
/// the checks there are in its way.
#[must_use]
pub fn in_the_way(view: &View<'_>, now: Millis, budget_steps: u64) -> Vec<LeaseId> {
    let mut runs: BTreeMap<NodeId, Vec<LeaseId>> = BTreeMap::new();
    for (_, check) in view.open_checks().filter(|(_, check)| check.yields()) {
        let Some(run) = check.underway.as_ref().filter(|run| !run.yields && !run.told) else {
            continue;
        };
        for member in &run.members {
            runs.entry(member.node).or_default().push(run.lease);
        }
    }
    if runs.is_empty() || view.waiting_jobs().next().is_none() {
        return Vec::new();
    }
    let now_free = free::ready(view);
    let mut nodes = now_free.clone();
    for free in &mut nodes {
        for lease in runs.get(&free.id).into_iter().flatten() {
            give_back(view, free, *lease);
        }
    }
    // Without costs, by which a node that a run would leave could look better than one that is free.
    let plan = plan_on(view, now, budget_steps, Stock::new(nodes, None));
    let mut in_the_way = BTreeSet::new();
    let mut left: BTreeMap<NodeId, FreeNode<'_>> =
        now_free.into_iter().map(|node| (node.id, node)).collect();
    for placement in &plan.record.placements {
        let Some(job) = view.live_job(placement.element.job) else { continue };
        let each = &job.brief.resources;
        for member in &placement.members {
            let Some(free) = left.get_mut(&member.node) else { continue };
            let count = member.tasks.len() as u32;
            let fits = free.room(each, count) >= count;
            free.take(each, 0, count);
            if !fits {
                in_the_way.extend(runs.get(&member.node).into_iter().flatten());
            }
        }
    }
    in_the_way.into_iter().collect()
}

/// Adds what a lease holds on a node to what is free there.
fn give_back<'a>(view: &View<'a>, free: &mut FreeNode<'a>, lease: LeaseId) {
    let Some(lease) = view.lease(lease) else { return };
    let Some(member) = lease.member(free.id) else { return };
    let Some(job) = view.live_job(lease.element.job) else { return };
    let Some((_, node)) = view.all_nodes().find(|(id, _)| *id == free.id) else { return };
    let tasks = member.tasks.len() as u64;
    free.cpu = free.cpu.saturating_add(job.brief.resources.cpu.0.saturating_mul(tasks));
    free.memory = free.memory.saturating_add(job.brief.resources.memory.0.saturating_mul(tasks));
    for index in member.tasks.iter().flat_map(|task| &task.gpus) {
        if let Some(gpu) = node.serving().find(|gpu| gpu.index == *index) {
            let all = free.gpus.entry(kind(gpu)).or_default();
            all.push(*index);
            all.sort_unstable();
        }
    }
}
