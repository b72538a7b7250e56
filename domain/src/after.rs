//! What a job waits for beside room: other jobs, and a pause after a failure.

use crate::{id::JobId, job::EndCause, limit, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Each with its word.
    pub const WORDS: [(&str, Self); 7] = [
        ("exit_code", Self::ExitCode),
        ("signal", Self::Signal),
        ("output", Self::Output),
        ("time_limit", Self::TimeLimit),
        ("prepare", Self::Prepare),
        ("seal", Self::Seal),
        ("limit", Self::Limit),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ExitCode => "exit_code",
            Self::Signal => "signal",
            Self::Output => "output",
            Self::TimeLimit => "time_limit",
            Self::Prepare => "prepare",
            Self::Seal => "seal",
            Self::Limit => "limit",
        }
    }

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

/// How many failures of each kind one element may have and still be tried again. What is not named
/// has no bound of its own.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RetryMax {
    /// Failures of its own, each of which counts against the job's `retries` as well.
    #[serde(flatten)]
    pub own: BTreeMap<RetryOn, u32>,
    /// Faults of nodes: lost, out of contact, with a full disk or a sick GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
}

impl RetryMax {
    /// The word for faults of nodes.
    pub const NODE: &str = "node";

    /// The words of all that may be bounded.
    pub const WORDS: [&str; 8] = [
        RetryOn::WORDS[0].0,
        RetryOn::WORDS[1].0,
        RetryOn::WORDS[2].0,
        RetryOn::WORDS[3].0,
        RetryOn::WORDS[4].0,
        RetryOn::WORDS[5].0,
        RetryOn::WORDS[6].0,
        Self::NODE,
    ];

    /// How often the job is tried again in all, where nobody says so: as often as its own kinds
    /// allow together.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.own.values().fold(0, |sum: u32, most| sum.saturating_add(*most))
    }

    /// This over another: what this one says holds, the other fills the rest.
    #[must_use]
    pub fn over(mut self, base: Self) -> Self {
        for (kind, most) in base.own {
            self.own.entry(kind).or_insert(most);
        }
        Self { node: self.node.or(base.node), ..self }
    }

    /// Whether it bounds nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.own.is_empty() && self.node.is_none()
    }

    /// Each bound with its word.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        let own = self.own.iter().map(|(kind, most)| (kind.word(), *most));
        own.chain(self.node.map(|most| (Self::NODE, most)))
    }

    /// Sets a bound by its word; false where there is no such word.
    #[must_use]
    pub fn set(&mut self, word: &str, most: u32) -> bool {
        if word == Self::NODE {
            self.node = Some(most);
            return true;
        }
        let kind = RetryOn::WORDS.iter().find(|(known, _)| *known == word);
        kind.map(|(_, kind)| self.own.insert(*kind, most)).is_some()
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
    /// How often after each. Stored beside the specification ([`crate::job::Further`]).
    #[borsh(skip)]
    #[serde(default, skip_serializing_if = "RetryMax::is_default")]
    pub max: RetryMax,
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
        let rule = RetryRule {
            backoff: Some(Millis(30_000)),
            on: vec![RetryOn::Signal],
            ..RetryRule::default()
        };
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
