//! Makes a recorded plan again, and says where it parts from the record.

use super::{POLICY_VERSION, Plan, plan};
use crate::state::{command::PlanRecord, preemption::PreemptRecord, view::View};
use domain::{Digest, LogIndex};

/// Why a recorded plan could not be made again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayFault {
    /// The view is of another time.
    #[error(
        "plan on entry {recorded} cannot be made on entry {shown}; load the rows as of entry {recorded}"
    )]
    Base {
        /// The entry that the plan was made on.
        recorded: LogIndex,
        /// The entry of the view.
        shown: LogIndex,
    },
    /// The view shows other rows.
    #[error(
        "at entry {base} the rows give {shown}, the plan saw {recorded}; one of them was changed"
    )]
    View {
        /// The entry.
        base: LogIndex,
        /// What the plan saw.
        recorded: Digest,
        /// What the view shows.
        shown: Digest,
    },
    /// Made by other rules.
    #[error(
        "the plan follows policy {recorded}, this release has policy {known}; use the release that made it"
    )]
    Policy {
        /// The plan's.
        recorded: u32,
        /// This release's.
        known: u32,
    },
    /// The same rules give something else.
    #[error(
        "on entry {base} the planner gives {made}, the record holds {recorded}; the leader did not plan by the rules"
    )]
    Plan {
        /// The entry.
        base: LogIndex,
        /// What is on record.
        recorded: Digest,
        /// What the planner gives.
        made: Digest,
    },
}

/// Makes a plan again from what is on record of it, and compares, byte for byte.
///
/// Source: rulings, 12; law `planner_replays`.
///
/// # Errors
/// The first thing that differs, with both values.
pub fn replay(view: &View<'_>, record: &PlanRecord) -> Result<Plan, ReplayFault> {
    let base = record.base;
    matches(view, base, record.view, record.policy_version)?;
    let made = plan(view, record.now, record.budget_steps);
    if made.record != *record {
        return Err(ReplayFault::Plan { base, recorded: record.plan, made: made.record.plan });
    }
    Ok(made)
}

/// Plans a preemption again from what is on record of it, and compares.
///
/// # Errors
/// The first thing that differs, with both values.
pub fn replay_preemption(view: &View<'_>, record: &PreemptRecord) -> Result<(), ReplayFault> {
    let base = record.base;
    matches(view, base, record.view, record.policy_version)?;
    let made = plan(view, record.now, record.budget_steps).preempt;
    let digest = made.as_ref().map_or(Digest::default(), |made| made.plan);
    if made.as_ref() != Some(record) {
        return Err(ReplayFault::Plan { base, recorded: record.plan, made: digest });
    }
    Ok(())
}

/// Whether a record was made on what `view` shows, by the rules that we know.
fn matches(
    view: &View<'_>,
    base: LogIndex,
    recorded: Digest,
    policy: u32,
) -> Result<(), ReplayFault> {
    if view.applied() != base {
        return Err(ReplayFault::Base { recorded: base, shown: view.applied() });
    }
    if view.digest() != recorded {
        return Err(ReplayFault::View { base, recorded, shown: view.digest() });
    }
    if policy != POLICY_VERSION {
        return Err(ReplayFault::Policy { recorded: policy, known: POLICY_VERSION });
    }
    Ok(())
}
