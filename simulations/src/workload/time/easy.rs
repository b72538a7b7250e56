//! First come, first served with EASY backfill: nobody may delay the head of the queue.

use super::{
    cluster::Cluster,
    order::{Fit, Order},
    state::State,
};

/// The reservation of the head.
#[derive(Default)]
pub struct Easy {
    head: Option<Reservation>,
}

struct Reservation {
    /// When the head can start, by what is said of those that run.
    at_s: f64,
    /// GPUs that it leaves over then.
    spare: u32,
}

impl Order for Easy {
    fn fit(&self) -> Fit {
        Fit::Fixed
    }

    fn arrange(&mut self, _: &State<'_>, _: &mut Vec<usize>) {
        self.head = None;
    }

    fn blocked(&mut self, state: &State<'_>, cluster: &Cluster, job: usize) {
        if self.head.is_some() {
            return;
        }
        let ends = |job: usize| {
            let run = &state.run[job];
            state.now + (state.estimate_s[job] - run.executed_s).max(0.0)
        };
        let mut running: Vec<usize> =
            (0..state.run.len()).filter(|job| state.run[*job].running).collect();
        running.sort_by(|a, b| ends(*a).total_cmp(&ends(*b)));
        let mut later = cluster.clone();
        for other in running {
            later.release(&state.run[other].place);
            let mut trial = later.clone();
            if trial.first_fit(state.jobs[job].gpus).is_some() {
                self.head = Some(Reservation { at_s: ends(other), spare: trial.left() });
                return;
            }
        }
        self.head = Some(Reservation { at_s: f64::INFINITY, spare: 0 });
    }

    fn may_pass(&self, state: &State<'_>, job: usize) -> bool {
        self.head.as_ref().is_none_or(|head| {
            state.now + state.estimate_s[job] <= head.at_s || state.jobs[job].gpus <= head.spare
        })
    }
}
