//! Preemptions that are under way, and who could be asked to make room.

use super::View;
use crate::state::{claim::Claims, preemption::PreemptionRow, sched::Job};
use domain::{JobId, LeaseId, Millis, lease::Lease, limit};

impl<'a> View<'a> {
    /// Preemptions that are under way, by the job that room is made for.
    pub fn preemptions(&self) -> impl Iterator<Item = (JobId, &'a PreemptionRow)> + use<'a> {
        self.sched.preemptions.iter().map(|(id, row)| (*id, row))
    }

    /// The preemption that makes room for a job.
    #[must_use]
    pub fn preemption(&self, id: JobId) -> Option<&'a PreemptionRow> {
        self.sched.preemptions.get(&id)
    }

    /// Whether another preemption may begin.
    #[must_use]
    pub fn may_preempt(&self) -> bool {
        self.sched.preemptions.len() < limit::PREEMPTIONS_MAX
    }

    /// Whether an attempt makes room for somebody.
    #[must_use]
    pub fn is_ceding(&self, id: LeaseId) -> bool {
        self.sched.ceding.contains_key(&id)
    }

    /// Whether an attempt may be asked to make room at all.
    #[must_use]
    pub fn may_yield(&self, lease: &Lease, now: Millis) -> bool {
        self.sched.may_yield(lease, now)
    }

    /// What an attempt has done since its last committed checkpoint, in GPU-milliseconds.
    #[must_use]
    pub fn unsaved_gpu_ms(&self, lease: &Lease, now: Millis) -> u64 {
        self.sched.unsaved_gpu_ms(lease, now)
    }

    /// The claims of a job's gang.
    #[must_use]
    pub fn claims(&self, gang: &'a Job) -> Claims<'a> {
        Claims::new(self.sched, &gang.brief)
    }
}
