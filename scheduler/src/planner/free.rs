//! What is free on each node, as a plan uses it up.

use crate::state::{gpu_matches, sched::Node, view::View};
use domain::{
    NodeId,
    lease::{Member, TaskPlace},
    node::NodeState,
    resource::TaskResources,
};

/// One node's free resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeNode {
    /// The node.
    pub id: NodeId,
    /// Its hardware class.
    pub class: String,
    /// Free GPUs: index and model.
    pub gpus: Vec<(u32, String)>,
    /// Free processor time in thousandths of a core.
    pub cpu: u64,
    /// Free memory in bytes.
    pub memory: u64,
    /// Leases on it.
    pub leases: usize,
}

impl FreeNode {
    /// What is free on `node` now.
    #[must_use]
    pub fn now(id: NodeId, node: &Node) -> Self {
        let has = &node.row.inventory;
        let gpus = has.gpus.iter().filter(|gpu| !node.gpus_used.contains(&gpu.index));
        Self {
            id,
            class: node.class.clone(),
            gpus: gpus.map(|gpu| (gpu.index, gpu.model.clone())).collect(),
            cpu: has.cpu.minus(node.cpu_used).0,
            memory: has.memory.minus(node.memory_used).0,
            leases: node.leases.len(),
        }
    }

    /// What would be free if nothing ran.
    #[must_use]
    pub fn empty(id: NodeId, node: &Node) -> Self {
        let has = &node.row.inventory;
        Self {
            id,
            class: node.class.clone(),
            gpus: has.gpus.iter().map(|gpu| (gpu.index, gpu.model.clone())).collect(),
            cpu: has.cpu.0,
            memory: has.memory.0,
            leases: 0,
        }
    }

    /// Free GPUs that are what is asked for.
    pub fn matching<'a>(&'a self, wanted: &'a TaskResources) -> impl Iterator<Item = u32> + 'a {
        let word = wanted.gpu_model.as_deref();
        self.gpus.iter().filter(move |(_, model)| gpu_matches(model, word)).map(|(at, _)| *at)
    }

    /// How many tasks fit, up to `most`.
    #[must_use]
    pub fn room(&self, wanted: &TaskResources, most: u32) -> u32 {
        let mut room = u64::from(most);
        if wanted.gpus > 0 {
            room = room.min(self.matching(wanted).count() as u64 / u64::from(wanted.gpus));
        }
        if wanted.cpu.0 > 0 {
            room = room.min(self.cpu / wanted.cpu.0);
        }
        if wanted.memory.0 > 0 {
            room = room.min(self.memory / wanted.memory.0);
        }
        room as u32
    }

    /// Takes the room of `count` tasks with ranks from `first` on.
    pub fn take(&mut self, wanted: &TaskResources, first: u32, count: u32) -> Member {
        let free: Vec<u32> = self.matching(wanted).collect();
        let mut free = free.into_iter();
        let tasks: Vec<TaskPlace> = (first..first + count)
            .map(|rank| TaskPlace {
                rank,
                gpus: free.by_ref().take(wanted.gpus as usize).collect(),
            })
            .collect();
        let taken: Vec<u32> = tasks.iter().flat_map(|task| task.gpus.iter().copied()).collect();
        self.gpus.retain(|(index, _)| !taken.contains(index));
        self.cpu = self.cpu.saturating_sub(wanted.cpu.0.saturating_mul(u64::from(count)));
        self.memory = self.memory.saturating_sub(wanted.memory.0.saturating_mul(u64::from(count)));
        self.leases += 1;
        Member { node: self.id, tasks }
    }
}

/// What is free on every node that takes work.
#[must_use]
pub fn ready(view: &View<'_>) -> Vec<FreeNode> {
    let nodes = view.all_nodes().filter(|(_, node)| node.row.state == NodeState::Ready);
    nodes.map(|(id, node)| FreeNode::now(id, node)).collect()
}
