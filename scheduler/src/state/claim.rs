//! Who has to make room for whom.
//!
//! Within a queue, a job of lower priority for one of higher. Between queues, where their lines
//! part: a queue that has less than its guarantee may call back what others hold beyond theirs,
//! up to that guarantee. So neither can call the same room back again: priority only rises, and
//! what was taken to fill a guarantee is beyond nobody's.

use super::{
    queue::Queue,
    row::{Brief, ElementRow},
    sched::Sched,
};
use domain::{
    Millis,
    lease::{Lease, Phase},
};
use std::{collections::BTreeMap, sync::Arc};

/// The claims of one gang, as its victims are chosen one by one.
#[derive(Clone)]
pub struct Claims<'a> {
    queues: &'a BTreeMap<Arc<str>, Queue>,
    gang: &'a Brief,
    /// GPUs of the victims so far, by queue, and by the queues above.
    taken: BTreeMap<&'a str, u64>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(sched: &'a Sched, gang: &'a Brief) -> Self {
        Self { queues: &sched.queues, gang, taken: BTreeMap::new() }
    }

    /// Whether an attempt of `victim` has to make room, beside those that were taken.
    #[must_use]
    pub fn allows(&self, victim: &Brief) -> bool {
        if victim.queue == self.gang.queue {
            return victim.priority < self.gang.priority;
        }
        let (ours, theirs) = (self.line(&self.gang.queue), self.line(&victim.queue));
        let same = ours.iter().zip(&theirs).take_while(|(one, other)| one.0 == other.0).count();
        let within = ours.get(same).is_some_and(|(_, queue)| {
            let gang = self.gang.gang().gpus();
            let held = queue.held.plus(queue.reserved).gpus();
            gang > 0 && held.saturating_add(gang) <= queue.spec.guaranteed_gpus
        });
        let beyond = |(name, queue): &(&str, &Queue)| {
            let taken = self.taken.get(name).copied().unwrap_or(0);
            queue.held.gpus().saturating_sub(taken) > queue.spec.guaranteed_gpus
        };
        within && theirs.iter().skip(same).all(beyond)
    }

    /// Counts an attempt of `victim` among those that make room.
    pub fn take(&mut self, victim: &'a Brief) {
        let gpus = victim.gang().gpus();
        for name in self.names(&victim.queue) {
            *self.taken.entry(name).or_default() += gpus;
        }
    }

    /// Takes that back.
    pub fn give_back(&mut self, victim: &'a Brief) {
        let gpus = victim.gang().gpus();
        for name in self.names(&victim.queue) {
            let taken = self.taken.entry(name).or_default();
            *taken = taken.saturating_sub(gpus);
        }
    }

    /// A queue's name and those above it.
    fn names(&self, queue: &'a Arc<str>) -> impl Iterator<Item = &'a str> + use<'a> {
        let above = self.queues.get(queue).into_iter().flat_map(|queue| &queue.above);
        std::iter::once(queue).chain(above).map(|name| &**name)
    }

    /// The queues from the top down to `queue`.
    fn line<'b>(&'b self, queue: &'b Arc<str>) -> Vec<(&'b str, &'b Queue)> {
        let above = self.queues.get(queue).into_iter().flat_map(|queue| &queue.above);
        let names = std::iter::once(queue).chain(above);
        let mut line: Vec<_> =
            names.filter_map(|name| Some((&**name, self.queues.get(name)?))).collect();
        line.reverse();
        line
    }
}

impl Sched {
    /// Whether an attempt may be asked to make room at all: its job allows it, its time is over,
    /// and nobody else has asked it.
    #[must_use]
    pub fn may_yield(&self, lease: &Lease, now: Millis) -> bool {
        let Some(job) = self.jobs.get(&lease.element.job) else { return false };
        let runs_for = job.brief.interrupt.runs_for();
        runs_for.is_some_and(|time| lease.granted.plus(time) <= now)
            && !matches!(lease.phase, Phase::Stopping { .. })
            && !self.ceding.contains_key(&lease.id)
            && lease.notice.is_none()
    }

    /// What an attempt has done since its last committed checkpoint, in GPU-milliseconds.
    #[must_use]
    pub fn unsaved_gpu_ms(&self, lease: &Lease, now: Millis) -> u64 {
        let Some(job) = self.jobs.get(&lease.element.job) else { return 0 };
        let position = job.position(lease.element).unwrap_or(0);
        let saved = job.elements.get(&position).and_then(|row: &ElementRow| row.newest_at);
        let since = saved.map_or(lease.granted, |saved| saved.max(lease.granted));
        now.minus(since).0.saturating_mul(job.brief.gang().gpus())
    }
}
