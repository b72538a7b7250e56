//! Makes plans, one at a time, each within one proposal.

use crate::{
    planner,
    state::{
        command::{Placement, PlanRecord},
        view::View,
    },
};
use domain::{LogIndex, Millis, limit};

/// Gangs that one plan tries at most.
const BUDGET_STEPS: u64 = 4_096;
/// Time after which a plan that is neither applied nor answered is given up.
const PATIENCE: Millis = Millis(2_000);
/// Time between two looks at what waits when nothing has asked for one: an effect may be lost.
const LOOK_EVERY: Millis = Millis(1_000);
/// Encoded bytes of placements in one proposal: what is left beside the rest of the request.
const PLACEMENTS_MAX: usize = limit::PROPOSAL_MAX.0 as usize - (16 << 10);

/// When to plan next.
#[derive(Clone, Debug)]
pub(super) struct Planning {
    wanted: bool,
    looked: Millis,
    /// The base of the plan that is on its way, and when it was proposed.
    on_its_way: Option<(LogIndex, Millis)>,
}

impl Planning {
    pub fn new(now: Millis) -> Self {
        Self { wanted: true, looked: now, on_its_way: None }
    }

    /// There may be something to place.
    pub fn wake(&mut self) {
        self.wanted = true;
    }

    /// The plan on its way was applied, or will never be.
    pub fn answered(&mut self) {
        self.on_its_way = None;
    }

    /// The next plan, if there is something to place and none is on its way.
    ///
    /// All that happens while one is on its way is taken together in the next.
    pub fn next(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Option<PlanRecord> {
        if let Some((base, since)) = self.on_its_way {
            if view.planned_at() <= base && now < since.plus(PATIENCE) {
                return None;
            }
            self.on_its_way = None;
        }
        if !self.wanted && now < self.looked.plus(LOOK_EVERY) {
            return None;
        }
        self.wanted = false;
        self.looked = now;
        if view.waiting().is_empty() {
            return None;
        }
        let plan = planner::plan(view, wall.max(view.now()), BUDGET_STEPS);
        let mut record = plan.record;
        let cut = cut(&mut record.placements);
        if record.placements.is_empty() {
            return None;
        }
        self.wanted = cut || plan.exhausted;
        self.on_its_way = Some((record.base, now));
        Some(record)
    }
}

/// Keeps as many whole gangs as fit into one proposal. Says whether some were left out.
fn cut(placements: &mut Vec<Placement>) -> bool {
    let mut size = 0;
    let keep = placements.iter().position(|placement| {
        size += borsh::object_length(placement).unwrap_or(PLACEMENTS_MAX + 1);
        size > PLACEMENTS_MAX
    });
    let Some(keep) = keep else { return false };
    placements.truncate(keep);
    true
}
