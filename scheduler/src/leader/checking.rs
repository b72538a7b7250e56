//! Sees checks of machines through: on idle GPUs, and out of the way of jobs.

use crate::{
    planner,
    state::{
        check::{CheckCommand, is_overdue},
        view::View,
    },
};
use domain::{CheckId, LogIndex, Millis, check::Check};
use std::collections::BTreeMap;

/// Time between two looks.
const LOOK_EVERY: Millis = Millis(200);
/// Time after which what was proposed and not applied is proposed again.
const PATIENCE: Millis = Millis(2_000);
/// Gangs that are tried to see who could have the room of checks.
const BUDGET_STEPS: u64 = 4_096;
/// Runs that are proposed together.
const AT_ONCE: usize = 8;
/// Checks for which one look seeks a place: each costs a pass over the nodes.
const SOUGHT: usize = 16;

/// When checks are looked at next.
#[derive(Clone, Debug)]
pub(super) struct Checking {
    look: Millis,
    /// What was proposed of a check: after how many runs, and until when its answer may take.
    asked: BTreeMap<CheckId, (u32, Millis)>,
    /// The entry of the newest look at who could have the room of checks.
    weighed: LogIndex,
    /// The check that the next look begins behind, so that each has its turn.
    behind: CheckId,
}

impl Checking {
    /// Looks at once: a leader before may have left some half-way.
    pub fn new(now: Millis) -> Self {
        Self { look: now, asked: BTreeMap::new(), weighed: LogIndex(0), behind: CheckId(0) }
    }

    /// What to propose now. Nothing new begins while a plan is on its way, or while jobs wait
    /// that what is free could go to.
    pub fn next(
        &mut self,
        view: &View<'_>,
        now: Millis,
        wall: Millis,
        planning: bool,
    ) -> Vec<CheckCommand> {
        if now < self.look {
            return Vec::new();
        }
        self.look = now.plus(LOOK_EVERY);
        if view.open_checks().next().is_none() {
            self.asked.clear();
            return Vec::new();
        }
        let clock = wall.max(view.now());
        let mut commands = self.make_room(view, clock);
        self.asked.retain(|_, (_, until)| now < *until);
        let room = !planning && commands.is_empty() && nobody_waits(view, clock);
        let mut sought = 0;
        let (rest, first): (Vec<_>, Vec<_>) =
            view.open_checks().partition(|(id, _)| *id <= self.behind);
        for (id, check) in first.into_iter().chain(rest) {
            if commands.len() >= AT_ONCE || sought >= SOUGHT {
                break;
            }
            if check.underway.is_some()
                || self.asked.get(&id).is_some_and(|(granted, _)| *granted == check.granted)
            {
                continue;
            }
            (sought, self.behind) = (sought + 1, id);
            let command = match is_overdue(check, clock) {
                true => Some(CheckCommand::GiveUp { check: id, why: overdue(check) }),
                false if check.yields() && !room => None,
                false => planner::seats(view, check).map(|members| CheckCommand::Run {
                    check: id,
                    granted: check.granted,
                    members,
                }),
            };
            if let Some(command) = command {
                self.asked.insert(id, (check.granted, now.plus(PATIENCE)));
                commands.push(command);
            }
        }
        commands
    }

    /// Ends runs whose room a job could have. Looked at once for each entry: it takes a plan.
    fn make_room(&mut self, view: &View<'_>, clock: Millis) -> Vec<CheckCommand> {
        if view.applied() == self.weighed {
            return Vec::new();
        }
        self.weighed = view.applied();
        let leases = planner::in_the_way(view, clock, BUDGET_STEPS);
        let command = (!leases.is_empty()).then_some(CheckCommand::MakeRoom { leases });
        command.into_iter().collect()
    }
}

/// Whether no job waits that could start now, and no nodes are kept for one.
fn nobody_waits(view: &View<'_>, clock: Millis) -> bool {
    if view.waiting_jobs().next().is_none() {
        return true;
    }
    let plan = planner::plan(view, clock, BUDGET_STEPS);
    plan.record.placements.is_empty() && plan.held_for.is_none() && !plan.exhausted
}

fn overdue(check: &Check) -> String {
    let last = check.last.as_ref().map(|last| format!("; the last run {last}"));
    format!("it found no idle GPUs, or no end, within a day{}", last.unwrap_or_default())
}
