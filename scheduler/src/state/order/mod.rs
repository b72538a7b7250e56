//! What a queue that serves the shortest first knows of its jobs: how long they ran, and how long
//! any may wait.
//!
//! A job with an estimate counts as what is left of it, one without as what the queue's jobs took
//! so far (see `history`). Both are GPU-milliseconds, and the planner compares them
//! (`planner::order`).

mod history;

pub use history::{History, level, level_end};

use super::{
    key,
    row::Brief,
    sched::{Job, Sched},
    step::Step,
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{ElementId, Millis, lease::Lease, port::RowRead, queue::Order};
use std::sync::Arc;

/// What is known of the jobs of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Learned {
    /// How long they ran.
    pub history: History,
    /// How long any may wait.
    pub patience: Patience,
}

/// What is left of an estimate, which is doubled for as long as it was outlived.
#[must_use]
pub fn remaining(attained: u64, estimate: u64) -> u64 {
    let mut all = estimate.max(1);
    while all <= attained {
        all = all.saturating_mul(2);
        if all == u64::MAX {
            break;
        }
    }
    all.saturating_sub(attained)
}

/// How long a job may wait before it goes first.
///
/// A multiple of the longest wait that anyone had: with estimates, of the wait that jobs would have
/// had so far if they ran as they come, taken as a fluid; without, of the time for which any job
/// that ended was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Patience {
    backlog: u64,
    at_ms: u64,
    longest_ms: u64,
}

/// Times the longest wait. Who serves the short first lets the long wait longer than in order of
/// arrival; this is how much longer, before the order turns.
const TIMES: u64 = 4;

impl Patience {
    /// A job came that is said to take `work` GPU-milliseconds; there are `gpus`.
    pub fn arrived(&mut self, now_ms: u64, work: u64, gpus: u32) {
        let gpus = u64::from(gpus.max(1));
        let done = now_ms.saturating_sub(self.at_ms).saturating_mul(gpus);
        self.at_ms = self.at_ms.max(now_ms);
        self.backlog = self.backlog.saturating_sub(done);
        self.longest_ms = self.longest_ms.max(self.backlog / gpus);
        self.backlog = self.backlog.saturating_add(work);
    }

    /// A job ended that was there for so long; for jobs of which nothing is said.
    pub fn ended(&mut self, there_ms: u64) {
        self.longest_ms = self.longest_ms.max(there_ms);
    }

    /// The longest that a job may wait now.
    #[must_use]
    pub fn ms(&self) -> u64 {
        self.longest_ms.saturating_mul(TIMES)
    }
}

/// What a job without an estimate counts as that has run to a level. How long a job runs is
/// learned from all, how many GPUs it holds meanwhile is known.
#[must_use]
pub fn learned_cost(history: &History, level: u8, gpus: u64) -> u64 {
    history.cost_of(level.into()).saturating_mul(gpus.max(1))
}

impl Job {
    /// GPUs by which its running time counts; one where it has none.
    fn breadth(&self) -> u64 {
        self.brief.gang().gpus().max(1)
    }

    /// Time for which it has run in its queue's order. The elements of an array are taken as new,
    /// each of them.
    #[must_use]
    pub fn ran(&self) -> Millis {
        match self.brief.array {
            Some(_) => Millis(0),
            None => self.elements.get(&0).map_or(Millis(0), |row| row.later.ran),
        }
    }

    /// What is left of its estimate, in GPU-milliseconds; nothing without one, or by age.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        let estimate = self.brief.estimate().filter(|_| self.brief.order == Order::Shortest)?;
        let gpus = self.breadth();
        let attained = self.ran().0.saturating_mul(gpus);
        Some(remaining(attained, estimate.0.saturating_mul(gpus)))
    }

    /// The level that it has run to, where its queue goes by what it knows of levels.
    #[must_use]
    pub fn level(&self) -> Option<u8> {
        let learns = self.brief.order == Order::Shortest && self.brief.estimate().is_none();
        // There are fewer levels than that.
        learns.then(|| level(self.ran().0) as u8)
    }

    /// What it counts as where the shortest goes first.
    #[must_use]
    pub fn cost(&self, history: &History) -> u64 {
        let learned = |level: u8| learned_cost(history, level, self.breadth());
        self.left().or_else(|| self.level().map(learned)).unwrap_or_default()
    }
}

impl Sched {
    /// The order of a queue.
    #[must_use]
    pub fn order_of(&self, queue: &str) -> Order {
        let learned = self.queues.get(queue).and_then(|queue| queue.learned.as_ref());
        if learned.is_some() { Order::Shortest } else { Order::Age }
    }

    /// What a queue knows, to be changed and written at the end of the entry.
    fn learn(&mut self, queue: &Arc<str>) -> Option<&mut Learned> {
        let learned = self.queues.get_mut(queue)?.learned.as_deref_mut()?;
        self.learning.insert(queue.clone());
        Some(learned)
    }

    /// A job came.
    pub(super) fn learn_arrival(&mut self, job: &Brief) {
        let Some(estimate) = job.estimate() else { return };
        let gpus = self.account.gpus.held + self.account.gpus.free;
        let each = estimate.0.saturating_mul(job.gang().gpus().max(1));
        let work = each.saturating_mul(job.elements().into());
        let Some(learned) = self.learn(&job.queue) else { return };
        learned.patience.arrived(job.time.0, work, u32::try_from(gpus).unwrap_or(u32::MAX));
    }

    /// An attempt is over, with a result or without.
    pub(super) fn learn_run(&mut self, lease: &Lease, now: Millis, completed: bool) {
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let queue = job.brief.queue.clone();
        if job.brief.check.is_some() || self.order_of(&queue) == Order::Age {
            return;
        }
        let Some((before, after)) = self.add_run(lease.element, now.minus(lease.granted)) else {
            return;
        };
        if let Some(learned) = self.learn(&queue) {
            learned.history.ran(before.0, after.0, completed);
        }
    }

    /// Counts the running time of an element: what it was, and what it is now.
    fn add_run(&mut self, element: ElementId, ran: Millis) -> Option<(Millis, Millis)> {
        let job = self.jobs.get_mut(&element.job)?;
        let position = job.position(element)?;
        let row = job.elements.get_mut(&position)?;
        let before = row.later.ran;
        row.later.ran = before.plus(ran);
        Some((before, row.later.ran))
    }

    /// A job has ended. What was cancelled or failed tells nothing of how long others wait.
    pub(super) fn learn_end(&mut self, ended: &Job, now: Millis) {
        let (job, progress) = (&ended.brief, &ended.progress);
        let completed = progress.failed == 0 && progress.cancelled == 0;
        if job.estimate().is_some() || job.check.is_some() || !completed {
            return;
        }
        if let Some(learned) = self.learn(&job.queue) {
            learned.patience.ended(now.minus(job.time).0);
        }
    }

    /// Writes what queues have learned, where it has changed.
    pub(super) fn write_learned<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        for name in std::mem::take(&mut self.learning) {
            let queue = self.queues.get(&name);
            if let Some(learned) = queue.and_then(|queue| queue.learned.as_deref()) {
                step.rows.put(key::learned(&name), learned);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_a_multiple_of_the_longest_wait_in_order_of_arrival() {
        let mut patience = Patience::default();
        patience.arrived(0, 1_000, 2);
        patience.arrived(100, 1_000, 2);
        assert_eq!(patience.ms(), 400 * TIMES);
        patience.arrived(10_000, 1, 2);
        assert_eq!(patience.ms(), 400 * TIMES);
    }
}
