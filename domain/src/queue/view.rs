//! What lists show of queues, and of a change of the configuration.

use super::{Change, Order, PriorityClasses, QueueSpec};
use crate::{
    id::JobId,
    unit::{Bytes, CpuMillis, LogIndex, Millis},
};
use serde::{Deserialize, Serialize};

/// A queue with what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// As it was set.
    pub spec: QueueSpec,
    /// Who goes first among its jobs of one priority.
    #[serde(default)]
    pub order: Order,
    /// GPUs that it may hold at most; none means as many as are free.
    pub gpus_max: Option<u64>,
    /// GPUs that it and its parts hold.
    pub held_gpus: u64,
    /// Those of them that are beyond its guarantee.
    pub borrowed_gpus: u64,
    /// Processor time that it and its parts hold.
    pub held_cpu: CpuMillis,
    /// Memory that it and its parts hold.
    pub held_memory: Bytes,
    /// Its largest part of what the cluster has of any one resource. Unit: millionths.
    pub share_ppm: u64,
    /// The mean of that over the past, where what was used counts half after each half life.
    /// Unit: millionths.
    pub used_share_ppm: u64,
    /// Its part of the cluster by the weights alone. Unit: millionths.
    pub weight_share_ppm: u64,
    /// Jobs in it and its parts that have not ended.
    pub jobs: u64,
    /// Those of them of which an element may start as far as the job goes.
    pub waiting_jobs: u64,
    /// Elements that run.
    pub running: u64,
    /// Its budget, if it has one.
    pub budget: Option<BudgetView>,
    /// Who has jobs in it.
    pub users: Vec<QueueUserView>,
}

/// A budget with what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    /// The budget.
    pub gpu_hours: u64,
    /// GPU-milliseconds used of it.
    pub used_gpu_ms: u64,
    /// Whole percent used of it.
    pub used_percent: u64,
    /// `whole`, `low` (80 % are used) or `spent` (nothing new starts).
    pub state: String,
    /// When it is whole again; none for never.
    pub renewed: Option<Millis>,
}

/// What one user has in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUserView {
    /// The user.
    pub user: String,
    /// Jobs that have not ended.
    pub jobs: u64,
    /// Elements that run.
    pub running: u64,
    /// GPUs that they hold.
    pub gpus: u64,
}

/// All queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuesView {
    /// How often the configuration was changed.
    pub version: u64,
    /// Time after which what was used counts half.
    pub half_life_ms: u64,
    /// Who changed the configuration last; empty for nobody.
    pub changed_by: String,
    /// Why.
    pub changed_why: String,
    /// In which entry.
    pub changed_at: LogIndex,
    /// Names for priorities.
    #[serde(default)]
    pub priority_classes: PriorityClasses,
    /// The queues, each before its parts.
    pub queues: Vec<QueueView>,
}

/// What a configuration would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPlanView {
    /// The version of the configuration that it was compared with.
    pub version: u64,
    /// Every field that differs.
    pub changes: Vec<Change>,
    /// Who is worse off.
    pub hurt: Vec<HurtView>,
}

/// Somebody who is worse off after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HurtView {
    /// The queue.
    pub queue: String,
    /// The user, where it meets one alone.
    pub user: Option<String>,
    /// `guarantee`, `limit`, `user_limit`, `never`, `priority` or `budget`.
    pub kind: String,
    /// What is worse.
    pub detail: String,
    /// Jobs that it meets, at most eight.
    pub jobs: Vec<JobId>,
    /// As many more.
    pub more: u64,
}
