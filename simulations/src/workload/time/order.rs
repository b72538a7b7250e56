//! Who goes first: the published orders.

use super::{cluster::Cluster, state::State};

/// How gangs are given GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Any free GPUs, nodes are not looked at.
    Count,
    /// At each event all over again, first fit.
    Fresh,
    /// At each event all over again, where they were if all fit so; some move if not.
    Packed,
    /// What runs keeps its place until it ends.
    Fixed,
}

/// An order of service.
pub trait Order {
    /// How gangs are placed.
    fn fit(&self) -> Fit;
    /// A job came.
    fn arrived(&mut self, _state: &State<'_>, _job: usize) {}
    /// A job ended.
    fn completed(&mut self, _state: &State<'_>, _job: usize) {}
    /// Orders what is there; new jobs stand last, the others as they stood.
    fn arrange(&mut self, state: &State<'_>, active: &mut Vec<usize>);
    /// A job did not fit; those that follow may still be asked.
    fn blocked(&mut self, _state: &State<'_>, _cluster: &Cluster, _job: usize) {}
    /// Whether a job may go ahead of one that did not fit.
    fn may_pass(&self, _state: &State<'_>, _job: usize) -> bool {
        true
    }
    /// It is known who runs.
    fn placed(&mut self, _state: &State<'_>, _active: &[usize]) {}
    /// When the order changes by itself.
    fn timer(&self, _state: &State<'_>, _active: &[usize]) -> f64 {
        f64::INFINITY
    }
}

/// First come, first served; smaller ones pass what does not fit.
pub struct Fifo;

impl Order for Fifo {
    fn fit(&self) -> Fit {
        Fit::Fixed
    }

    fn arrange(&mut self, _: &State<'_>, _: &mut Vec<usize>) {}
}

/// Orders by one number.
pub struct By {
    key: fn(&State<'_>, usize) -> f64,
    fit: Fit,
}

impl By {
    /// Shortest job first, without stopping any.
    #[must_use]
    pub fn sjf() -> Self {
        Self { key: |state, job| state.estimate_s[job], fit: Fit::Fixed }
    }

    /// Shortest remaining time.
    #[must_use]
    pub fn srtf() -> Self {
        Self {
            key: |state, job| state.run[job].remaining_s + state.run[job].debt_s,
            fit: Fit::Fresh,
        }
    }

    /// Shortest remaining GPU time.
    #[must_use]
    pub fn srsf() -> Self {
        let key = |state: &State<'_>, job: usize| {
            (state.run[job].remaining_s + state.run[job].debt_s) * f64::from(state.jobs[job].gpus)
        };
        Self { key, fit: Fit::Fresh }
    }
}

impl Order for By {
    fn fit(&self) -> Fit {
        self.fit
    }

    fn arrange(&mut self, state: &State<'_>, active: &mut Vec<usize>) {
        // Stable: of equal ones, who stood first still does.
        active.sort_by(|a, b| (self.key)(state, *a).total_cmp(&(self.key)(state, *b)));
    }
}
