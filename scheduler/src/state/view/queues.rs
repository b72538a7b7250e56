//! Documents of queues.

use super::View;
use crate::state::{
    queue::{Queue, UserHeld},
    usage::{Held, SHARE_BITS, Told, dominant, window},
};
use domain::{
    Bytes, CpuMillis, Millis,
    queue::Order,
    queue::view::{BudgetView, QueueUserView, QueueView, QueuesView},
};
use std::{collections::BTreeMap, sync::Arc};

/// Users of one queue in one document.
const USERS_MAX: usize = 100;
/// A whole share.
const PPM: u128 = 1_000_000;

/// What is counted over a queue and its parts.
#[derive(Clone, Copy, Default)]
struct Counts {
    jobs: u64,
    waiting: u64,
    running: u64,
}

impl View<'_> {
    /// What the cluster has on the nodes that take work.
    #[must_use]
    pub fn capacity(&self) -> Held {
        let nodes = self.all_nodes().filter(|(_, node)| node.row.takes_work());
        let all = nodes.map(|(_, node)| {
            let has = &node.row.inventory;
            Held::of_node(has.gpus.len(), has.cpu.0, has.memory.0)
        });
        all.fold(Held::default(), Held::plus)
    }

    /// Whether a queue is another one, or a part of it.
    #[must_use]
    pub fn is_part_of(&self, queue: &str, whole: &str) -> bool {
        let above = |queue: &Queue| queue.above.iter().any(|up| **up == *whole);
        queue == whole || self.queues().get(queue).is_some_and(above)
    }

    /// All queues with what they hold, each before its parts.
    #[must_use]
    pub fn queue_views(&self) -> QueuesView {
        let config = self.config();
        let counts = self.queue_counts();
        let mut order: Vec<(Vec<&str>, &Arc<str>, &Queue)> = self
            .queues()
            .iter()
            .map(|(name, queue)| {
                let above = queue.above.iter().rev().map(|name| &**name);
                (above.chain([&**name]).collect(), name, queue)
            })
            .collect();
        order.sort_by(|one, other| one.0.cmp(&other.0));
        let queues = order.into_iter().map(|(_, name, queue)| {
            let counts = counts.get(&**name).copied().unwrap_or_default();
            self.queue_view(name, queue, counts)
        });
        QueuesView {
            version: config.version,
            half_life_ms: config.half_life.0,
            changed_by: config.by.clone(),
            changed_why: config.why.clone(),
            changed_at: config.at,
            priority_classes: self.priority_classes().clone(),
            queues: queues.collect(),
        }
    }

    fn queue_counts(&self) -> BTreeMap<&str, Counts> {
        let mut counts: BTreeMap<&str, Counts> = BTreeMap::new();
        for (name, queue) in self.queues() {
            let jobs = queue.jobs();
            let waiting = queue.waiting.values().map(|order| order.len() as u64).sum::<u64>();
            let running: u64 = queue.users.values().map(|user| u64::from(user.running)).sum();
            for name in std::iter::once(name).chain(&queue.above) {
                let all = counts.entry(name).or_default();
                all.jobs += jobs;
                all.waiting += waiting;
                all.running += running;
            }
        }
        counts
    }

    fn queue_view(&self, name: &str, queue: &Queue, counts: Counts) -> QueueView {
        let (total, half_life) = (self.capacity(), self.config().half_life);
        let Held([held_gpus, cpu, mib]) = queue.held;
        let used = queue.usage_at(self.now(), half_life).used;
        let ppm = |share: u128| u64::try_from((share * PPM) >> SHARE_BITS).unwrap_or(u64::MAX);
        let user = |(name, has): (&Arc<str>, &UserHeld)| QueueUserView {
            user: name.to_string(),
            jobs: has.jobs,
            running: u64::from(has.running),
            gpus: has.gpus,
        };
        QueueView {
            name: name.to_owned(),
            order: if queue.learned.is_some() { Order::Shortest } else { Order::Age },
            gpus_max: queue.spec.gpus_max(),
            held_gpus,
            borrowed_gpus: held_gpus.saturating_sub(queue.spec.guaranteed_gpus),
            held_cpu: CpuMillis(cpu),
            held_memory: Bytes(mib << 20),
            share_ppm: ppm(dominant(queue.held, [0; 3], total, 1)),
            used_share_ppm: ppm(dominant(Held::default(), used, total, window(half_life))),
            weight_share_ppm: self.weight_share(name, queue),
            jobs: counts.jobs,
            waiting_jobs: counts.waiting,
            running: counts.running,
            budget: self.budget(queue),
            users: queue.users.iter().take(USERS_MAX).map(user).collect(),
            spec: queue.spec.clone(),
        }
    }

    /// Its part by the weights of those beside it and beside those above it.
    fn weight_share(&self, name: &str, queue: &Queue) -> u64 {
        let mut share = PPM;
        for name in std::iter::once(name).chain(queue.above.iter().map(|up| &**up)) {
            let Some(queue) = self.queues().get(name) else { continue };
            let beside = self.queues().values();
            let beside = beside.filter(|other| other.spec.parent == queue.spec.parent);
            let all: u128 = beside.map(|other| u128::from(other.spec.weight)).sum();
            share = share * u128::from(queue.spec.weight) / all.max(1);
        }
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn budget(&self, queue: &Queue) -> Option<BudgetView> {
        let gpu_hours = queue.spec.budget_gpu_hours?;
        let usage = queue.usage_at(self.now(), self.config().half_life);
        // Of a budget of nothing, all is used.
        let percent = (usage.spent * 100).checked_div(queue.spec.budget_ms()?).unwrap_or(100);
        let state = match usage.standing(&queue.spec) {
            Told::Nothing => "whole",
            Told::Low => "low",
            Told::Spent => "spent",
        };
        let next = |period: Millis| Millis((usage.period + 1).saturating_mul(period.0));
        Some(BudgetView {
            gpu_hours,
            used_gpu_ms: u64::try_from(usage.spent).unwrap_or(u64::MAX),
            used_percent: u64::try_from(percent).unwrap_or(u64::MAX),
            state: state.to_owned(),
            renewed: queue.spec.budget_period.map(next),
        })
    }
}
