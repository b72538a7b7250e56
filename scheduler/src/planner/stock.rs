//! Free nodes in the order in which a pass tries them: a gang costs the nodes that are looked at
//! for it, not all that there are.

use super::{
    costs::Costs,
    fit::{Parts, by_size, fewest, find, suits, take_on},
    free::FreeNode,
};
use crate::state::sched::Shape;
use domain::{NodeId, lease::Member};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Of the nodes of a hardware class with as many GPUs free, so many from each end of their order
/// are compared by what they cost, among so many that are looked at there.
const CHOICE_NODES: usize = 2;
const CHOICE_LOOKS: usize = 16;

/// Free GPUs, leases, free processor time, age, and the place in the list.
type Rank = (usize, usize, u64, NodeId, usize);

/// The least rank of a node with so many free GPUs.
const fn least(gpus: usize) -> Rank {
    (gpus, 0, 0, NodeId(0), 0)
}

fn rank(node: &FreeNode<'_>, at: usize) -> Rank {
    (node.gpu_count(), node.leases, node.cpu, node.id, at)
}

/// What is free, as a plan uses it up.
pub struct Stock<'a> {
    nodes: Vec<FreeNode<'a>>,
    /// Those of each hardware class.
    classes: BTreeMap<&'a str, BTreeSet<Rank>>,
    /// By what one place is better than another, beside being fuller.
    costs: Option<Costs<'a>>,
}

