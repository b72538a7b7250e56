//! Our own order: the planner's rank, asked at each event.

use super::{
    order::{Fit, Order},
    state::State,
};
use scheduler::planner::order::{History, Patience, Standing, arrange, level, level_end};

/// What is known of how long jobs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: work is counted when it is seen.
    Nothing,
    /// An estimate of each.
    Estimates,
}

/// The planner's order.
pub struct Assay {
    known: Known,
    gpus: u32,
    patience: Patience,
    history: History,
    /// The level in which each job was seen last.
    levels: Vec<usize>,
}

impl Assay {
    /// For a cluster of so many GPUs.
    #[must_use]
    pub fn new(known: Known, gpus: u32) -> Self {
        Self {
            known,
            gpus,
            patience: Patience::default(),
            history: History::default(),
            levels: Vec::new(),
        }
    }

    fn standing(&self, state: &State<'_>, job: usize) -> Standing {
        let (trace, run) = (&state.jobs[job], &state.run[job]);
        let gpus = f64::from(trace.gpus);
        let estimate = state.estimate_s[job] * gpus;
        Standing {
            gpus: trace.gpus,
            attained: ms(run.executed_s * gpus),
            estimate: (self.known == Known::Estimates).then(|| ms(estimate)),
            waited_ms: ms(state.waited_s(job)),
            running: run.running,
            submitted_ms: ms(trace.submit_s),
        }
    }

    /// Seconds that a job may wait now before it goes first.
    #[must_use]
    pub fn patience_s(&self) -> f64 {
        self.patience.ms() as f64 / 1_000.0
    }

    /// When the first of those that wait has waited beyond patience; never, if one has already:
    /// the next has its turn when that one ends.
    fn overdue_at(&self, state: &State<'_>, active: &[usize]) -> f64 {
        let patience = self.patience_s();
        let waited = |job: &usize| state.waited_s(*job);
        if active.iter().any(|job| waited(job) > patience) {
            return f64::INFINITY;
        }
        let waiting = active.iter().filter(|job| !state.run[**job].running);
        let longest = waiting.map(waited).fold(f64::NEG_INFINITY, f64::max);
        // A millisecond beyond, which is what patience is counted in.
        state.now + (patience - longest) + 0.002
    }

    /// Notes which jobs went beyond their level.
    fn see(&mut self, state: &State<'_>, active: &[usize]) {
        self.levels.resize(state.jobs.len(), 0);
        for job in active.iter().filter(|job| state.run[**job].running) {
            let now = level(self.standing(state, *job).ran_ms());
            for passed in self.levels[*job]..now {
                self.history.passed(passed);
            }
            self.levels[*job] = now;
        }
    }
}

/// Whole milliseconds; what is below zero is none.
fn ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

impl Order for Assay {
    fn fit(&self) -> Fit {
        Fit::Packed
    }

    fn arrived(&mut self, state: &State<'_>, job: usize) {
        let gpus = state.jobs[job].gpus;
        if self.known == Known::Estimates {
            let work = ms(state.estimate_s[job] * f64::from(gpus));
            self.patience.arrived(ms(state.now), work, self.gpus);
        }
    }

    fn completed(&mut self, state: &State<'_>, job: usize) {
        self.history.ended(ms(state.run[job].executed_s));
        if self.known == Known::Nothing {
            let end = state.run[job].end_s.unwrap_or(state.now);
            self.patience.ended(ms(end - state.jobs[job].submit_s));
        }
    }

    fn arrange(&mut self, state: &State<'_>, active: &mut Vec<usize>) {
        self.see(state, active);
        let standings: Vec<Standing> =
            active.iter().map(|job| self.standing(state, *job)).collect();
        let places = arrange(&standings, &self.history, self.patience.ms());
        *active = places.into_iter().map(|at| active[at]).collect();
    }

    fn timer(&self, state: &State<'_>, active: &[usize]) -> f64 {
        let overdue = self.overdue_at(state, active);
        if self.known == Known::Estimates {
            return overdue;
        }
        // A level ends; only those that run move.
        let ends = active.iter().filter(|job| state.run[**job].running).map(|job| {
            let ran_ms = self.standing(state, *job).ran_ms();
            // Rounded up, so that the level has ended when the timer strikes.
            state.now + ((level_end(level(ran_ms)) - ran_ms) as f64 + 1.0) / 1_000.0
        });
        ends.fold(overdue, f64::min)
    }
}
