//! What is likely to come: the planner run forward in virtual time on a fork of the live set.
//!
//! A walk starts from a fork ([`crate::state::fork`]), lets attempts end when they are taken to
//! end, and plans after each event with the very planner, until its horizon. Several scenarios are
//! gone through, each with run times of its own; what they have in common is what is said. All of
//! it is a function of the fork, of what has ended before, and of the change that is tried out:
//! nothing is drawn but from the digest of the view.

mod calibration;
mod change;
mod compare;
mod looks;
mod reports;
mod run_time;
mod start;
mod walk;

#[cfg(test)]
mod foresee_test;

pub use change::{Changes, Quota};
pub use compare::{start_if_submitted, whatif};
pub use run_time::{RunTimes, SCENARIOS, Scenario};
pub use walk::{Bounds, Evicted, GivenUp, Start, Used, Walked};

use crate::state::{command::Refusal, fork::Fork, view::View};
use domain::{
    JobId, Millis,
    foresee::{Basis, CalibrationView, StartsHeld},
};
use std::collections::BTreeSet;

/// Jobs that a fork takes along beside those that run.
pub const JOBS_MAX: usize = 10_000;
/// Ended jobs that are looked at for how long their like run.
pub const HISTORY_JOBS_MAX: usize = 1_000;
/// How far it is looked ahead where nobody says.
pub const HORIZON: Millis = Millis(24 * 3_600_000);
/// How far it is looked ahead at most.
pub const HORIZON_MAX: Millis = Millis(31 * 24 * 3_600_000);
/// What all walks of one look may cost. Unit: twentieths of a millisecond, as measured on one core
/// of 2026; three seconds.
const COST_MAX: u64 = 60_000;
/// Events of one walk: at most, and on a cluster of any size.
const STEPS: (u64, u64) = (4_000, 50);

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// From here on.
    pub now: Millis,
    /// So far.
    pub horizon: Millis,
    /// Whether it ends as soon as nothing waits.
    pub while_waiting: bool,
}

/// What is likely to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foresight {
    /// From here on.
    pub now: Millis,
    /// Up to here.
    pub until: Millis,
    /// What it rests on.
    pub basis: Basis,
    /// One for each scenario.
    pub walks: Vec<Walked>,
    /// The job that was tried out.
    pub submitted: Option<JobId>,
    /// Waiting jobs that were not looked at.
    pub left_out: u64,
    /// How often run times fell within what was to be expected.
    pub calibration: Option<CalibrationView>,
    /// How often what was foreseen of starts held.
    pub starts_held: Option<StartsHeld>,
    /// Jobs that a user keeps from starting.
    held: BTreeSet<JobId>,
    /// Jobs that a policy has not decided on.
    gated: BTreeSet<JobId>,
    /// All that were looked at.
    jobs: BTreeSet<JobId>,
}

/// Why nothing is foreseen.
#[derive(Debug, PartialEq, Eq)]
pub enum Unforeseen {
    /// The change cannot be.
    Refused(Refusal),
    /// Nobody wants it any more.
    GivenUp,
}

impl From<Refusal> for Unforeseen {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Goes through the scenarios.
///
/// # Errors
/// When the change cannot be, or `goes_on` says that nobody wants it any more.
pub fn foresee(
    fork: &Fork,
    changes: &Changes,
    known: &RunTimes,
    course: Course,
    goes_on: &dyn Fn() -> bool,
) -> Result<Foresight, Unforeseen> {
    let mut first = fork.clone();
    let begun = changes.begin(&mut first, course.now)?;
    let view = first.view();
    let of_history = view.all_live_jobs().any(|(_, job)| !known.like(&job.brief).is_empty());
    let basis = if of_history { Basis::History } else { Basis::TimeLimits };
    let until = course.now.plus(course.horizon.min(HORIZON_MAX));
    let (count, steps) = effort(&view, of_history);
    let Course { now: from, while_waiting, .. } = course;
    let bounds = Bounds { from, until, steps, while_waiting };
    let jobs = view.all_live_jobs();
    let held = jobs.filter(|(_, job)| job.progress.held).map(|(id, _)| id).collect();
    let gated = view.all_live_jobs().map(|(id, _)| id).filter(|id| view.is_gated(*id)).collect();
    let jobs = view.all_live_jobs().map(|(id, _)| id).collect();
    let walk = |number| {
        let scenario = Scenario { number, of: count, seed: fork.origin() };
        let walk = walk::Walk::new(first.clone(), begun.later.clone(), scenario, known, bounds);
        walk.finish(goes_on).map_err(|GivenUp| Unforeseen::GivenUp)
    };
    let walks = (0..count).map(walk).collect::<Result<Vec<_>, _>>()?;
    let (submitted, left_out, now) = (begun.submitted, fork.left_out(), course.now);
    Ok(Foresight {
        now,
        until,
        basis,
        walks,
        submitted,
        left_out,
        calibration: known.held,
        starts_held: known.starts,
        held,
        gated,
        jobs,
    })
}

/// How many scenarios, of how many events: as many scenarios as there are times enough to go
/// through in each all that is known to come. Of time limits there is but one.
fn effort(view: &View<'_>, of_history: bool) -> (u32, u64) {
    let nodes = view.all_nodes().count() as u64;
    // A plan looks at each node, and where a gang has waited for long, at each again for a part
    // of the leases.
    let step = 4 + nodes * (nodes + 200) / 4_000;
    let steps = COST_MAX / step;
    let waiting = view.all_live_jobs().map(|(_, job)| job.progress.waiting(job.brief.elements()));
    let events = view.all_leases().count() as u64 + waiting.map(u64::from).sum::<u64>();
    let fits = |count: &u32| u64::from(*count) * events <= steps;
    let least = SCENARIOS[SCENARIOS.len() - 1];
    let count = if of_history { SCENARIOS.into_iter().find(fits).unwrap_or(least) } else { 1 };
    (count, (steps / u64::from(count)).clamp(STEPS.1, STEPS.0))
}
