//! What became of the time of GPUs: the shares of the ledger, and what lists show of it.

use crate::{
    id::JobId,
    job::EndCause,
    unit::{LogIndex, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Milliseconds of a day. Days are counted from 1970-01-01, in UTC.
pub const DAY_MS: u64 = 86_400_000;

/// What became of time for which a job held GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Spent {
    /// It is in a result or in a committed checkpoint.
    Useful,
    /// Work since the last checkpoint that a fault of the job's own threw away.
    Rework,
    /// Work since the last checkpoint, up to the time at which the GPUs were free for the other.
    LostToPreemption,
    /// The same, where a node, a GPU or the network failed.
    LostToFaults,
    /// The same, where the user ended it.
    LostToCancel,
    /// Held before its tasks might start, while other nodes of the gang made ready.
    HeldIdle,
}

impl Spent {
    /// All, in the order in which they are stored.
    pub const ALL: [Self; 6] = [
        Self::Useful,
        Self::Rework,
        Self::LostToPreemption,
        Self::LostToFaults,
        Self::LostToCancel,
        Self::HeldIdle,
    ];

    /// What becomes of work since the last checkpoint of an attempt that ended so.
    #[must_use]
    pub fn after(cause: &EndCause) -> Self {
        match cause {
            // Its digest is known: that is what it ran for.
            EndCause::Checked => Self::Useful,
            EndCause::MadeRoom => Self::LostToPreemption,
            cause if cause.makes_way() => Self::LostToPreemption,
            EndCause::Cancelled | EndCause::Dependency { .. } => Self::LostToCancel,
            cause if cause.is_jobs_fault() => Self::Rework,
            _ => Self::LostToFaults,
        }
    }

    /// Its place among all.
    #[must_use]
    pub fn place(self) -> usize {
        self as usize
    }

    /// As lists name it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::Rework => "rework",
            Self::LostToPreemption => "lost to preemption",
            Self::LostToFaults => "lost to faults",
            Self::LostToCancel => "lost to cancel",
            Self::HeldIdle => "held idle",
        }
    }
}

/// GPU-milliseconds by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTime {
    /// As [`Spent::Useful`].
    pub useful_gpu_ms: u64,
    /// As [`Spent::Rework`].
    pub rework_gpu_ms: u64,
    /// As [`Spent::LostToPreemption`].
    pub lost_to_preemption_gpu_ms: u64,
    /// As [`Spent::LostToFaults`].
    pub lost_to_faults_gpu_ms: u64,
    /// As [`Spent::LostToCancel`].
    pub lost_to_cancel_gpu_ms: u64,
    /// As [`Spent::HeldIdle`].
    pub held_idle_gpu_ms: u64,
    /// Held since the last checkpoint by what still runs: what becomes of it is not known yet.
    pub running_gpu_ms: u64,
}

impl GpuTime {
    /// From what is stored.
    #[must_use]
    pub fn of(booked: &[u128; 6], running: u128) -> Self {
        let ms = |spent: Spent| u64::try_from(booked[spent.place()]).unwrap_or(u64::MAX);
        Self {
            useful_gpu_ms: ms(Spent::Useful),
            rework_gpu_ms: ms(Spent::Rework),
            lost_to_preemption_gpu_ms: ms(Spent::LostToPreemption),
            lost_to_faults_gpu_ms: ms(Spent::LostToFaults),
            lost_to_cancel_gpu_ms: ms(Spent::LostToCancel),
            held_idle_gpu_ms: ms(Spent::HeldIdle),
            running_gpu_ms: u64::try_from(running).unwrap_or(u64::MAX),
        }
    }

    /// One share of it.
    #[must_use]
    pub fn share(&self, spent: Spent) -> u64 {
        match spent {
            Spent::Useful => self.useful_gpu_ms,
            Spent::Rework => self.rework_gpu_ms,
            Spent::LostToPreemption => self.lost_to_preemption_gpu_ms,
            Spent::LostToFaults => self.lost_to_faults_gpu_ms,
            Spent::LostToCancel => self.lost_to_cancel_gpu_ms,
            Spent::HeldIdle => self.held_idle_gpu_ms,
        }
    }

