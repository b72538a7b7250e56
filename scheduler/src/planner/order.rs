//! Who goes first among jobs that may be stopped: a rank from what is known of each.
//!
//! - With an estimate: least remaining GPU time, which is what each second of waiting is shared
//!   over. An estimate that a job has outlived is doubled until it holds again.
//! - Without one: least work for each job that ends, by what was seen so far (see `history`).
//! - Of those who have waited beyond patience, the oldest goes before all others; one at a time,
//!   as with the nodes that a pass keeps for one job. Nobody starves, and a burst that makes
//!   many overdue does not turn the order into one of arrival.

pub use crate::state::order::{History, Patience, level, level_end};

use crate::state::order::remaining;
use std::cmp::Reverse;

/// What the order looks at, of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// GPUs of the gang.
    pub gpus: u32,
    /// GPU-milliseconds it has had.
    pub attained: u64,
    /// GPU-milliseconds it is said to take in all.
    pub estimate: Option<u64>,
    /// Milliseconds since it came in which it did not run.
    pub waited_ms: u64,
    /// Whether it runs.
    pub running: bool,
    /// When it came, in milliseconds.
    pub submitted_ms: u64,
}

/// With an estimate, what runs goes before what waits unless that is shorter by one part in this.
/// A stop costs a start.
const STICKY_KNOWN: u64 = 32;
/// Without, unless that is shorter by half: levels of what was seen double, so less is not known.
const STICKY_UNKNOWN: u64 = 2;

impl Standing {
    /// Work before it counts as served; the least goes first.
    #[must_use]
    pub fn cost(&self, history: &History) -> u64 {
        let (rest, sticky) = match self.estimate {
            Some(estimate) => (remaining(self.attained, estimate), STICKY_KNOWN),
            None => (self.expected(history), STICKY_UNKNOWN),
        };
        if self.running { rest - rest / sticky } else { rest }
    }

    /// Work for each job that ends, of one that ran so long on so many GPUs. How long a job runs
    /// is learned from all, how many GPUs it holds meanwhile is known.
    fn expected(&self, history: &History) -> u64 {
        history.cost(self.ran_ms()).saturating_mul(u64::from(self.gpus.max(1)))
    }

    /// Milliseconds for which it has run.
    #[must_use]
    pub fn ran_ms(&self) -> u64 {
        self.attained / u64::from(self.gpus.max(1))
    }
}

/// The order in which jobs are served, as places in `jobs`.
#[must_use]
pub fn arrange(jobs: &[Standing], history: &History, patience_ms: u64) -> Vec<usize> {
    let overdue = |at: &usize| jobs[*at].waited_ms > patience_ms;
    let oldest = |at: &usize| (jobs[*at].submitted_ms, Reverse(jobs[*at].waited_ms), *at);
    let first = (0..jobs.len()).filter(overdue).min_by_key(oldest);
    let rank = |at: usize| {
        let job = &jobs[at];
        (first != Some(at), job.cost(history), !job.running, job.submitted_ms, at)
    };
    let mut ranks: Vec<_> = (0..jobs.len()).map(rank).collect();
    ranks.sort_unstable();
    ranks.into_iter().map(|(.., at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(attained: u64, estimate: Option<u64>) -> Standing {
        Standing { gpus: 1, attained, estimate, waited_ms: 0, running: false, submitted_ms: 5 }
    }

    fn order(jobs: &[Standing]) -> Vec<usize> {
        arrange(jobs, &History::default(), 9)
    }

    #[test]
    fn less_rest_goes_first_and_what_runs_is_not_stopped_for_little() {
        let running = Standing { running: true, ..job(0, Some(1_000)) };
        assert_eq!(order(&[running, job(0, Some(990)), job(0, Some(900))]), [2, 0, 1]);
        assert_eq!(remaining(1_500, 1_000), 500);
        assert_eq!(remaining(0, 0), 1);
    }

    #[test]
    fn without_estimates_who_had_least_goes_first() {
        assert_eq!(order(&[job(1 << 30, None), job(0, None), job(1 << 20, None)]), [1, 2, 0]);
    }

    #[test]
    fn of_those_who_waited_beyond_patience_the_oldest_goes_first() {
        let overdue = |submitted_ms| Standing { waited_ms: 10, submitted_ms, ..job(1 << 40, None) };
        assert_eq!(order(&[job(0, None), overdue(7), overdue(6)]), [2, 0, 1]);
    }
}
