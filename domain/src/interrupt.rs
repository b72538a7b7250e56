//! How a running job is asked to make room: what it says beforehand, and the notice it is given.

use crate::{job::EndCause, limit, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Whether a job may be stopped so that another one can run.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Preemptible {
    /// It may: it goes on later from its last committed checkpoint.
    #[default]
    Yes,
    /// It never is.
    No,
}

/// What a job says of being interrupted. None of it decides its output.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Interrupt {
    /// Whether it may be preempted.
    pub preemptible: Preemptible,
    /// Time for which each of its attempts runs before it may be; none means [`limit::MIN_RUN`].
    pub min_run: Option<Millis>,
    /// Time before its time limit at which it is warned; none means a tenth of the limit, at most
    /// [`limit::WARN_MAX`].
    pub warn: Option<Millis>,
}

impl Interrupt {
    /// Time for which an attempt runs before it may be preempted; none when it never is.
    #[must_use]
    pub fn runs_for(&self) -> Option<Millis> {
        match self.preemptible {
            Preemptible::Yes => Some(self.min_run.unwrap_or(limit::MIN_RUN)),
            Preemptible::No => None,
        }
    }

    /// How long before a time limit its tasks are warned.
    #[must_use]
    pub fn warns(&self, limit: Millis) -> Millis {
        self.warn.unwrap_or(Millis((limit.0 / 10).min(limit::WARN_MAX.0))).min(limit)
    }
}

/// That an attempt is to end soon: it is to save what it has, and then to give its place up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Notice {
    /// What for: how the attempt ends if it heeds.
    pub cause: EndCause,
    /// When it was given, by the log's clock.
    pub since: Millis,
}

impl Notice {
    /// When the attempt is stopped however far it is, by the log's clock.
    #[must_use]
    pub fn until(&self) -> Millis {
        self.since.plus(limit::NOTICE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_warned_a_tenth_before_its_limit_unless_it_says_when() {
        let says = |warn| Interrupt { warn, ..Interrupt::default() };
        assert_eq!(says(None).warns(Millis(60_000)), Millis(6_000));
        assert_eq!(says(None).warns(Millis(1 << 40)), limit::WARN_MAX);
        assert_eq!(says(Some(Millis(9))).warns(Millis(60_000)), Millis(9));
        assert_eq!(says(Some(Millis(99))).warns(Millis(60)), Millis(60), "from its start on");
    }

    #[test]
    fn what_is_not_preemptible_has_no_time_after_which_it_is() {
        assert_eq!(Interrupt::default().runs_for(), Some(limit::MIN_RUN));
        let never = Interrupt { preemptible: Preemptible::No, ..Interrupt::default() };
        assert_eq!(never.runs_for(), None);
    }
}