    /// All of it.
    #[must_use]
    pub fn held(&self) -> u64 {
        let booked = Spent::ALL.iter().map(|spent| self.share(*spent));
        booked.fold(self.running_gpu_ms, u64::saturating_add)
    }

    /// What its owner owes for: not what preemption and faults took away.
    #[must_use]
    pub fn owed(&self) -> u64 {
        let lost = self.lost_to_preemption_gpu_ms.saturating_add(self.lost_to_faults_gpu_ms);
        self.held().saturating_sub(self.running_gpu_ms).saturating_sub(lost)
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            useful_gpu_ms: self.useful_gpu_ms.saturating_add(other.useful_gpu_ms),
            rework_gpu_ms: self.rework_gpu_ms.saturating_add(other.rework_gpu_ms),
            lost_to_preemption_gpu_ms: self
                .lost_to_preemption_gpu_ms
                .saturating_add(other.lost_to_preemption_gpu_ms),
            lost_to_faults_gpu_ms: self
                .lost_to_faults_gpu_ms
                .saturating_add(other.lost_to_faults_gpu_ms),
            lost_to_cancel_gpu_ms: self
                .lost_to_cancel_gpu_ms
                .saturating_add(other.lost_to_cancel_gpu_ms),
            held_idle_gpu_ms: self.held_idle_gpu_ms.saturating_add(other.held_idle_gpu_ms),
            running_gpu_ms: self.running_gpu_ms.saturating_add(other.running_gpu_ms),
        }
    }
}

/// One line of a list of GPU time; what the list does not tell apart is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLine {
    /// The queue at the root of the tree, which stands for a team.
    pub team: String,
    /// The queue.
    pub queue: String,
    /// Who submitted.
    pub user: String,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What became of its time.
    #[serde(flatten)]
    pub time: GpuTime,
}

/// GPU time over some days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// The first day.
    pub first_day: u64,
    /// The last one.
    pub last_day: u64,
    /// The log's clock, up to which the last day is told.
    pub now_ms: Millis,
    /// Milliseconds times GPUs that nodes in contact had, or that were held.
    pub wall_gpu_ms: u64,
    /// What nobody held of it.
    pub free_gpu_ms: u64,
    /// What of that was on nodes that take no work.
    pub out_of_service_gpu_ms: u64,
    /// What was held, over all queues and jobs, whatever `lines` shows. Of several pages the last
    /// one tells it.
    pub total: GpuTime,
    /// The lines.
    pub lines: Vec<UsageLine>,
    /// Where the next page begins, if there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<UsagePlace>,
    /// The newest entry that it tells of.
    pub log_index: LogIndex,
}

impl UsageView {
    /// Law 10, as far as whole days show it: what was held and what was free is what there was.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.total.held().checked_add(self.free_gpu_ms) == Some(self.wall_gpu_ms)
    }
}

/// A place in the list of jobs by day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePlace {
    /// The day.
    pub day: u64,
    /// The job: those after it follow.
    pub job: JobId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_stored_in_their_order() {
        for (place, spent) in Spent::ALL.into_iter().enumerate() {
            assert_eq!(spent.place(), place);
        }
        let time = GpuTime::of(&[1, 2, 4, 8, 16, 32], 64);
        assert_eq!((time.held(), time.owed()), (127, 51));
        assert_eq!(time.plus(&time).held(), 254);
        assert_eq!(time.share(Spent::LostToFaults), 8);
    }

    #[test]
    fn who_ended_an_attempt_says_whose_loss_it_is() {
        let by = crate::ElementId::from(JobId(2));
        assert_eq!(Spent::after(&EndCause::Preempted { by }), Spent::LostToPreemption);
        assert_eq!(Spent::after(&EndCause::NodeLost), Spent::LostToFaults);
        assert_eq!(Spent::after(&EndCause::TimeLimit), Spent::Rework);
        assert_eq!(Spent::after(&EndCause::Cancelled), Spent::LostToCancel);
    }
}
