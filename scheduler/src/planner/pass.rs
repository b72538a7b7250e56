//! One pass over what waits: by the queues' shares, then by priority, then by age.

use super::{
    POLICY_VERSION,
    backfill::{Reservation, reserve},
    costs::Costs,
    free,
    free::FreeNode,
    preempt::{Gang, make_room},
    share::Turns,
    stock::Stock,
    victims::Yielding,
    windows,
};
use crate::state::{
    command::{Placement, PlanRecord},
    preemption::{PreemptRecord, Preemption},
    queue::Group,
    sched::{Job, Shape, WaitKey},
    view::View,
    window::Barred,
};
use domain::{Digest, JobId, Millis, NodeId, limit};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// Time for which smaller jobs may pass a job that does not fit. After it, nodes on which it
/// could run are kept for it.
pub const HOLD_AFTER: Millis = Millis(60_000);
/// Jobs that a pass tries on what is kept for another.
const BACKFILL_MAX: usize = 256;
/// Jobs that it looks at for that, first in the order of priority and age, whether they end in
/// time: what waits behind so many others does not make a pass slower.
const BACKFILL_LOOKS: usize = 4_096;
/// Shapes for which a pass looks whether they would fit if nothing ran.
const HOLDS_MAX: u32 = 8;
/// Gangs for which a pass looks whether others have to make room.
const PREEMPT_TRIES: u32 = 8;
/// Shapes that did not fit, which later ones are compared with.
const FAILED_MAX: usize = 64;
/// Jobs that a pass passes over one by one, because windows bar each from other nodes.
const BARRED_MAX: u32 = 4_096;
/// Encoded bytes of placements in one plan: what one proposal holds beside the rest of the
/// request. A part of the policy, so that a plan that is made again is cut at the same gang.
const PLACEMENTS_MAX: u64 = limit::PROPOSAL_MAX.0 - (16 << 10);
/// One gang always fits: a task takes its rank and the length of its list beside its GPUs, and
/// at most a node of its own with the length of that node's list.
const _: () =
    assert!(limit::GANG_GPUS_MAX * 4 + limit::GANG_MAX as u64 * 16 + 64 <= PLACEMENTS_MAX);

/// What a pass found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to propose.
    pub record: PlanRecord,
    /// Who is to make room for the first gang that has a claim to it, to be proposed as well.
    pub preempt: Option<PreemptRecord>,
    /// Gangs that were tried.
    pub steps: u64,
    /// Whether the budget, or the size of one proposal, ended the pass before its end.
    pub exhausted: bool,
    /// The job that nodes are kept for.
    pub held_for: Option<JobId>,
    /// When that job starts at the latest, if every attempt keeps its time limit.
    pub starts_by: Option<Millis>,
}

/// Plans placements for what waits.
///
/// Each gang goes to the queue whose turn it is (see `share`), and there to the first job in the
/// order of priority and age. What a bound of its queue or its user keeps from starting is passed
/// over.
///
/// Jobs of one shape fit or do not fit together, so when the first of a shape does not fit, the
/// rest of that shape is passed over, and so is any shape that asks for at least as much: a pass
/// costs what it places plus the number of shapes in each queue, not the number of jobs.
///
/// A job that does not fit does not hold back smaller ones behind it, until it has waited for
/// [`HOLD_AFTER`]: then the nodes that it could have soonest are kept for it. One job at a time,
/// the first in order, has this right. Where it is known by when it starts, jobs with a time limit
/// that ends before that may run on its nodes meanwhile.
#[must_use]
pub fn plan(view: &View<'_>, now: Millis, budget_steps: u64) -> Plan {
    plan_on(view, now, budget_steps, Stock::new(free::ready(view), Costs::new(view)))
}

