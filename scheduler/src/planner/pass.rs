//! One pass over what waits, in order of priority and age.

use super::{POLICY_VERSION, fit::place_gang, free, free::FreeNode};
use crate::state::{
    command::{Placement, PlanRecord},
    sched::{Job, Shape, WaitKey},
    view::View,
};
use domain::{JobId, Millis, NodeId, limit};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Bound,
};

/// Time for which smaller jobs may pass a job that does not fit. After it, nodes on which it
/// could run are kept for it.
pub const HOLD_AFTER: Millis = Millis(60_000);
/// Shapes that did not fit, which later ones are compared with.
const FAILED_MAX: usize = 64;
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
    /// Gangs that were tried.
    pub steps: u64,
    /// Whether the budget, or the size of one proposal, ended the pass before its end.
    pub exhausted: bool,
    /// The job that nodes are kept for.
    pub held_for: Option<JobId>,
}

/// Plans placements for what waits.
///
/// Jobs of one shape fit or do not fit together, so when the first of a shape does not fit, the
/// rest of that shape is passed over, and so is any shape that asks for at least as much: a pass
/// costs what it places plus the number of shapes, not the number of jobs.
///
/// A job that does not fit does not hold back smaller ones behind it, until it has waited for
/// [`HOLD_AFTER`]: then the nodes that it could have soonest get nothing new. One job at a time,
/// the first in order, has this right.
#[must_use]
pub fn plan(view: &View<'_>, now: Millis, budget_steps: u64) -> Plan {
    let mut pass = Pass {
        view: *view,
        now,
        left: budget_steps,
        nodes: free::ready(view),
        failed: Vec::new(),
        room: BTreeMap::new(),
        held_for: None,
        placements: Vec::new(),
        size: 0,
        full: false,
    };
    let exhausted = pass.run();
    Plan {
        steps: budget_steps - pass.left,
        exhausted,
        held_for: pass.held_for,
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
    nodes: Vec<FreeNode<'a>>,
    failed: Vec<&'a Shape>,
    /// Elements that may still start, of jobs that were met.
    room: BTreeMap<JobId, u32>,
    held_for: Option<JobId>,
    placements: Vec<Placement>,
    /// Encoded bytes of the placements.
    size: u64,
    /// Whether the next gang no longer fits into the proposal.
    full: bool,
}

impl<'a> Pass<'a> {
    /// Looks at the first waiting job over all shapes, then at the next. Says whether a bound
    /// ended it.
    fn run(&mut self) -> bool {
        let mut heads: BinaryHeap<Reverse<(WaitKey, &'a Shape)>> = self
            .view
            .waiting()
            .iter()
            .filter_map(|(shape, order)| Some(Reverse((*order.first()?, shape))))
            .collect();
        while let Some(Reverse((key, shape))) = heads.pop() {
            if self.failed.iter().any(|failed| asks_no_less(shape, failed)) {
                continue;
            }
            if self.left == 0 {
                return true;
            }
            let Some(job) = self.view.live_job(key.1) else { continue };
            let fits = self.place_all(key.1, job, shape);
            if self.full {
                return true;
            }
            if fits {
                if let Some(next) = after(&self.view, shape, key) {
                    heads.push(Reverse((next, shape)));
                }
            } else {
                self.hold(key.1, job, shape);
                if self.failed.len() < FAILED_MAX {
                    self.failed.push(shape);
                }
            }
        }
        false
    }

    /// Places what may start of a job. Says no when something did not fit.
    fn place_all(&mut self, id: JobId, job: &Job, shape: &Shape) -> bool {
        let mut room = *self.room.entry(id).or_insert_with(|| job.room());
        let mut fits = true;
        for position in job.positions(shape.class.as_deref()) {
            if room == 0 || self.left == 0 {
                break;
            }
            self.left -= 1;
            let Some(members) = place_gang(&mut self.nodes, shape, &avoid(job, position)) else {
                fits = false;
                break;
            };
            let placement = Placement { element: job.brief.element(id, position), members };
            self.size += borsh::object_length(&placement).unwrap_or(usize::MAX) as u64;
            if self.size > PLACEMENTS_MAX {
                self.full = true;
                break;
            }
            room -= 1;
            self.placements.push(placement);
        }
        self.room.insert(id, room);
        fits
    }

    /// Keeps nodes for a job that has waited for too long, if it could run at all.
    fn hold(&mut self, id: JobId, job: &Job, shape: &Shape) {
        if self.held_for.is_some() || self.now.minus(job.brief.time) < HOLD_AFTER {
            return;
        }
        let mut empty = free::ready_empty(&self.view);
        let Some(members) = place_gang(&mut empty, shape, &BTreeSet::new()) else { return };
        let kept: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        self.nodes.retain(|node| !kept.contains(&node.id));
        self.held_for = Some(id);
    }
}

/// Whether a shape cannot fit where `failed` did not.
fn asks_no_less(shape: &Shape, failed: &Shape) -> bool {
    let (more, less) = (&shape.resources, &failed.resources);
    shape.tasks >= failed.tasks
        && more.gpus >= less.gpus
        && more.cpu >= less.cpu
        && more.memory >= less.memory
        && (less.gpu_model.is_none() || less.gpu_model == more.gpu_model)
        && (failed.class.is_none() || failed.class == shape.class)
        && shape.confinement == failed.confinement
}

fn after(view: &View<'_>, shape: &Shape, key: WaitKey) -> Option<WaitKey> {
    let order = view.waiting().get(shape)?;
    order.range((Bound::Excluded(key), Bound::Unbounded)).next().copied()
}

fn avoid(job: &Job, position: u32) -> BTreeSet<NodeId> {
    let mut avoid = job.elements.get(&position).map(|row| row.avoid.clone()).unwrap_or_default();
    if let Some(pin) = &job.brief.pin {
        avoid.extend(&pin.away_from);
    }
    avoid
}
