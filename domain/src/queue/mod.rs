//! Queues: where jobs wait, and how much of the cluster each may hold.

mod check;
pub mod class;
mod diff;
mod order;
pub mod view;

pub use check::ConfigError;
pub use class::{Priority, PriorityClasses};
pub use diff::{Change, changes};
pub use order::{Order, Orders};

use crate::{
    check::{AcceptanceConfig, Verify},
    isolation::Isolation,
    retain::Retain,
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The queue of a job that names none. It always exists.
pub const DEFAULT: &str = "default";
/// GPU-milliseconds of one GPU-hour.
pub const GPU_HOUR_MS: u128 = 3_600_000;
/// Percent of a budget from which on its queue is warned.
pub const BUDGET_WARN_PERCENT: u128 = 80;
/// Time after which use counts half, where the configuration does not say.
/// Source: Slurm's `PriorityDecayHalfLife`, seven days.
pub const HALF_LIFE: Millis = Millis(7 * 24 * 3_600_000);

/// One queue, as an operator sets it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct QueueSpec {
    /// The queue whose share it has a part of; none for one at the top.
    pub parent: Option<String>,
    /// Its part of what is beyond guarantees, beside its siblings' weights.
    pub weight: u32,
    /// GPUs that it has before all who are above their own guarantee.
    pub guaranteed_gpus: u64,
    /// GPUs that it may hold beyond its guarantee; none means as many as are free.
    pub borrow_gpus_max: Option<u64>,
    /// GPUs that one user may hold in it.
    pub user_gpus_max: Option<u64>,
    /// Elements that one user may have running in it.
    pub user_running_max: Option<u32>,
    /// The highest priority that its jobs may have.
    pub priority_max: Option<i32>,
    /// GPU-hours after which nothing new starts.
    pub budget_gpu_hours: Option<u64>,
    /// Time after which the budget is whole again, counted from 1970-01-01; none means never.
    pub budget_period: Option<Millis>,
    /// The least isolation of its jobs, and of those in queues that are a part of it.
    #[serde(default)]
    pub isolation: Isolation,
    /// What part of its jobs' work is run again elsewhere, where they do not say themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// How long the files of its jobs' results are kept, where neither they nor a queue between
    /// say; none leaves it to the queue above, and without end where none says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            parent: None,
            weight: 1,
            guaranteed_gpus: 0,
            borrow_gpus_max: None,
            user_gpus_max: None,
            user_running_max: None,
            priority_max: None,
            budget_gpu_hours: None,
            budget_period: None,
            isolation: Isolation::None,
            verify: None,
            retain: None,
        }
    }
}

impl QueueSpec {
    /// GPUs that it may hold at most.
    #[must_use]
    pub fn gpus_max(&self) -> Option<u64> {
        self.borrow_gpus_max.map(|borrow| borrow.saturating_add(self.guaranteed_gpus))
    }

    /// Whether a user's share of it is bounded.
    #[must_use]
    pub fn bounds_users(&self) -> bool {
        self.user_gpus_max.is_some() || self.user_running_max.is_some()
    }

    /// The budget in GPU-milliseconds.
    #[must_use]
    pub fn budget_ms(&self) -> Option<u128> {
        self.budget_gpu_hours.map(|hours| u128::from(hours) * GPU_HOUR_MS)
    }

    /// The number of the period that `now` is in.
    #[must_use]
    pub fn period(&self, now: Millis) -> u64 {
        self.budget_period.map_or(0, |period| now.0 / period.0.max(1))
    }
}

/// All that an operator sets, as one document.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// Time after which what was used counts half; zero means that only what is held counts.
    pub half_life: Millis,
    /// The queues by name.
    pub queues: BTreeMap<String, QueueSpec>,
    /// How GPUs come out of quarantine.
    #[serde(default)]
    pub acceptance: AcceptanceConfig,
    /// Names for priorities. They are no part of the stored form, which is that of the first
    /// version of what is replicated: whoever stores a configuration stores them beside it.
    #[borsh(skip)]
    #[serde(default)]
    pub priority_classes: PriorityClasses,
    /// The queues that are not served by age, stored likewise.
    #[borsh(skip)]
    #[serde(default)]
    pub orders: Orders,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            half_life: HALF_LIFE,
            queues: [(DEFAULT.to_owned(), QueueSpec::default())].into(),
            acceptance: AcceptanceConfig::default(),
            priority_classes: PriorityClasses::default(),
            orders: Orders::default(),
        }
    }
}

impl ClusterConfig {
    /// The configuration with the queue that always exists.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.queues.entry(DEFAULT.to_owned()).or_default();
        self
    }

    /// A queue with those that it is a part of, itself first.
    pub fn path<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let up = |name: &&'a str| self.queues.get(*name)?.parent.as_deref();
        std::iter::successors(Some(name), up).take(crate::limit::QUEUE_DEPTH_MAX + 1)
    }

    /// The least isolation of a queue's jobs: the greatest that it and those above demand.
    #[must_use]
    pub fn isolation(&self, name: &str) -> Isolation {
        let all = self.path(name).filter_map(|name| Some(self.queues.get(name)?.isolation));
        all.max().unwrap_or_default()
    }

    /// Whether other queues are parts of this one, so that no job waits in it.
    #[must_use]
    pub fn is_parent(&self, name: &str) -> bool {
        self.queues.values().any(|queue| queue.parent.as_deref() == Some(name))
    }
}

#[cfg(test)]
mod queue_test;
