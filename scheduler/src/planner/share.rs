//! Whose turn it is: the tree of queues that have work, in the order of their shares.
//!
//! Of the parts of one queue, those that have less than their guarantee go first, the one that
//! lacks most of it before the others. Beyond guarantees the one goes first that has had least
//! of the cluster for its weight: its dominant share (Ghodsi et al., NSDI '11) of what is held
//! now and of what was used before, which counts half after each half life. Equal ones go in the
//! order of their first jobs. All numbers are whole.

use super::HOLD_AFTER;
use crate::state::{
    order::{History, learned_cost},
    queue::{Bar, Group, Queue, UserHeld, queue_bars, user_bars},
    sched::{Job, Shape, WaitKey},
    usage::{Held, dominant, window},
    view::View,
};
use domain::{JobId, Millis};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Bound,
};

/// Bits below the point of a share that is divided by a weight or by a guarantee.
const RATIO_BITS: u32 = 20;

/// Place among siblings; the least goes first.
type Rank = (Tier, u128, First);
/// The first job of a queue, as its siblings' are compared with it: priority, then age.
type First = (Reverse<i32>, JobId);

/// Jobs of one priority that are looked at for one that has waited beyond patience, by age. One
/// that ran for most of its time has not waited.
const OLDEST_MAX: usize = 16;
/// Longest patience: whatever was waited for before, and however long jobs say that they run.
pub(super) const PATIENCE_MAX: Millis = Millis(7 * 24 * 3_600_000);
/// Priorities of one queue at which somebody may go first for that.
const PRIORITIES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Has less than its guarantee.
    Below,
    /// Has its guarantee.
    Beyond,
}

/// The place of a job among those of its queue; the least goes first. By age it is that of its
/// priority and its number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    priority: Reverse<i32>,
    /// Whether it may wait on; one that has waited beyond patience goes before all others.
    patient: bool,
    cost: u64,
    job: JobId,
}

/// The first job of a group, or one of it that goes before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head<'a> {
    turn: Turn,
    key: WaitKey,
    group: &'a Group,
}

/// A queue with something to start in it or in its parts.
struct Branch<'a> {
    queue: &'a Queue,
    parent: usize,
    held: Held,
    used: [u128; 3],
    spent: bool,
    users: BTreeMap<&'a str, UserHeld>,
    heads: BinaryHeap<Reverse<Head<'a>>>,
    /// What is known of how long its jobs run, where the shortest goes first.
    history: Option<History>,
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
        let (mut known, running) = (BTreeMap::new(), running(view, now));
        let waits = view.queues().iter().filter(|(_, queue)| !queue.waiting.is_empty());
        for (name, queue) in waits {
            let mut below = None;
            let line = std::iter::once(name).chain(&queue.above);
            for name in line {
                let Some(queue) = view.queues().get(name) else { continue };
                let new = !known.contains_key(&**name);
                let at = *known.entry(&**name).or_insert(turns.branches.len());
                if new {
                    let runs = running.get(&**name);
                    turns.branches.push(Branch::new(queue, runs, now, half_life));
                }
                if let Some(below) = below.replace(at) {
                    let part: &mut Branch<'_> = &mut turns.branches[below];
                    part.parent = at;
                }
            }
            if let Some(leaf) = known.get(&**name) {
                let branch = &mut turns.branches[*leaf];
                let heads = queue.waiting.iter();
                let heads =
                    heads.filter_map(|(group, order)| Some(branch.head(*order.first()?, group)));
                branch.heads = heads.chain(overdue(view, queue, now)).map(Reverse).collect();
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
            if let Some(Reverse(head)) = branch.heads.peek() {
                return Some((*at, head.key, head.group));
            }
            order = &branch.parts;
        }
    }

    /// The place of a job among those of its queue.
    #[must_use]
    pub fn turn(&self, leaf: usize, id: JobId, job: &Job) -> Turn {
        let branch = &self.branches[leaf];
        let cost = branch.history.as_ref().map_or(0, |history| job.cost(history));
        let early = branch.heads.iter().any(|Reverse(it)| !it.turn.patient && it.key.job == id);
        Turn { priority: job.wait_key(id).priority, patient: !early, cost, job: id }
    }

    /// The first place among the jobs of a queue.
    #[must_use]
    pub fn first(&self, leaf: usize) -> Option<Turn> {
        self.branches[leaf].heads.peek().map(|Reverse(head)| head.turn)
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
        // One that went before its turn is followed by whoever is first.
        if let Some(Reverse(Head { key, group, .. })) = branch.heads.pop().filter(in_turn) {
            let order = branch.queue.waiting.get(group);
            let after = (Bound::Excluded(key), Bound::Unbounded);
            let next = order.and_then(|order| order.range(after).next());
            let next = next.map(|next| branch.head(*next, group));
            branch.heads.extend(next.map(Reverse));
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
        let own = branch.heads.peek().map(|Reverse(head)| (head.key.priority, head.key.job));
        let first = own.or_else(|| branch.parts.first().map(|((.., first), _)| *first))?;
        let spec = &branch.queue.spec;
        let guaranteed = Held([spec.guaranteed_gpus.min(self.total.gpus()), 0, 0]);
        let guaranteed = dominant(guaranteed, [0; 3], self.total, 1);
        let now = dominant(branch.held, [0; 3], self.total, 1);
        if now < guaranteed {
            return Some((Tier::Below, (now << RATIO_BITS) / guaranteed, first));
        }
        let had = dominant(branch.held, branch.used, self.total, self.window);
        let weight = u128::from(spec.weight.max(1));
        Some((Tier::Beyond, (had << RATIO_BITS) / weight, first))
    }
}

