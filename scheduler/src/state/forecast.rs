//! What was foreseen of waiting jobs' starts, held against how they came.
//!
//! Only the first start of a job is: what becomes of it later is another question. What a user
//! changes about a job before (its priority, that it is held, its end) was not foreseen, so that
//! its forecast is dropped; where its p90 had gone by before that, it counts as missed.

use super::{
    command::{Refusal, Reply},
    key,
    row::Progress,
    sched::{Job, Sched},
    step::Step,
    view::View,
};
use domain::{
    JobId, Millis,
    foresee::{Foretold, StartsHeld},
    gpu_time::DAY_MS,
    limit,
    port::RowRead,
    version::ClusterVersion,
};
use std::{collections::BTreeMap, ops::Bound};

/// Since which version starts are foretold.
pub(super) const FORETELLS: ClusterVersion = ClusterVersion(2);

/// What was foreseen, and how it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecasts {
    /// Of jobs that have not started.
    pub open: BTreeMap<JobId, Foretold>,
    /// The newest job of which it was said when it starts: each is foretold once, and none before one
    /// that was.
    pub newest: JobId,
    /// How often it held, by the day on which that was known.
    pub days: BTreeMap<u64, StartsHeld>,
}

/// Whether an element of a job was ever placed, of those that have not been cancelled.
fn has_started(of: &Progress) -> bool {
    of.running + of.sealing + of.completed + of.failed + of.requeued > 0
}

impl Forecasts {
    /// Those whose p90 has not gone by, which take up room.
    fn in_time(&self, now: Millis) -> usize {
        self.open.values().filter(|it| it.p90 >= now).count()
    }
}

impl Sched {
    /// Keeps what was foreseen of jobs that still wait for their first start, in the order in which they
    /// came. The first word holds.
    pub(super) fn foretell<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        starts: Vec<(JobId, Foretold)>,
    ) -> Reply {
        if starts.len() > limit::FORETOLD_BATCH {
            return Reply::Refused(Refusal::Limit {
                what: "the number of starts in one request".into(),
                limit: limit::FORETOLD_BATCH as u64,
                remedy: "send fewer".into(),
            });
        }
        // What is late has missed it, however long it will yet wait: there is room for others.
        let late = self.forecasts.open.iter().filter(|(_, it)| it.p90 < step.now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drop_forecast(step, id);
        }
        for (id, foretold) in starts {
            let in_order = foretold.made <= foretold.p50 && foretold.p50 <= foretold.p90;
            // What is late already can only be missed.
            let sound = in_order && foretold.p90 >= step.now;
            let room = self.forecasts.open.len() < limit::FORETOLD_MAX;
            if sound && room && self.may_be_foretold(id) {
                self.forecasts.open.insert(id, foretold);
                self.forecasts.newest = id;
                step.rows.put_new(key::foretold(id), &foretold);
                step.rows.put(key::newest_foretold(), &id);
            }
        }
        step.done()
    }

    /// Whether a job's start is still ahead and nobody has said when it comes.
    fn may_be_foretold(&self, id: JobId) -> bool {
        let waits = |job: &Job| !has_started(&job.progress) && !job.progress.held;
        id > self.forecasts.newest
            && !self.gated.contains(&id)
            && self.jobs.get(&id).is_some_and(waits)
    }

    /// A job starts.
    pub(super) fn meet_forecast<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        if let Some(foretold) = self.close_forecast(step, id) {
            self.tally(step, foretold, Some(step.now));
        }
    }

    /// Nobody can say any more how it would have come.
    pub(super) fn drop_forecast<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        let foretold = self.close_forecast(step, id);
        if let Some(foretold) = foretold.filter(|foretold| foretold.p90 < step.now) {
            self.tally(step, foretold, None);
        }
    }

    fn close_forecast<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: JobId,
    ) -> Option<Foretold> {
        let foretold = self.forecasts.open.remove(&id)?;
        step.rows.remove(key::foretold(id));
        Some(foretold)
    }

    fn tally<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        foretold: Foretold,
        started: Option<Millis>,
    ) {
        let today = step.now.0 / DAY_MS;
        let days = &mut self.forecasts.days;
        while let Some((day, _)) = days.first_key_value()
            && *day + limit::FORETOLD_DAYS <= today
        {
            step.rows.remove(key::starts_held(*day));
            days.pop_first();
        }
        let held = days.entry(today).or_default();
        held.count(foretold, started);
        step.rows.put(key::starts_held(today), &*held);
    }

    /// Forecasts of jobs that have started, or are no more.
    pub(super) fn stale_forecast(&self) -> Option<String> {
        let waits = |id: &JobId| self.jobs.get(id).is_some_and(|job| !has_started(&job.progress));
        let stale = self.forecasts.open.keys().find(|id| !waits(id));
        stale.map(|id| format!("forecasts_are_of_what_waits: {id}"))
    }
}

impl View<'_> {
    /// How often what was foreseen held over the last week; none where nothing of it is known. What
    /// has not started though its p90 has gone by by `now` has missed it.
    #[must_use]
    pub fn starts_held(&self, now: Millis) -> Option<StartsHeld> {
        let Forecasts { open, days, .. } = &self.sched.forecasts;
        let today = now.0 / DAY_MS;
        let week = days.iter().filter(|(day, _)| **day + limit::FORETOLD_DAYS > today);
        let mut all = week.fold(StartsHeld::default(), |sum, (_, held)| sum.plus(*held));
        let late = open.values().filter(|it| it.p90 < now);
        late.filter(|it| it.p90.0 / DAY_MS + limit::FORETOLD_DAYS > today)
            .for_each(|late| all.count(*late, None));
        (all.jobs > 0).then_some(all)
    }

    /// Waiting jobs of whose first start nothing is said yet, the oldest first, up to `most`; none
    /// while there is no room for more.
    #[must_use]
    pub fn to_foretell(&self, now: Millis, most: usize) -> Vec<JobId> {
        if self.sched.forecasts.in_time(now) >= limit::FORETOLD_MAX {
            return Vec::new();
        }
        let after = (Bound::Excluded(self.sched.forecasts.newest), Bound::Unbounded);
        let jobs = self.sched.jobs.range(after).map(|(id, _)| *id);
        jobs.filter(|id| self.sched.may_be_foretold(*id)).take(most).collect()
    }
}
