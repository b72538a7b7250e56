//! Whose turn it is: the tree of queues that have work, in the order of their shares.
//!
//! Of the parts of one queue, those that have less than their guarantee go first, the one that
//! lacks most of it before the others. Beyond guarantees the one goes first that has had least
//! of the cluster for its weight: its dominant share (Ghodsi et al., NSDI '11) of what is held
//! now and of what was used before, which counts half after each half life. Equal ones go in the
//! order of their first jobs. All numbers are whole.

use crate::state::{
    queue::{Bar, Group, Queue, UserHeld, queue_bars, user_bars},
    sched::WaitKey,
    usage::{Held, dominant, window},
    view::View,
};
use domain::Millis;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Bound,
};

/// Bits below the point of a share that is divided by a weight or by a guarantee.
const RATIO_BITS: u32 = 20;

/// Place among siblings; the least goes first.
type Rank = (Tier, u128, WaitKey);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Has less than its guarantee.
    Below,
    /// Has its guarantee.
    Beyond,
}

/// The first job of a group.
type Head<'a> = Reverse<(WaitKey, &'a Group)>;

/// A queue with something to start in it or in its parts.
struct Branch<'a> {
    queue: &'a Queue,
    parent: usize,
    held: Held,
    used: [u128; 3],
    spent: bool,
    users: BTreeMap<&'a str, UserHeld>,
    heads: BinaryHeap<Head<'a>>,
    /// Its parts, in order.
    parts: BTreeSet<(Rank, usize)>,
    /// Its place among its siblings.
    rank: Option<Rank>,
}

/// The whole tree, as a pass uses it up.
pub struct Turns<'a> {
    total: Held,
    window: u128,
    branches: Vec<Branch<'a>>,
    /// Queues at the top, in order.
    top: BTreeSet<(Rank, usize)>,
    /// Each queue by name.
    known: BTreeMap<&'a str, usize>,
}

/// No queue: above those at the top.
const NONE: usize = usize::MAX;

impl<'a> Turns<'a> {
    /// The queues in which something waits, as of `now`.
    #[must_use]
    pub fn new(view: &View<'a>, now: Millis) -> Self {
        let half_life = view.config().half_life;
        let mut turns = Self {
            total: view.capacity(),
            window: window(half_life),
            branches: Vec::new(),
            top: BTreeSet::new(),
            known: BTreeMap::new(),
        };
        let mut known = BTreeMap::new();
        let waits = view.queues().iter().filter(|(_, queue)| !queue.waiting.is_empty());
        for (name, queue) in waits {
            let mut below = None;
            let line = std::iter::once(name).chain(&queue.above);
            for name in line {
                let Some(queue) = view.queues().get(name) else { continue };
                let new = !known.contains_key(&**name);
                let at = *known.entry(&**name).or_insert(turns.branches.len());
                if new {
                    turns.branches.push(Branch::new(queue, now, half_life));
                }
                if let Some(below) = below.replace(at) {
                    let part: &mut Branch<'_> = &mut turns.branches[below];
                    part.parent = at;
                }
            }
            if let Some(leaf) = known.get(&**name) {
                let heads = queue.waiting.iter();
                let heads = heads.filter_map(|(group, order)| Some((*order.first()?, group)));
                turns.branches[*leaf].heads = heads.map(Reverse).collect();
            }
        }
        for leaf in 0..turns.branches.len() {
            turns.move_up(leaf);
        }
        turns.known = known;
        turns
    }

    /// The place of a queue.
    #[must_use]
    pub fn leaf(&self, queue: &str) -> Option<usize> {
        self.known.get(queue).copied()
    }

    /// The queue whose turn it is, with its first job.
    #[must_use]
    pub fn next(&self) -> Option<(usize, WaitKey, &'a Group)> {
        let mut order = &self.top;
        loop {
            let (_, at) = order.first()?;
            let branch = &self.branches[*at];
            if let Some(Reverse((key, group))) = branch.heads.peek() {
                return Some((*at, *key, group));
            }
            order = &branch.parts;
        }
    }

