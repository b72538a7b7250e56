//! Makes plans, one at a time, each within one proposal.

use crate::{
    planner::{self, BUDGET_STEPS},
    state::{command::Command, view::View},
};
use domain::{LogIndex, Millis};

/// Time after which a plan that is neither applied nor answered is given up.
const PATIENCE: Millis = Millis(2_000);
/// Time between two looks at what waits when nothing has asked for one: an effect may be lost.
const LOOK_EVERY: Millis = Millis(1_000);
/// Time between two looks whether something waits for a time that is over.
const DUE_EVERY: Millis = Millis(500);

/// When to plan next.
#[derive(Clone, Debug)]
pub(super) struct Planning {
    wanted: bool,
    looked: Millis,
    /// The base of the plan that is on its way, and when it was proposed.
    on_its_way: Option<(LogIndex, Millis)>,
    /// When it was last looked whether something waits for a time that is over.
    asked: Millis,
    /// The log's clock when it was last seen to move, and when that was.
    clock: (Millis, Millis),
}

impl Planning {
    pub fn new(now: Millis) -> Self {
        Self { wanted: true, looked: now, on_its_way: None, asked: now, clock: (Millis(0), now) }
    }

    /// There may be something to place.
    pub fn wake(&mut self) {
        self.wanted = true;
    }

    /// The plan on its way was applied, or will never be.
    pub fn answered(&mut self) {
        self.on_its_way = None;
    }

    /// Whether a plan is on its way.
    pub fn is_on_its_way(&self) -> bool {
        self.on_its_way.is_some()
    }

    /// The time to which the log's clock is to be moved, if something waits for it that is over.
    ///
    /// A pause is over by the wall clock, or by this replica's own clock counted from when the
    /// log's clock was last seen to move: it may have been set forward by days, and stand still.
    pub fn due(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Option<Millis> {
        if view.now() > self.clock.0 {
            self.clock = (view.now(), now);
        }
        if now < self.asked.plus(DUE_EVERY) {
            return None;
        }
        self.asked = now;
        let reached = wall.max(self.clock.0.plus(now.minus(self.clock.1)));
        match view.next_pause() {
            Some(at) if at <= reached => Some(at),
            Some(_) | None => view.has_news(wall.max(view.now())).then_some(Millis(0)),
        }
    }

    /// The next plan, if there is something to place or to make room for, and none is on its way.
    ///
    /// All that happens while one is on its way is taken together in the next.
    pub fn next(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Vec<Command> {
        self.make(view, now, wall).unwrap_or_default()
    }

    fn make(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Option<Vec<Command>> {
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
        view.waiting_jobs().next()?;
        let plan = planner::plan(view, wall.max(view.now()), BUDGET_STEPS);
        let base = plan.record.base;
        let places = !plan.record.placements.is_empty();
        let place = places.then_some(Command::Place { plan: plan.record });
        let preempt = plan.preempt.map(|plan| Command::Preempt { plan });
        let commands: Vec<Command> = place.into_iter().chain(preempt).collect();
        if commands.is_empty() {
            return None;
        }
        self.wanted = plan.exhausted;
        self.on_its_way = Some((base, now));
        Some(commands)
    }
}
