//! One way through the time ahead: the planner's own steps, from one event to the next.

use super::{
    looks::next_look,
    reports::{at_once, ends, yields},
    run_time::{RunTimes, Scenario},
};
use crate::{
    planner,
    state::{command::Command, fork::Fork, row::Brief, view::View},
};
use domain::{
    ElementId, JobId, LeaseId, Millis,
    job::EndCause,
    lease::{Lease, Phase},
    limit,
};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of planning at one point in time.
const ROUNDS_MAX: u32 = 1_000;

/// How far one walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// It begins here.
    pub from: Millis,
    /// It ends here.
    pub until: Millis,
    /// Points in time at which something happens, at most.
    pub steps: u64,
    /// Whether it ends as soon as nothing waits.
    pub while_waiting: bool,
}

/// When and where something starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// When.
    pub at: Millis,
    /// Where: names of nodes.
    pub nodes: Vec<String>,
}

/// An attempt that made room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// What ran.
    pub element: ElementId,
    /// Whose it is.
    pub user: String,
    /// Its queue.
    pub queue: String,
    /// GPUs that it left.
    pub gpus: u64,
    /// Why.
    pub cause: EndCause,
    /// When it was asked.
    pub at: Millis,
}

/// GPUs under leases, and all that are there, from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The time.
    pub at: Millis,
    /// Under leases.
    pub held: u64,
    /// All.
    pub there: u64,
}

/// What was met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The first start of each element that waited.
    pub starts: BTreeMap<ElementId, Start>,
    /// Attempts that made room, in order.
    pub evicted: Vec<Evicted>,
    /// How much was used.
    pub used: Vec<Used>,
    /// How far it went.
    pub reached: Millis,
    /// Whether it was cut before its time.
    pub cut: bool,
    /// Jobs of which nobody knows when they end.
    pub endless: BTreeSet<JobId>,
}

impl Walked {
    /// The first start of a job.
    #[must_use]
    pub fn start_of(&self, job: JobId) -> Option<&Start> {
        let last = ElementId { job, index: Some(u32::MAX) };
        let of = self.starts.range(ElementId { job, index: None }..=last);
        of.map(|(_, start)| start).min_by_key(|start| start.at)
    }
}

/// A fork on its way.
pub(super) struct Walk<'a> {
    fork: Fork,
    scenario: Scenario,
    known: &'a RunTimes,
    bounds: Bounds,
    now: Millis,
    /// What comes later, in order of time.
    later: Vec<(Millis, Command)>,
    /// When each lease ends that has an end.
    ends: BTreeMap<LeaseId, Millis>,
    /// Leases that were seen.
    seen: BTreeSet<LeaseId>,
    /// What ran from the first on.
    ran: BTreeSet<ElementId>,
    /// Leases that were asked to make room.
    asked: BTreeSet<LeaseId>,
    walked: Walked,
}

/// A walk that its caller has given up.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp;

impl<'a> Walk<'a> {
    pub fn new(
        fork: Fork,
        later: Vec<(Millis, Command)>,
        scenario: Scenario,
        known: &'a RunTimes,
        bounds: Bounds,
    ) -> Self {
        let mut walk = Self {
            fork,
            scenario,
            known,
            bounds,
            now: bounds.from,
            later,
            ends: BTreeMap::new(),
            seen: BTreeSet::new(),
            ran: BTreeSet::new(),
            asked: BTreeSet::new(),
            walked: Walked::default(),
        };
        walk.later.sort_by_key(|(at, _)| *at);
        // What runs already does not start.
        walk.ran = walk.fork.view().all_leases().map(|lease| lease.element).collect();
        walk.look(false);
        walk
    }

    /// Goes to the end.
    ///
    /// # Errors
    /// When `goes_on` says that nobody wants it any more.
    pub fn finish(mut self, goes_on: &dyn Fn() -> bool) -> Result<Walked, GivenUp> {
        for step in 0.. {
            if !goes_on() {
                return Err(GivenUp);
            }
            self.follow();
            self.happen();
            self.settle();
            self.measure();
            let idle = self.bounds.while_waiting && self.nothing_waits();
            let Some(next) = self.next().filter(|next| *next <= self.bounds.until && !idle) else {
                self.walked.reached = self.bounds.until;
                break;
            };
            if step + 1 >= self.bounds.steps {
                (self.walked.reached, self.walked.cut) = (next, true);
                break;
            }
            self.now = next;
        }
        let view = self.fork.view();
        let stopping = view.all_leases().filter(|it| matches!(it.phase, Phase::Stopping { .. }));
        self.walked.endless.extend(stopping.map(|lease| lease.element.job));
        Ok(self.walked)
    }

    /// Lets all follow that takes no time. Says whether anything was left to.
    fn follow(&mut self) -> bool {
        for round in 0..ROUNDS_MAX {
            let commands = at_once(&self.fork.view());
            if commands.is_empty() {
                return round > 0;
            }
            self.go_on(commands);
        }
        true
    }

    fn nothing_waits(&self) -> bool {
        let view = self.fork.view();
        self.later.is_empty()
            && view.waiting_jobs().next().is_none()
            && view.preemptions().next().is_none()
            && !view.all_live_jobs().any(|(_, job)| !job.pending.is_empty() || !job.due.is_empty())
    }