    /// What bars a gang of a group from starting: its user has enough, or its queue or one above.
    #[must_use]
    pub fn bar(&self, leaf: usize, user: &str, gang: Held) -> Option<Bar> {
        let branch = &self.branches[leaf];
        if branch.queue.spec.bounds_users() {
            let has = branch.user(user);
            if let Some(bar) = user_bars(&branch.queue.spec, has, gang.gpus()).next() {
                return Some(bar);
            }
        }
        let mut at = leaf;
        while let Some(branch) = self.branches.get(at) {
            let gpus = gang.gpus();
            let bar = queue_bars(&branch.queue.spec, branch.held, branch.spent, gpus).next();
            if bar.is_some() {
                return bar;
            }
            at = branch.parent;
        }
        None
    }

    /// A gang of the queue's first job was placed.
    pub fn placed(&mut self, leaf: usize, user: &'a str, gang: Held) {
        let branch = &mut self.branches[leaf];
        if branch.queue.spec.bounds_users() {
            let mut has = branch.user(user);
            has.running = has.running.saturating_add(1);
            has.gpus = has.gpus.saturating_add(gang.gpus());
            branch.users.insert(user, has);
        }
        let mut at = leaf;
        while let Some(branch) = self.branches.get_mut(at) {
            branch.held = branch.held.plus(gang);
            at = branch.parent;
        }
        self.move_up(leaf);
    }

    /// The first job of a queue has nothing more to start: the next of its group follows.
    pub fn pass(&mut self, leaf: usize) {
        let branch = &mut self.branches[leaf];
        if let Some(Reverse((key, group))) = branch.heads.pop() {
            let order = branch.queue.waiting.get(group);
            let after = (Bound::Excluded(key), Bound::Unbounded);
            if let Some(next) = order.and_then(|order| order.range(after).next()) {
                branch.heads.push(Reverse((*next, group)));
            }
        }
        self.move_up(leaf);
    }

    /// Nothing of the group of a queue's first job can start in this pass.
    pub fn drop_group(&mut self, leaf: usize) {
        self.branches[leaf].heads.pop();
        self.move_up(leaf);
    }

    /// Puts a queue, and those above it, into their places.
    fn move_up(&mut self, leaf: usize) {
        let mut at = leaf;
        while let Some(branch) = self.branches.get(at) {
            let (parent, old) = (branch.parent, branch.rank);
            let new = self.rank(branch);
            if old != new {
                let order = match self.branches.get_mut(parent) {
                    Some(parent) => &mut parent.parts,
                    None => &mut self.top,
                };
                old.map(|old| order.remove(&(old, at)));
                new.map(|new| order.insert((new, at)));
                self.branches[at].rank = new;
            }
            at = parent;
        }
    }

    fn rank(&self, branch: &Branch<'a>) -> Option<Rank> {
        let own = branch.heads.peek().map(|Reverse((key, _))| *key);
        let key = own.or_else(|| branch.parts.first().map(|((_, _, key), _)| *key))?;
        let spec = &branch.queue.spec;
        let guaranteed = Held([spec.guaranteed_gpus.min(self.total.gpus()), 0, 0]);
        let guaranteed = dominant(guaranteed, [0; 3], self.total, 1);
        let now = dominant(branch.held, [0; 3], self.total, 1);
        if now < guaranteed {
            return Some((Tier::Below, (now << RATIO_BITS) / guaranteed, key));
        }
        let had = dominant(branch.held, branch.used, self.total, self.window);
        let weight = u128::from(spec.weight.max(1));
        Some((Tier::Beyond, (had << RATIO_BITS) / weight, key))
    }
}

impl<'a> Branch<'a> {
    fn new(queue: &'a Queue, now: Millis, half_life: Millis) -> Self {
        Self {
            queue,
            parent: NONE,
            held: queue.held.plus(queue.reserved),
            used: queue.usage_at(now, half_life).used,
            spent: queue.is_spent(now),
            users: BTreeMap::new(),
            heads: BinaryHeap::new(),
            parts: BTreeSet::new(),
            rank: None,
        }
    }

    fn user(&self, user: &str) -> UserHeld {
        let known = self.users.get(user).or_else(|| self.queue.users.get(user));
        known.copied().unwrap_or_default()
    }
}
