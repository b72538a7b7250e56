//! What a job waits for beside room: other jobs, and a pause after a failure.

use crate::{id::JobId, job::EndCause, limit, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// How another job must have ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// With a sealed result of every element.
    Completed,
    /// In any way.
    Ended,
    /// Without a result of some element: failed or cancelled.
    Failed,
}

/// A job that has to end before this one starts.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct After {
    /// The job.
    pub job: JobId,
    /// How.
    pub when: When,
}

impl After {
    /// Whether it holds once the job has ended, with a result of every element or not.
    #[must_use]
    pub fn holds(self, completed: bool) -> bool {
        match self.when {
            When::Completed => completed,
            When::Ended => true,
            When::Failed => !completed,
        }
    }

    /// What is waited for, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self.when {
            When::Completed => "to complete",
            When::Ended => "to end",
            When::Failed => "to fail",
        }
    }
}

/// A failure of a job's own, after which it may be tried again.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// It ended with a code other than 0.
    ExitCode,
    /// A signal ended it.
    Signal,
    /// It wrote nothing, or changed what was being sealed.
    Output,
    /// It ran longer than its limit.
    TimeLimit,
    /// It could not be prepared.
    Prepare,
    /// It could not be sealed.
    Seal,
    /// It reached a limit of its sandbox: memory, processes or disk.
    Limit,
}

impl RetryOn {
    /// The kind of a cause, if that is the job's own.
    #[must_use]
    pub fn of(cause: &EndCause) -> Option<Self> {
        match cause {
            EndCause::ExitCode { .. } => Some(Self::ExitCode),
            EndCause::Signal { .. } => Some(Self::Signal),
            EndCause::NoOutput | EndCause::OutputChanged { .. } => Some(Self::Output),
            EndCause::TimeLimit => Some(Self::TimeLimit),
            EndCause::Prepare { .. } | EndCause::Sandbox { .. } | EndCause::Drift { .. } => {
                Some(Self::Prepare)
            }
            EndCause::OutOfMemory { .. }
            | EndCause::TooManyProcesses { .. }
            | EndCause::DiskQuota { .. } => Some(Self::Limit),
            EndCause::Seal { .. } => Some(Self::Seal),
            EndCause::DiskFull { .. }
            | EndCause::NodeLost
            | EndCause::LeaseExpired
            | EndCause::Cancelled
            | EndCause::Preempted { .. }
            | EndCause::BlobsLost
            | EndCause::GpuFault { .. }
            | EndCause::Dependency { .. }
            | EndCause::Checked
            | EndCause::Reserved { .. }
            | EndCause::Drained { .. }
            | EndCause::MadeRoom => None,
        }
    }
}

/// When a job is tried again after a failure of its own, beside how often.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RetryRule {
    /// The pause after the first failure; each further one is twice as long.
    pub backoff: Option<Millis>,
    /// After which failures; empty means after any.
    pub on: Vec<RetryOn>,
}

impl RetryRule {
    /// Whether it is tried again after a failure of its own.
    #[must_use]
    pub fn allows(&self, cause: &EndCause) -> bool {
        self.on.is_empty() || RetryOn::of(cause).is_some_and(|kind| self.on.contains(&kind))
    }

    /// The pause after a failure of its own, the `faults`th, counted from 1.
    #[must_use]
    pub fn pause(&self, faults: u32) -> Millis {
        let first = self.backoff.unwrap_or_default().0;
        let times = 1u64.checked_shl(faults.saturating_sub(1)).unwrap_or(u64::MAX);
        Millis(first.saturating_mul(times).min(limit::BACKOFF_MAX.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_with_each_failure_up_to_the_longest() {
        let rule = RetryRule { backoff: Some(Millis(30_000)), on: vec![RetryOn::Signal] };
        assert_eq!([1, 2, 3].map(|faults| rule.pause(faults).0), [30_000, 60_000, 120_000]);
        assert_eq!([40, 65, 1_000].map(|faults| rule.pause(faults)), [limit::BACKOFF_MAX; 3]);
        assert_eq!(RetryRule::default().pause(9), Millis(0));
        assert!(rule.allows(&EndCause::Signal { rank: 0, signal: 9 }));
        assert!(
            !rule.allows(&EndCause::TimeLimit) && RetryRule::default().allows(&EndCause::TimeLimit)
        );
    }

    #[test]
    fn a_condition_looks_at_how_the_other_job_ended() {
        let of = |when| After { job: JobId(1), when };
        let holds = |when| [true, false].map(|completed| of(when).holds(completed));
        assert_eq!(holds(When::Completed), [true, false]);
        assert_eq!(holds(When::Ended), [true, true]);
        assert_eq!(holds(When::Failed), [false, true]);
    }
}