impl<'a> Stock<'a> {
    /// These nodes.
    pub fn new(nodes: Vec<FreeNode<'a>>, costs: Option<Costs<'a>>) -> Self {
        let mut ranks: BTreeMap<&str, Vec<Rank>> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            ranks.entry(node.class).or_default().push(rank(node, at));
        }
        let sorted = ranks.into_iter().map(|(class, ranks)| (class, ranks.into_iter().collect()));
        Self { classes: sorted.collect(), nodes, costs }
    }

    /// All of them.
    pub fn nodes(&self) -> &[FreeNode<'a>] {
        &self.nodes
    }

    /// Takes out those that are `wanted`.
    pub fn take_out(&mut self, wanted: impl Fn(&FreeNode<'a>) -> bool) -> Vec<FreeNode<'a>> {
        let (out, rest) = std::mem::take(&mut self.nodes).into_iter().partition(wanted);
        *self = Self::new(rest, self.costs.take());
        out
    }

    /// Puts nodes back.
    pub fn put_back(&mut self, nodes: Vec<FreeNode<'a>>) {
        let mut all = std::mem::take(&mut self.nodes);
        all.extend(nodes);
        *self = Self::new(all, self.costs.take());
    }

    /// As [`super::fit::place_outside`], but where costs are known: finds a place for a gang and
    /// takes it.
    pub fn place(
        &mut self,
        shape: &Shape,
        avoid: &BTreeSet<NodeId>,
        barred: impl Fn(NodeId) -> bool,
    ) -> Option<Vec<Member>> {
        let Some(sizes) = by_size(shape) else { return self.place_one(shape, avoid, &barred) };
        let open = |id| barred(id) || avoid.contains(&id);
        let elsewhere = sizes.iter().find_map(|it| self.place_one(it, avoid, &open));
        elsewhere.or_else(|| sizes.iter().find_map(|it| self.place_one(it, avoid, &barred)))
    }

    fn place_one(
        &mut self,
        shape: &Shape,
        avoid: &BTreeSet<NodeId>,
        barred: &impl Fn(NodeId) -> bool,
    ) -> Option<Vec<Member>> {
        let parts = match shape.topology.is_default() {
            true => {
                let open = |node: &FreeNode<'_>| suits(node, shape) && !barred(node.id);
                self.whole(shape, avoid, &open).or_else(|| self.parts(shape, avoid, &open))
            }
            false => find(&self.nodes, shape, avoid, barred),
        }?;
        let mut first = 0;
        let mut members = Vec::with_capacity(parts.len());
        for (at, count) in parts {
            members.push(self.take(at, shape, first, count));
            first += count;
        }
        Some(members)
    }

    fn take(&mut self, at: usize, shape: &Shape, first: u32, count: u32) -> Member {
        let node = &mut self.nodes[at];
        let ranks = self.classes.entry(node.class).or_default();
        ranks.remove(&rank(node, at));
        let member = take_on(node, shape, first, count);
        ranks.insert(rank(node, at));
        member
    }

    /// The classes that will do.
    fn suiting(&self, shape: &Shape) -> impl Iterator<Item = &BTreeSet<Rank>> {
        let bound = shape.class.as_deref();
        let will_do = move |class: &str| bound.is_none_or(|bound| bound == class);
        self.classes.iter().filter(move |(class, _)| will_do(class)).map(|(_, ranks)| ranks)
    }

    /// The node that can hold a gang and costs least, those in `avoid` last; of equal ones the one
    /// with the least left over.
    fn whole(
        &self,
        shape: &Shape,
        avoid: &BTreeSet<NodeId>,
        open: &impl Fn(&FreeNode<'_>) -> bool,
    ) -> Option<Parts> {
        let wanted = u64::from(shape.tasks) * u64::from(shape.resources.gpus);
        let from = least(usize::try_from(wanted).unwrap_or(usize::MAX));
        let holds = |rank: &&Rank| {
            let node = &self.nodes[rank.4];
            open(node) && node.room(&shape.resources, shape.tasks) >= shape.tasks
        };
        let asked = self.costs.as_ref().and_then(|costs| costs.asked(shape));
        let mut best: Option<(bool, i64, Rank)> = None;
        let mut offer = |rank: &Rank| {
            let node = &self.nodes[rank.4];
            let cost = asked.as_ref().map_or(0, |asked| asked.on(node));
            let found = (avoid.contains(&node.id), cost, *rank);
            if best.is_none_or(|best| found < best) {
                best = Some(found);
            }
            !found.0
        };
        for ranks in self.suiting(shape) {
            let Some(fullest) = ranks.range(from..).filter(holds).find(|rank| offer(rank)) else {
                continue;
            };
            if asked.is_some() {
                choices(ranks, *fullest, holds).for_each(|rank| {
                    offer(rank);
                });
            }
        }
        best.map(|(_, _, rank)| vec![(rank.4, shape.tasks)])
    }

    /// The fewest nodes of one class that can hold a gang together, largest first.
    fn parts(
        &self,
        shape: &Shape,
        avoid: &BTreeSet<NodeId>,
        open: &impl Fn(&FreeNode<'_>) -> bool,
    ) -> Option<Parts> {
        let together =
            |node: &FreeNode<'_>| open(node) && node.isolation.takes(&shape.confinement, true);
        // Where GPUs bound what fits, the nodes with most of them come first by themselves.
        let sorted = shape.resources.gpus > 0 && avoid.is_empty();
        let found = self.suiting(shape).filter_map(|ranks| match sorted {
            true => self.largest_first(ranks, shape, &together),
            false => {
                let all = ranks.iter().map(|rank| rank.4);
                let open = all.filter(|at| together(&self.nodes[*at]));
                fewest(&self.nodes, open, shape, avoid)
            }
        });
        // The first class of those with the fewest.
        found.min_by_key(Vec::len)
    }

    fn largest_first(
        &self,
        ranks: &BTreeSet<Rank>,
        shape: &Shape,
        together: &impl Fn(&FreeNode<'_>) -> bool,
    ) -> Option<Parts> {
        let each = shape.resources.gpus as usize;
        let mut gathered = Gathered { left: shape.tasks, parts: Vec::new() };
        // Nodes that hold fewer than their GPUs would, until it is their turn.
        let mut later: BTreeMap<Reverse<u32>, Vec<usize>> = BTreeMap::new();
        let mut above = usize::MAX;
        while let Some((gpus, ..)) = ranks.range(least(each)..least(above)).next_back() {
            let most = u32::try_from(gpus / each).unwrap_or(u32::MAX).min(shape.tasks);
            while let Some(first) = later.first_entry().filter(|it| it.key().0 >= most) {
                let (Reverse(room), nodes) = first.remove_entry();
                if nodes.into_iter().any(|at| gathered.is_done_with(at, room)) {
                    return Some(gathered.parts);
                }
            }
            for rank in ranks.range(least(*gpus)..least(gpus + 1)) {
                let node = &self.nodes[rank.4];
                let room = node.room(&shape.resources, shape.tasks);
                if room == 0 || !together(node) {
                    continue;
                }
                if room < most {
                    later.entry(Reverse(room)).or_default().push(rank.4);
                } else if gathered.is_done_with(rank.4, room) {
                    return Some(gathered.parts);
                }
            }
            above = *gpus;
        }
        let mut rest = later
            .into_iter()
            .flat_map(|(Reverse(room), nodes)| nodes.into_iter().map(move |at| (at, room)));
        rest.any(|(at, room)| gathered.is_done_with(at, room)).then_some(gathered.parts)
    }
}

/// Nodes that may be a better choice than the fullest one that holds a gang: of each number of free
/// GPUs those at the ends of the order.
fn choices(
    ranks: &BTreeSet<Rank>,
    fullest: Rank,
    holds: impl Fn(&&Rank) -> bool + Copy,
) -> impl Iterator<Item = &Rank> {
    let next = |gpus: &usize| ranks.range(least(gpus + 1)..).next().map(|rank| rank.0);
    let sizes = std::iter::successors(Some(fullest.0), next);
    sizes.flat_map(move |gpus| {
        let alike = ranks.range(least(gpus).max(fullest)..least(gpus + 1));
        let first = alike.clone().take(CHOICE_LOOKS).filter(holds).take(CHOICE_NODES);
        first.chain(alike.rev().take(CHOICE_LOOKS).filter(holds).take(CHOICE_NODES))
    })
}

/// Nodes for the tasks of a gang.
struct Gathered {
    left: u32,
    parts: Parts,
}

impl Gathered {
    /// Gives a node as many tasks as it has room for. Says whether all have one.
    fn is_done_with(&mut self, at: usize, room: u32) -> bool {
        let take = room.min(self.left);
        self.left -= take;
        self.parts.push((at, take));
        self.left == 0
    }
}
