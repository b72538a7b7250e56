//! Tiresias-L: least attained service in three queues, by GPU time.

use super::{
    order::{Fit, Order},
    state::State,
};

/// GPU-seconds at which a job leaves the first and the second queue. Source: Muri's simulator.
const LIMITS_GPU_S: [f64; 2] = [3_250.0, 7_200.0];
/// Rounding of sums of seconds. A timer that is nearer than this has struck.
const HAIR_S: f64 = 1e-6;

/// The queues, each in the order in which it is served.
#[derive(Default)]
pub struct Las {
    queues: [Vec<usize>; LIMITS_GPU_S.len() + 1],
}

impl Las {
    /// Seconds of running after which a job leaves queue `level`, which is rounded up.
    fn leaves_at(state: &State<'_>, job: usize, level: usize) -> f64 {
        (LIMITS_GPU_S[level] / f64::from(state.jobs[job].gpus)).ceil()
    }

    /// Whether a job has had what its queue gives.
    fn is_due(state: &State<'_>, job: usize, level: usize) -> bool {
        let run = &state.run[job];
        let attained = run.executed_s * f64::from(state.jobs[job].gpus);
        // The timer is rounded up, the sum of seconds may be a hair short of it.
        attained >= LIMITS_GPU_S[level]
            || run.executed_s >= Self::leaves_at(state, job, level) - HAIR_S
    }

    fn demote(&mut self, state: &State<'_>) {
        // From the last queue up, so that one event moves a job by one queue.
        for level in (0..LIMITS_GPU_S.len()).rev() {
            let leaves = |job: &usize| state.run[*job].running && Self::is_due(state, *job, level);
            let moved: Vec<usize> =
                self.queues[level].iter().copied().filter(|job| leaves(job)).collect();
            if !moved.is_empty() {
                self.queues[level].retain(|job| !leaves(job));
                self.queues[level + 1].extend(moved);
            }
        }
    }
}

impl Order for Las {
    fn fit(&self) -> Fit {
        Fit::Count
    }

    fn arrived(&mut self, _: &State<'_>, job: usize) {
        self.queues[0].push(job);
    }

    fn completed(&mut self, _: &State<'_>, job: usize) {
        for queue in &mut self.queues {
            queue.retain(|other| *other != job);
        }
    }

    fn arrange(&mut self, state: &State<'_>, active: &mut Vec<usize>) {
        self.demote(state);
        active.clear();
        active.extend(self.queues.iter().flatten());
    }

    fn placed(&mut self, state: &State<'_>, _: &[usize]) {
        // In each queue, what runs stands before what waits.
        for queue in &mut self.queues {
            queue.sort_by_key(|job| !state.run[*job].running);
        }
    }

    fn timer(&self, state: &State<'_>, _: &[usize]) -> f64 {
        let mut next = f64::INFINITY;
        for level in 0..LIMITS_GPU_S.len() {
            for job in self.queues[level].iter().take_while(|job| state.run[**job].running) {
                let left = Self::leaves_at(state, *job, level) - state.run[*job].executed_s;
                next = next.min(state.now + left.max(0.0));
            }
        }
        next
    }
}