impl<'a> Branch<'a> {
    fn new(queue: &'a Queue, runs: Option<&Vec<Run>>, now: Millis, half_life: Millis) -> Self {
        Self {
            queue,
            history: history(queue, runs),
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

    /// The head of a group that begins with a job.
    fn head(&self, key: WaitKey, group: &'a Group) -> Head<'a> {
        let WaitKey { priority, left, job } = key;
        let cost = match (&self.history, group.level) {
            (Some(history), Some(level)) => {
                let Shape { tasks, resources, .. } = &group.shape;
                learned_cost(history, level, Held::of_gang(*tasks, resources).gpus())
            }
            _ => left,
        };
        Head { turn: Turn { priority, patient: true, cost, job }, key, group }
    }

    fn user(&self, user: &str) -> UserHeld {
        let known = self.users.get(user).or_else(|| self.queue.users.get(user));
        known.copied().unwrap_or_default()
    }
}

fn in_turn(Reverse(head): &Reverse<Head<'_>>) -> bool {
    head.turn.patient
}

/// What a queue knows of how long its jobs run, those that run now among them.
fn history(queue: &Queue, runs: Option<&Vec<Run>>) -> Option<History> {
    let learned = &queue.learned.as_ref()?.history;
    Some(runs.map_or_else(|| learned.clone(), |runs| learned.with_running(runs.iter().copied())))
}

/// From which time of running an attempt carried its job on, and to which. Unit: ms.
type Run = (u64, u64);

/// What runs of queues in which that decides who goes first. All leases are looked at once, and only
/// where there is such a queue.
fn running<'a>(view: &View<'a>, now: Millis) -> BTreeMap<&'a str, Vec<Run>> {
    let learns = |queue: &Queue| queue.waiting.keys().any(|group| group.level.is_some());
    let queues = view.queues().iter().filter(|(_, queue)| learns(queue));
    let mut runs: BTreeMap<&str, Vec<Run>> =
        queues.map(|(name, _)| (&**name, Vec::new())).collect();
    let leases = (!runs.is_empty()).then(|| view.all_leases());
    for lease in leases.into_iter().flatten() {
        let Some(job) = view.live_job(lease.element.job) else { continue };
        let Some(all) = runs.get_mut(&*job.brief.queue) else { continue };
        let row = job.position(lease.element).and_then(|at| job.elements.get(&at));
        if let Some(row) = row.filter(|_| job.brief.check.is_none()) {
            let before = row.later.ran;
            all.push((before.0, before.plus(now.minus(lease.granted)).0));
        }
    }
    runs
}

/// Whether it is room that a job waits for: nothing of it runs, and neither a bound nor a window that
/// is not open nor a class of hardware that is not there keeps it from starting. One that waits for
/// something else would keep others from their turn.
fn waits_for_room(view: &View<'_>, job: &Job, now: Millis) -> bool {
    let there = |class: &str| view.all_nodes().any(|(_, node)| node.class == class);
    job.progress.running == 0
        && job.brief.reservation.is_none()
        && job.fresh_class().is_none_or(there)
        && view.bars(job, now).is_empty()
}

/// Of each priority the oldest job that has waited beyond patience, in each group that it waits
/// in. One at a time: a burst that makes many overdue does not turn the order into one of age.
fn overdue<'a>(view: &View<'a>, queue: &'a Queue, now: Millis) -> Vec<Head<'a>> {
    let mut heads = Vec::new();
    let Some(learned) = &queue.learned else { return heads };
    let patience = learned.patience.ms().clamp(HOLD_AFTER.0, PATIENCE_MAX.0);
    let mut from = Bound::Unbounded;
    for _ in 0..PRIORITIES_MAX {
        let mut after = queue.ages.range((from, Bound::Unbounded));
        let Some((priority, first)) = after.next() else { break };
        let others = after.take_while(|(other, _)| other == priority).map(|(_, id)| id);
        let oldest = std::iter::once(first).chain(others).take(OLDEST_MAX);
        let waited = |job: &Job| now.minus(job.brief.time).minus(job.ran()).0;
        let late = |id: &&JobId| {
            view.live_job(**id)
                .is_some_and(|job| waited(job) > patience && waits_for_room(view, job, now))
        };
        if let Some((id, job)) = oldest.filter(late).find_map(|id| Some((id, view.live_job(*id)?)))
        {
            let turn = Turn { priority: *priority, patient: false, cost: 0, job: *id };
            let key = job.wait_key(*id);
            let groups = job.shapes().into_iter().map(|shape| queue.group(shape, job));
            let groups = groups.filter_map(|group| queue.waiting.get_key_value(&group));
            heads.extend(groups.map(|(group, _)| Head { turn, key, group }));
        }
        from = Bound::Excluded((*priority, JobId(u64::MAX)));
    }
    heads
}
