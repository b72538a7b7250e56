//! Room that is kept for gangs, as nodes and queues count it.

use super::{
    sched::{Node, Sched},
    usage::Held,
};
use domain::{Bytes, CpuMillis, JobId, LeaseId, lease::Lease, resource::TaskResources};
use std::collections::{BTreeMap, BTreeSet};

/// Room on a node that is kept for gangs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// GPUs, by index.
    pub gpus: BTreeSet<u32>,
    /// Processor time and memory.
    pub room: (CpuMillis, Bytes),
    /// What is in use of those who leave.
    pub ceded: (CpuMillis, Bytes),
}

/// Which way something is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Up,
    Down,
}

impl Count {
    fn one(self, sum: (CpuMillis, Bytes), each: &TaskResources) -> (CpuMillis, Bytes) {
        match self {
            Self::Up => (sum.0.plus(each.cpu), sum.1.plus(each.memory)),
            Self::Down => (sum.0.minus(each.cpu), sum.1.minus(each.memory)),
        }
    }
}

impl Node {
    /// Processor time that is in use or kept.
    #[must_use]
    pub fn cpu_taken(&self) -> CpuMillis {
        let later = self.cpu_used.minus(self.kept.ceded.0).plus(self.kept.room.0);
        self.cpu_used.max(later)
    }

    /// Memory that is in use or kept.
    #[must_use]
    pub fn memory_taken(&self) -> Bytes {
        let later = self.memory_used.minus(self.kept.ceded.1).plus(self.kept.room.1);
        self.memory_used.max(later)
    }
}

impl Sched {
    /// Counts the room of a preemption on its nodes, and its gang with its queue and its user.
    pub(super) fn keep(&mut self, id: JobId) {
        self.count_room(id, Count::Up);
        self.book(id, Count::Up);
        let victims: Vec<LeaseId> = self.leaving(id).collect();
        for victim in victims {
            self.ceding.insert(victim, id);
            self.count_ceded(victim, Count::Up);
        }
    }

    /// Counts it no more.
    pub(super) fn stop_keeping(&mut self, id: JobId) {
        let victims: Vec<LeaseId> = self.leaving(id).collect();
        for victim in victims {
            self.stop_ceding(victim);
        }
        self.book(id, Count::Down);
        self.count_room(id, Count::Down);
    }

    /// A lease makes room no more: it is gone, or may stay.
    pub(super) fn stop_ceding(&mut self, lease: LeaseId) {
        if self.ceding.contains_key(&lease) {
            self.count_ceded(lease, Count::Down);
            self.ceding.remove(&lease);
        }
    }

    /// Counts all rooms anew, on nodes that know of none.
    pub(super) fn keep_all(&mut self) {
        let all: Vec<JobId> = self.preemptions.keys().copied().collect();
        for id in all {
            self.count_room(id, Count::Up);
            let victims: Vec<LeaseId> = self.leaving(id).collect();
            for victim in victims {
                self.ceding.insert(victim, id);
                self.count_ceded(victim, Count::Up);
            }
        }
    }

    /// Counts the gangs of all preemptions with queues and users that know of none.
    pub(super) fn book_all(&mut self) {
        let all: Vec<JobId> = self.preemptions.keys().copied().collect();
        for id in all {
            self.book(id, Count::Up);
        }
    }

    fn count_room(&mut self, id: JobId, count: Count) {
        let (Some(row), Some(job)) = (self.preemptions.get(&id), self.jobs.get(&id)) else {
            return;
        };
        for member in &row.preemption.placement.members {
            let Some(node) = self.nodes.get_mut(&member.node) else { continue };
            for task in &member.tasks {
                node.kept.room = count.one(node.kept.room, &job.brief.resources);
                for gpu in &task.gpus {
                    match count {
                        Count::Up => node.kept.gpus.insert(*gpu),
                        Count::Down => node.kept.gpus.remove(gpu),
                    };
                }
            }
        }
    }

    fn count_ceded(&mut self, lease: LeaseId, count: Count) {
        let Some(lease) = self.leases.get(&lease) else { return };
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        for member in &lease.members {
            let Some(node) = self.nodes.get_mut(&member.node) else { continue };
            for _ in &member.tasks {
                node.kept.ceded = count.one(node.kept.ceded, &job.brief.resources);
            }
        }
    }

    fn book(&mut self, id: JobId, count: Count) {
        let Some(job) = self.jobs.get(&id) else { return };
        let gang = job.brief.gang();
        let Some(own) = self.queues.get_mut(&job.brief.queue) else { return };
        if let Some(user) = own.users.get_mut(&job.brief.user) {
            match count {
                Count::Up => {
                    user.running = user.running.saturating_add(1);
                    user.gpus = user.gpus.saturating_add(gang.gpus());
                }
                Count::Down => {
                    user.running = user.running.saturating_sub(1);
                    user.gpus = user.gpus.saturating_sub(gang.gpus());
                }
            }
        }
        let line: Vec<_> =
            std::iter::once(job.brief.queue.clone()).chain(own.above.clone()).collect();
        for name in line {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            queue.reserved = match count {
                Count::Up => queue.reserved.plus(gang),
                Count::Down => queue.reserved.minus(gang),
            };
        }
    }

    /// Whether what is kept is other than what the preemptions ask for, in words.
    pub(super) fn miskept(&self) -> Option<String> {
        let none = Kept::default();
        if self.preemptions.is_empty()
            && self.ceding.is_empty()
            && self.nodes.values().all(|node| node.kept == none)
            && self.leases.values().all(|lease| lease.notice.is_none())
        {
            return None;
        }
        let mut again = self.clone();
        for node in again.nodes.values_mut() {
            node.kept = Kept::default();
        }
        again.ceding = BTreeMap::new();
        again.keep_all();
        let right = again.ceding == self.ceding
            && again
                .nodes
                .iter()
                .all(|(id, node)| self.nodes.get(id).is_some_and(|known| known.kept == node.kept));
        if !right {
            return Some("preemption: nodes keep other room than preemptions ask for".into());
        }
        let mut taken = BTreeSet::new();
        for (id, row) in &self.preemptions {
            let waits = self.jobs.get(id).is_some_and(|job| job.brief.gang() != Held::default());
            let members = &row.preemption.placement.members;
            let gpus = members.iter().flat_map(|member| {
                let gpus = member.tasks.iter().flat_map(|task| &task.gpus);
                gpus.map(|gpu| (member.node, *gpu))
            });
            for gpu in gpus {
                if !taken.insert(gpu) {
                    return Some(format!("preemption: {}/{} is kept twice", gpu.0, gpu.1));
                }
            }
            if !waits {
                return Some(format!("preemption: room is kept for {id}, which has ended"));
            }
        }
        let held = |lease: &Lease| {
            let noticed = lease.notice.is_some();
            noticed && !self.ceding.contains_key(&lease.id) && !self.leaves_its_nodes(lease)
        };
        let lone = self.leases.values().find(|lease| held(lease));
        lone.map(|lease| format!("preemption: {} has notice for nobody's sake", lease.id))
    }
}