    /// All whose time has come.
    fn happen(&mut self) {
        let due = self.later.partition_point(|(at, _)| *at <= self.now);
        for (_, command) in self.later.drain(..due).collect::<Vec<_>>() {
            self.go_on(vec![command]);
        }
        if self.fork.view().next_pause().is_some_and(|at| at <= self.now) {
            self.go_on(vec![Command::Wake { until: self.now }]);
        }
        let over = self.ends.iter().filter(|(_, at)| **at <= self.now);
        let over: Vec<LeaseId> = over.map(|(id, _)| *id).collect();
        let view = self.fork.view();
        let leases = over.into_iter().filter_map(|id| view.lease(id));
        let commands = |lease: &Lease| {
            let natural = self.natural_end(&view, lease).is_some_and(|end| end <= self.now);
            match lease.notice.clone().filter(|_| !natural) {
                Some(notice) => yields(lease, notice.cause),
                None => ends(&view, lease),
            }
        };
        let commands: Vec<Command> = leases.flat_map(commands).collect();
        self.go_on(commands);
    }

    /// Plans until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.follow();
            if self.fork.view().waiting_jobs().next().is_none() {
                return;
            }
            let plan = planner::plan(&self.fork.view(), self.now, planner::BUDGET_STEPS);
            let places = !plan.record.placements.is_empty();
            let more = plan.exhausted || plan.preempt.is_some() || plan.held_for.is_some();
            let place = places.then_some(Command::Place { plan: plan.record });
            let preempt = plan.preempt.map(|plan| Command::Preempt { plan });
            let commands: Vec<Command> = place.into_iter().chain(preempt).collect();
            let before = (self.seen.len(), self.asked.len());
            let nothing = commands.is_empty();
            self.go_on(commands);
            // A plan of which nothing holds would be made again and again.
            if nothing || before == (self.seen.len(), self.asked.len()) {
                return;
            }
            // After a whole plan nothing that fits is left, which is a law of the planner; but the
            // nodes that it keeps for a gang may be others in the next.
            if !self.follow() && !more {
                return;
            }
        }
    }

    fn go_on(&mut self, commands: Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        // A refusal changes nothing, and what it refuses is not asked again.
        let _ = self.fork.go_on(self.now, commands);
        self.look(true);
    }

    /// Notes what has begun, was asked to make room, or is over.
    fn look(&mut self, starts: bool) {
        let view = self.fork.view();
        let mut ends = BTreeMap::new();
        let mut fresh = Vec::new();
        for lease in view.all_leases() {
            if !self.seen.contains(&lease.id) {
                fresh.push(lease.id);
                if starts && !self.ran.contains(&lease.element) {
                    let start = || Start { at: self.now, nodes: names(&view, lease) };
                    self.walked.starts.entry(lease.element).or_insert_with(start);
                }
            }
            if let Some(notice) = &lease.notice
                && self.asked.insert(lease.id)
                && starts
            {
                let evicted = evicted(&view, lease, notice.cause.clone(), self.now);
                self.walked.evicted.extend(evicted);
            }
            match self.end(&view, lease) {
                Some(end) => drop(ends.insert(lease.id, end)),
                // It has stopped in a moment.
                None if matches!(lease.phase, Phase::Stopping { .. }) => {}
                None => drop(self.walked.endless.insert(lease.element.job)),
            }
        }
        self.seen.extend(fresh);
        self.ends = ends;
    }

    /// When an attempt is over, if anybody knows.
    fn end(&self, view: &View<'_>, lease: &Lease) -> Option<Millis> {
        let natural = self.natural_end(view, lease);
        let notice = lease.notice.as_ref();
        let yields = notice.map(|notice| notice.since.plus(limit::NOTICE_PATIENCE));
        natural.into_iter().chain(yields).min()
    }

    fn natural_end(&self, view: &View<'_>, lease: &Lease) -> Option<Millis> {
        if let Some(end) = self.ends.get(&lease.id)
            && lease.notice.is_none()
        {
            return Some(*end);
        }
        if matches!(lease.phase, Phase::Stopping { .. }) {
            return None;
        }
        let job = view.live_job(lease.element.job)?;
        let ran = self.bounds.from.minus(lease.granted);
        let time = self.time(&job.brief, lease.element, ran)?;
        // At least a moment, so that time goes on.
        Some(lease.granted.plus(time.max(Millis(1))))
    }

    fn time(&self, job: &Brief, of: ElementId, ran: Millis) -> Option<Millis> {
        self.scenario.run_time(self.known, job, of, ran)
    }

    /// The next point in time at which something happens.
    fn next(&self) -> Option<Millis> {
        let view = self.fork.view();
        let later = self.later.first().map(|(at, _)| *at);
        let ends = self.ends.values().copied().min();
        let all = [later, ends, view.next_pause(), next_look(&view, self.now)];
        all.into_iter().flatten().filter(|at| *at > self.now).min()
    }

    fn measure(&mut self) {
        let (held, there) = self.fork.gpus();
        self.walked.used.push(Used { at: self.now, held, there });
    }
}

fn names(view: &View<'_>, lease: &Lease) -> Vec<String> {
    lease.members.iter().filter_map(|member| view.node_name(member.node)).collect()
}

fn evicted(view: &View<'_>, lease: &Lease, cause: EndCause, at: Millis) -> Option<Evicted> {
    let brief = &view.live_job(lease.element.job)?.brief;
    let (user, queue) = (brief.user.to_string(), brief.queue.to_string());
    Some(Evicted { element: lease.element, user, queue, gpus: brief.gang().gpus(), cause, at })
}
