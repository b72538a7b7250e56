//! Makes a recorded plan again, and says where it parts from the record.

use super::{POLICY_VERSION, Plan, plan};
use crate::state::{command::PlanRecord, preemption::PreemptRecord, view::View};
use domain::{Digest, LogIndex, Millis};

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

/// What makes a decision again: all that is on record of it but what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The applied index of the view that it was made on.
    pub base: LogIndex,
    /// The `now` that the planner was given.
    pub now: Millis,
    /// The budget that the planner was given.
    pub budget_steps: u64,
    /// Version of the policy.
    pub policy_version: u32,
    /// Digest of the view.
    pub view: Digest,
    /// Digest of the decision.
    pub plan: Digest,
}

impl From<&PlanRecord> for Recorded {
    fn from(record: &PlanRecord) -> Self {
        let &PlanRecord { base, now, budget_steps, policy_version, view, plan, .. } = record;
        Self { base, now, budget_steps, policy_version, view, plan }
    }
}

impl From<&PreemptRecord> for Recorded {
    fn from(record: &PreemptRecord) -> Self {
        let &PreemptRecord { base, now, budget_steps, policy_version, view, plan, .. } = record;
        Self { base, now, budget_steps, policy_version, view, plan }
    }
}

/// Plans again what a record's plan was made of: on the same view, by the same rules.
///
/// # Errors
/// When view or rules are others.
pub fn remake(view: &View<'_>, record: &Recorded) -> Result<Plan, ReplayFault> {
    let base = record.base;
    if view.applied() != base {
        return Err(ReplayFault::Base { recorded: base, shown: view.applied() });
    }
    if view.digest() != record.view {
        return Err(ReplayFault::View { base, recorded: record.view, shown: view.digest() });
    }
    if record.policy_version != POLICY_VERSION {
        let recorded = record.policy_version;
        return Err(ReplayFault::Policy { recorded, known: POLICY_VERSION });
    }
    Ok(plan(view, record.now, record.budget_steps))
}

/// Makes a plan again from what is on record of it, and compares, byte for byte.
///
/// Source: rulings, 12; law `planner_replays`.
///
/// # Errors
/// The first thing that differs, with both values.
pub fn replay(view: &View<'_>, record: &PlanRecord) -> Result<Plan, ReplayFault> {
    let made = remake(view, &record.into())?;
    if made.record != *record {
        let (base, recorded) = (record.base, record.plan);
        return Err(ReplayFault::Plan { base, recorded, made: made.record.plan });
    }
    Ok(made)
}

/// Plans a preemption again from what is on record of it, and compares.
///
/// # Errors
/// The first thing that differs, with both values.
pub fn replay_preemption(view: &View<'_>, record: &PreemptRecord) -> Result<(), ReplayFault> {
    let made = remake(view, &record.into())?.preempt;
    let digest = made.as_ref().map_or(Digest::default(), |made| made.plan);
    if made.as_ref() != Some(record) {
        let (base, recorded) = (record.base, record.plan);
        return Err(ReplayFault::Plan { base, recorded, made: digest });
    }
    Ok(())
}
