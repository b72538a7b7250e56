//! `preemption_used`: whoever is told to make room is told for a gang that then gets it, unless
//! the gang is no longer wanted or its place is gone; and nobody is told before their time.

use domain::{ElementId, JobId, LeaseId, LogIndex, Millis, lease::Member, limit};
use scheduler::state::view::View;
use std::collections::{BTreeMap, BTreeSet};

/// What was promised.
struct Promise {
    element: ElementId,
    members: Vec<Member>,
    victims: BTreeSet<LeaseId>,
    since: Millis,
}

/// All promises that stand.
#[derive(Default)]
pub struct PreemptionUsed {
    open: BTreeMap<JobId, Promise>,
    begun: u64,
    placed: u64,
}

impl PreemptionUsed {
    /// Looks at what an entry has left. Gives the law that it breaks.
    pub fn look(&mut self, view: &View<'_>, at: LogIndex) -> Option<String> {
        let broken = self.keep_promises(view, at).or_else(|| self.take_promises(view, at));
        broken.or_else(|| noticed(view, at)).map(|what| format!("preemption_used: {what}"))
    }

    /// Preemptions that began, and those whose gang got its place.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.begun, self.placed)
    }

    fn keep_promises(&mut self, view: &View<'_>, at: LogIndex) -> Option<String> {
        let gone: Vec<JobId> = self
            .open
            .iter()
            .filter(|(id, promise)| {
                view.preemption(**id).is_none_or(|it| it.since != promise.since)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(promise) = self.open.remove(&id) else { continue };
            let mut new = view.all_leases().filter(|lease| lease.id.index == at.0);
            if let Some(lease) = new.find(|lease| lease.element == promise.element) {
                if lease.members != promise.members {
                    return Some(format!("entry {at} places {id} elsewhere than was promised"));
                }
                if promise.victims.iter().any(|victim| view.lease(*victim).is_some()) {
                    return Some(format!("entry {at} places {id} before its victims are gone"));
                }
                self.placed += 1;
            } else if could_have_it(view, &promise) {
                return Some(format!("entry {at} breaks the promise to {id}, which still waits"));
            }
        }
        None
    }

    fn take_promises(&mut self, view: &View<'_>, at: LogIndex) -> Option<String> {
        for (id, row) in view.preemptions() {
            if self.open.contains_key(&id) {
                continue;
            }
            self.begun += 1;
            let plan = &row.preemption;
            for victim in &plan.victims {
                let Some(lease) = view.lease(victim.lease) else { continue };
                let Some(job) = view.live_job(lease.element.job) else { continue };
                let time = job.brief.interrupt.runs_for();
                let asked = lease.notice.is_some();
                if asked && time.is_none_or(|time| lease.granted.plus(time) > row.since) {
                    return Some(format!("entry {at} asks {} before its time", lease.element));
                }
            }
            let promise = Promise {
                element: plan.placement.element,
                members: plan.placement.members.clone(),
                victims: plan.victims.iter().map(|victim| victim.lease).collect(),
                since: row.since,
            };
            self.open.insert(id, promise);
        }
        None
    }
}

/// Whether a gang still waits for the place that it was promised, and could have it.
fn could_have_it(view: &View<'_>, promise: &Promise) -> bool {
    let Some(job) = view.live_job(promise.element.job) else { return false };
    let waits = job.position(promise.element).is_some_and(|at| job.may_be_placed(at));
    let served = promise.members.iter().all(|member| {
        let gpus = member.tasks.iter().flat_map(|task| &task.gpus);
        view.node(member.node).is_some_and(|node| {
            let has = |index: &u32| node.inventory.gpus.iter().any(|gpu| gpu.index == *index);
            node.takes_work() && gpus.into_iter().all(has)
        })
    });
    let in_time = view.now() < promise.since.plus(limit::PREEMPTION_MAX);
    let barred = view.barred(job, view.now());
    let kept_out = promise.members.iter().any(|member| barred.has(member.node));
    waits && served && in_time && !kept_out && view.bars(job, view.now()).is_empty()
}

/// Nobody has notice but for a preemption that is under way, or a window that is open.
fn noticed(view: &View<'_>, at: LogIndex) -> Option<String> {
    let mut leases = view.all_leases();
    let lone = leases.find(|lease| {
        lease.notice.is_some() && !view.is_ceding(lease.id) && !view.leaves_its_nodes(lease)
    })?;
    Some(format!("after entry {at} {} has notice for nobody's sake", lone.element))
}
