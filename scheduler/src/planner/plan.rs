//! One pass over what waits.

use super::{POLICY_VERSION, fit::place_gang, free};
use crate::state::{
    command::{Placement, PlanRecord},
    sched::{Job, Shape, WaitKey},
    view::View,
};
use domain::Millis;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// What a pass found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to propose.
    pub record: PlanRecord,
    /// Gangs that were tried.
    pub steps: u64,
    /// Whether the budget ended the pass before its end.
    pub exhausted: bool,
}

/// Plans placements for what waits, in order of priority and age.
///
/// Jobs of one shape fit or do not fit together, so when the first of a shape does not fit, the
/// rest of that shape is passed over: a pass costs what it places plus the number of shapes, not
/// the number of jobs. A job that does not fit does not hold back smaller ones behind it.
#[must_use]
pub fn plan(view: &View<'_>, now: Millis, budget_steps: u64) -> Plan {
    let mut nodes = free::ready(view);
    let mut heads: BinaryHeap<Reverse<(WaitKey, &Shape)>> = view
        .waiting()
        .iter()
        .filter_map(|(shape, order)| Some(Reverse((*order.first()?, shape))))
        .collect();
    let mut placements = Vec::new();
    let mut steps = 0;
    while let Some(Reverse((key, shape))) = heads.pop() {
        if steps >= budget_steps {
            let record = record(view, now, budget_steps, placements);
            return Plan { record, steps, exhausted: true };
        }
        let Some(job) = view.live_job(key.1) else { continue };
        let mut fits = true;
        for position in positions(job) {
            steps += 1;
            if steps > budget_steps {
                break;
            }
            match place_gang(&mut nodes, shape, &avoid(job, position)) {
                Some(members) => {
                    let element = job.submitted.spec.element(key.1, position);
                    placements.push(Placement { element, members });
                }
                None => {
                    fits = false;
                    break;
                }
            }
        }
        if fits && let Some(next) = after(view, shape, key) {
            heads.push(Reverse((next, shape)));
        }
    }
    Plan { record: record(view, now, budget_steps, placements), steps, exhausted: false }
}

fn record(
    view: &View<'_>,
    now: Millis,
    budget_steps: u64,
    placements: Vec<Placement>,
) -> PlanRecord {
    PlanRecord {
        base: view.applied(),
        now,
        budget_steps,
        policy_version: POLICY_VERSION,
        placements,
    }
}

fn after(view: &View<'_>, shape: &Shape, key: WaitKey) -> Option<WaitKey> {
    let order: &BTreeSet<WaitKey> = view.waiting().get(shape)?;
    let beyond = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
    order.range(beyond).next().copied()
}

/// Positions that may be placed in one pass, in the order that `apply` expects.
///
/// Requeued elements are bound to a class, fresh ones may not be: they take turns of passes.
fn positions(job: &Job) -> Vec<u32> {
    let room = job.room() as usize;
    if !job.progress.requeued.is_empty() {
        return job.progress.requeued.iter().copied().take(room).collect();
    }
    (job.progress.next..job.submitted.spec.elements()).take(room).collect()
}

fn avoid(job: &Job, position: u32) -> BTreeSet<domain::NodeId> {
    let mut avoid = job.elements.get(&position).map(|row| row.avoid.clone()).unwrap_or_default();
    if let Some(pin) = &job.submitted.pin {
        avoid.extend(&pin.away_from);
    }
    avoid
}