/// As [`plan`], on what is said to be free.
pub(super) fn plan_on<'a>(
    view: &View<'a>,
    now: Millis,
    budget_steps: u64,
    nodes: Stock<'a>,
) -> Plan {
    let mut pass = Pass {
        view: *view,
        now,
        left: budget_steps,
        nodes,
        turns: Turns::new(view, now),
        failed: Vec::new(),
        barred_left: BARRED_MAX,
        begun: BTreeMap::new(),
        held_for: None,
        kept: None,
        holds_left: HOLDS_MAX,
        placements: Vec::new(),
        size: 0,
        preemption: None,
        tries_left: if view.may_preempt() { PREEMPT_TRIES } else { 0 },
        yielding: None,
    };
    let exhausted = pass.run() || pass.backfill();
    let preempt = pass.preemption.map(|preemption| PreemptRecord {
        base: view.applied(),
        now,
        budget_steps,
        policy_version: POLICY_VERSION,
        view: view.digest(),
        plan: Digest::of_value(&preemption),
        preemption,
    });
    Plan {
        steps: budget_steps - pass.left,
        exhausted,
        held_for: pass.held_for,
        starts_by: pass.kept.as_ref().and_then(|(kept, _)| kept.at),
        preempt,
        record: PlanRecord {
            base: view.applied(),
            now,
            budget_steps,
            policy_version: POLICY_VERSION,
            view: view.digest(),
            plan: PlanRecord::digest_of(&pass.placements),
            placements: pass.placements,
        },
    }
}

struct Pass<'a> {
    view: View<'a>,
    now: Millis,
    /// Steps left.
    left: u64,
    nodes: Stock<'a>,
    turns: Turns<'a>,
    failed: Vec<(&'a Shape, Barred<'a>)>,
    /// Jobs that may still be passed over one by one.
    barred_left: u32,
    /// Jobs that were begun, with what may still start of them.
    begun: BTreeMap<JobId, Begun<'a>>,
    held_for: Option<JobId>,
    /// What is kept for it, with what is free there.
    kept: Option<(Reservation, Vec<FreeNode<'a>>)>,
    /// Shapes for which it may still be looked whether they could ever fit.
    holds_left: u32,
    placements: Vec<Placement>,
    /// Encoded bytes of the placements.
    size: u64,
    /// Room that others are to make.
    preemption: Option<Preemption>,
    /// Gangs for which it may still be looked whether others have to make room.
    tries_left: u32,
    /// Who could be asked to, once that was looked at.
    yielding: Option<Yielding<'a>>,
}

/// A job of which more may start.
struct Begun<'a> {
    /// Elements that may still start.
    room: u32,
    /// Positions that wait, for each shape that was met.
    positions: BTreeMap<&'a Shape, Box<dyn Iterator<Item = u32> + 'a>>,
    /// Positions that did not fit.
    back: BTreeMap<&'a Shape, u32>,
}

/// What became of one try.
enum Tried {
    Placed,
    /// Nothing of the job is left to start in this shape.
    NothingLeft,
    DoesNotFit {
        position: u32,
    },
    /// The next gang no longer fits into the proposal.
    Full,
}

impl<'a> Pass<'a> {
    /// Looks at the first job of the queue whose turn it is, again and again. Says whether a
    /// bound ended it.
    fn run(&mut self) -> bool {
        while let Some((leaf, key, group)) = self.turns.next() {
            let shape = &group.shape;
            let Some(job) = self.view.live_job(key.job) else {
                self.turns.pass(leaf);
                continue;
            };
            let barred = self.view.barred(job, self.now);
            if self.has_failed(shape, &barred) {
                if !self.overtakes(leaf, key.job, job, shape) {
                    self.hold(key.job, job, shape);
                }
                self.go_on(leaf, &barred);
                continue;
            }
            if self.left == 0 {
                return true;
            }
            let gang = job.brief.gang();
            // A group is barred whole: its gangs are of one size, and of one user where that
            // matters.
            if self.turns.bar(leaf, &job.brief.user, gang).is_some() {
                self.turns.drop_group(leaf);
                continue;
            }
            match self.place_one(key.job, job, shape, &barred) {
                Tried::Placed => self.turns.placed(leaf, &job.brief.user, gang),
                Tried::NothingLeft => self.turns.pass(leaf),
                Tried::Full => return true,
                Tried::DoesNotFit { position } => {
                    if !self.preempt(Gang { id: key.job, job, position, shape }) {
                        self.hold(key.job, job, shape);
                    }
                    self.go_on(leaf, &barred);
                    if self.failed.len() < FAILED_MAX {
                        self.failed.push((shape, barred));
                    }
                }
            }
        }
        false
    }

