//! The rows of the ledger of GPU time.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{Millis, gpu_time::Spent};

/// GPU-milliseconds by what became of them, in the order of [`Spent::ALL`].
pub type Booked = [u128; Spent::ALL.len()];

/// All that was ever booked.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TotalRow {
    /// Up to when `wall` and `free` are counted.
    pub at: Millis,
    /// Milliseconds times GPUs that were there.
    pub wall: u128,
    /// What nobody held of it.
    pub free: u128,
    /// What of that was on nodes that take no work.
    pub out: u128,
    /// What was held and is no more, or is in a checkpoint.
    pub booked: Booked,
    /// Of days before this one no row is left but that of their sum.
    pub folded: u64,
}

/// What there was on one day. Day 0 is the sum of all that are no longer told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DayRow {
    /// As in [`TotalRow`].
    pub wall: u128,
    /// As in [`TotalRow`].
    pub free: u128,
    /// As in [`TotalRow`].
    pub out: u128,
    /// Owners of that day's time.
    pub owners: u32,
}

/// Whose time it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Owner {
    /// The queue at the root of the tree when it was booked.
    pub team: String,
    /// The queue.
    pub queue: String,
    /// Who submitted.
    pub user: String,
}

impl Owner {
    /// Whoever is one too many for one day.
    pub fn others() -> Self {
        let other = || "(others)".to_owned();
        Self { team: other(), queue: other(), user: other() }
    }
}

/// What an owner, or a job, used on one day.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UsedRow {
    /// Whose it is.
    pub owner: Owner,
    /// What became of it.
    pub booked: Booked,
}

/// What a live lease, or an open ticket, holds or held and may yet be booked otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenRow {
    /// GPUs.
    pub gpus: u64,
    /// From when on it is not booked; under a ticket, from when on it is in no checkpoint.
    pub from: Millis,
    /// Whether its tasks may run.
    pub started: bool,
    /// When the attempt ended, once only the ticket is left.
    pub until: Option<Millis>,
}
