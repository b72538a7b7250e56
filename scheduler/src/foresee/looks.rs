//! Times at which a plan may come out differently though nothing has happened.

use crate::state::{sched::Job, view::View};
use domain::{Millis, lease::Lease};

/// The next such time: an attempt may be asked to make room from then on, or a budget is whole
/// again. The leader looks every second while something waits; a walk looks when it matters.
pub(super) fn next_look(view: &View<'_>, now: Millis) -> Option<Millis> {
    view.waiting_jobs().next()?;
    let yields = may_claim(view).then(|| next_victim(view, now)).flatten();
    let renewed = view.queues().values().filter_map(|queue| {
        let period = queue.spec.budget_period.filter(|period| period.0 > 0)?;
        queue.spec.budget_gpu_hours?;
        Some(Millis((now.0 / period.0 + 1).saturating_mul(period.0)))
    });
    yields.into_iter().chain(renewed).min()
}

/// Whether somebody who waits could have others make room: by priority within a queue, or by a
/// guarantee.
fn may_claim(view: &View<'_>) -> bool {
    if !view.may_preempt() {
        return false;
    }
    let job = |lease: &Lease| view.live_job(lease.element.job);
    view.queues().iter().filter(|(_, queue)| !queue.waiting.is_empty()).any(|(name, queue)| {
        let line = queue.above.iter().filter_map(|above| view.queues().get(above));
        let guaranteed = line.chain([queue]).any(|queue| queue.spec.guaranteed_gpus > 0);
        let first = queue.waiting.values().filter_map(|order| order.first());
        let highest = first.map(|key| key.priority.0).max();
        let ours = |job: &&Job| job.brief.queue == *name;
        let running = view.all_leases().filter_map(job).filter(ours);
        let lowest = running.map(|job| job.brief.priority).min();
        guaranteed || highest.zip(lowest).is_some_and(|(highest, lowest)| lowest < highest)
    })
}

/// When the next attempt has run for as long as it may before it has to make room.
fn next_victim(view: &View<'_>, now: Millis) -> Option<Millis> {
    let from = |lease: &Lease| {
        let runs_for = view.live_job(lease.element.job)?.brief.interrupt.runs_for()?;
        Some(lease.granted.plus(runs_for))
    };
    view.all_leases().filter_map(from).filter(|at| *at > now).min()
}