    /// Whether a shape cannot fit because another did not, on no fewer nodes.
    fn has_failed(&self, shape: &Shape, barred: &Barred<'_>) -> bool {
        let no_less = |(failed, other): &(&Shape, Barred<'_>)| {
            asks_no_less(shape, failed) && barred.bars_no_less(other)
        };
        self.failed.iter().any(no_less)
    }

    /// Goes on after a job that does not fit: with the next group, unless windows bar the job, so
    /// that another of its group may still fit.
    fn go_on(&mut self, leaf: usize, barred: &Barred<'_>) {
        if barred.is_none() || self.barred_left == 0 {
            return self.turns.drop_group(leaf);
        }
        self.barred_left -= 1;
        self.turns.pass(leaf);
    }

    /// Places the next element of a job that may start.
    fn place_one(
        &mut self,
        id: JobId,
        job: &'a Job,
        shape: &'a Shape,
        barred: &Barred<'a>,
    ) -> Tried {
        let Some(position) = self.next_position(id, job, shape) else { return Tried::NothingLeft };
        self.left -= 1;
        let away = avoid(job, position);
        let Some(members) = self.nodes.place(shape, &away, |node| barred.has(node)) else {
            self.put_back(id, shape, position);
            return Tried::DoesNotFit { position };
        };
        let placement = Placement { element: job.brief.element(id, position), members };
        self.size += borsh::object_length(&placement).unwrap_or(usize::MAX) as u64;
        if self.size > PLACEMENTS_MAX {
            return Tried::Full;
        }
        if let Some(begun) = self.begun.get_mut(&id) {
            begun.room -= 1;
        }
        self.placements.push(placement);
        Tried::Placed
    }

    /// The next element of a job that may start in a shape.
    fn next_position(&mut self, id: JobId, job: &'a Job, shape: &'a Shape) -> Option<u32> {
        let (positions, back) = (BTreeMap::new(), BTreeMap::new());
        let new = || Begun { room: job.room(), positions, back };
        let begun = self.begun.entry(id).or_insert_with(new);
        if begun.room == 0 {
            return None;
        }
        if let Some(position) = begun.back.remove(shape) {
            return Some(position);
        }
        let class = shape.class.as_deref();
        let positions = begun.positions.entry(shape);
        positions.or_insert_with(|| Box::new(job.positions(class))).next()
    }

    fn put_back(&mut self, id: JobId, shape: &'a Shape, position: u32) {
        if let Some(begun) = self.begun.get_mut(&id) {
            begun.back.insert(shape, position);
        }
    }

    /// Whether others make room for a gang of a shape that did not fit before.
    fn overtakes(&mut self, leaf: usize, id: JobId, job: &'a Job, shape: &'a Shape) -> bool {
        if self.tries_left == 0 || self.preemption.is_some() {
            return false;
        }
        if self.turns.bar(leaf, &job.brief.user, job.brief.gang()).is_some() {
            return false;
        }
        let Some(position) = self.next_position(id, job, shape) else { return false };
        let found = self.preempt(Gang { id, job, position, shape });
        if !found {
            self.put_back(id, shape, position);
        }
        found
    }

    /// Whether others make room for a gang: the first that has a claim to it in each pass. Where
    /// it then runs, nothing else is placed by this pass.
    fn preempt(&mut self, gang: Gang<'a>) -> bool {
        if self.tries_left == 0 || self.preemption.is_some() {
            return false;
        }
        let yielding = self.yielding.get_or_insert_with(|| Yielding::now(&self.view, self.now));
        if !yielding.any_for(&self.view, gang.job) {
            return false;
        }
        self.tries_left -= 1;
        let away = avoid(gang.job, gang.position);
        // It starts once they have left, and has to keep clear of windows then.
        let now = windows::open_to(self.nodes.nodes(), &self.view.barred(gang.job, self.now));
        let later = self.now.plus(limit::NOTICE_MAX);
        let nodes = windows::open_to(&now, &self.view.barred(gang.job, later));
        self.preemption = make_room(&self.view, self.now, &nodes, gang, &away);
        let Some(found) = &self.preemption else { return false };
        let kept: BTreeSet<NodeId> =
            found.placement.members.iter().map(|member| member.node).collect();
        self.nodes.take_out(|node| kept.contains(&node.id));
        true
    }

    /// Keeps nodes for a job that has waited for too long, if it could run at all.
    fn hold(&mut self, id: JobId, job: &Job, shape: &Shape) {
        let patient = self.now.minus(job.brief.time) < HOLD_AFTER;
        if self.held_for.is_some() || patient || self.holds_left == 0 {
            return;
        }
        // Of jobs that wait behind their bounds, none has nodes kept that it may not use.
        if !self.view.bars(job, self.now).is_empty() {
            return;
        }
        self.holds_left -= 1;
        let open = windows::open_to(self.nodes.nodes(), &self.view.barred(job, self.now));
        let Some(kept) = reserve(&self.view, self.now, &open, shape) else { return };
        if windows::comes_between(&self.view, job, &kept) {
            return;
        }
        let on_it = self.nodes.take_out(|node| kept.nodes.contains(&node.id));
        self.kept = Some((kept, on_it));
        self.held_for = Some(id);
    }

    /// Lets jobs that end in time run on what is kept for another, in the order of priority and
    /// age. Says whether a bound ended it.
    fn backfill(&mut self) -> bool {
        let Some((kept, on_it)) = &mut self.kept else { return false };
        self.nodes.put_back(std::mem::take(on_it));
        if kept.at.is_none() {
            return false;
        }
        let jobs: Vec<_> = in_order(&self.view, &self.turns)
            .take(BACKFILL_LOOKS)
            .filter(|(key, ..)| Some(key.job) != self.held_for)
            .filter_map(|(key, leaf, group)| {
                let job = self.view.live_job(key.job)?;
                let in_time = kept.outlasts(self.now, job.brief.time_limit);
                in_time.then_some((key, leaf, job, &group.shape))
            })
            .take(BACKFILL_MAX)
            .collect();
        for (key, leaf, job, shape) in jobs {
            let gang = job.brief.gang();
            let barred = self.view.barred(job, self.now);
            while self.turns.bar(leaf, &job.brief.user, gang).is_none() {
                if self.left == 0 {
                    return true;
                }
                match self.place_one(key.job, job, shape, &barred) {
                    Tried::Placed => self.turns.placed(leaf, &job.brief.user, gang),
                    Tried::NothingLeft | Tried::DoesNotFit { .. } => break,
                    Tried::Full => return true,
                }
            }
        }
        false
    }
}

/// Waiting jobs of all queues in the order of priority and age, each with the place of its queue.
fn in_order<'a>(
    view: &View<'a>,
    turns: &Turns<'a>,
) -> impl Iterator<Item = (WaitKey, usize, &'a Group)> {
    let groups = view.queues().iter().filter_map(|(name, queue)| {
        let leaf = turns.leaf(name)?;
        Some(queue.waiting.iter().map(move |(group, order)| (leaf, group, order.iter())))
    });
    let mut groups: Vec<_> = groups.flatten().collect();
    // What is left of a job is compared with that of its group alone.
    let head = |key: &WaitKey, at| Reverse((key.priority, key.job, at, *key));
    let first = groups.iter_mut().enumerate();
    let mut heads: BinaryHeap<_> =
        first.filter_map(|(at, (.., order))| Some(head(order.next()?, at))).collect();
    std::iter::from_fn(move || {
        let Reverse((.., at, key)) = heads.pop()?;
        let (leaf, group, order) = &mut groups[at];
        heads.extend(order.next().map(|next| head(next, at)));
        Some((key, *leaf, *group))
    })
}

/// Whether a shape cannot fit where `failed` did not.
fn asks_no_less(shape: &Shape, failed: &Shape) -> bool {
    let (more, less) = (&shape.resources, &failed.resources);
    shape.tasks >= failed.tasks
        && more.gpus >= less.gpus
        && more.cpu >= less.cpu
        && more.memory >= less.memory
        && more.gpu_memory >= less.gpu_memory
        && more.gpu_share == less.gpu_share
        && (less.gpu_model.is_none() || less.gpu_model == more.gpu_model)
        && (failed.class.is_none() || failed.class == shape.class)
        && shape.confinement == failed.confinement
        && shape.topology.asks_no_less(failed.topology)
}

fn avoid(job: &Job, position: u32) -> BTreeSet<NodeId> {
    let mut avoid = job.elements.get(&position).map(|row| row.avoid.clone()).unwrap_or_default();
    if let Some(pin) = &job.brief.pin {
        avoid.extend(&pin.away_from);
    }
    avoid
}
