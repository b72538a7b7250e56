//! What is free on each node, as a plan uses it up.

use crate::state::{sched::Node, view::View};
use domain::{
    Bytes, NodeId,
    hardware::{parts_of, whole_index},
    isolation::{Isolation, NodeIsolation},
    lease::{Member, TaskPlace},
    resource::{Gpu, TaskResources},
    topology::NodeTopology,
};
use std::collections::{BTreeMap, BTreeSet};

/// A node that demands nothing, to see what demands keep from fitting.
static OPEN: NodeIsolation = NodeIsolation {
    default: Isolation::None,
    lacks: Vec::new(),
    cgroup: 0,
    landlock: 0,
    container_lacks: Vec::new(),
    podman: String::new(),
};

/// GPUs that are alike: their model, and the memory of each.
pub type GpuKind<'a> = (&'a str, Bytes);

/// What a GPU is like.
#[must_use]
pub fn kind(gpu: &Gpu) -> GpuKind<'_> {
    (&gpu.model, gpu.memory)
}

/// Whether a GPU is in use, or one that it is a part of, or a part of it: a node may have been cut
/// anew while jobs ran there.
fn is_used(used: &BTreeSet<u32>, index: u32) -> bool {
    let of_it = parts_of(index);
    used.contains(&index)
        || used.contains(&whole_index(index))
        || of_it.is_some_and(|parts| used.range(parts).next().is_some())
}

/// One node's free resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeNode<'a> {
    /// The node.
    pub id: NodeId,
    /// Its hardware class.
    pub class: &'a str,
    /// Indices of free GPUs of each kind.
    pub gpus: BTreeMap<GpuKind<'a>, Vec<u32>>,
    /// Free processor time in thousandths of a core.
    pub cpu: u64,
    /// Free memory in bytes.
    pub memory: u64,
    /// Leases on it.
    pub leases: usize,
    /// How far it keeps tasks apart.
    pub isolation: &'a NodeIsolation,
    /// Where it is, and where its GPUs are in it.
    pub topology: &'a NodeTopology,
}

impl<'a> FreeNode<'a> {
    /// What is free on `node` now.
    #[must_use]
    pub fn now(id: NodeId, node: &'a Node) -> Self {
        let has = &node.row.inventory;
        let cpu = has.cpu.minus(node.cpu_taken()).0;
        let memory = has.memory.minus(node.memory_taken()).0;
        if node.kept.gpus.is_empty() {
            return Self::with(id, node, &node.gpus_used, cpu, memory);
        }
        let taken = node.gpus_used.union(&node.kept.gpus).copied().collect();
        Self::with(id, node, &taken, cpu, memory)
    }

    /// What would be free if nothing ran. The leases are counted all the same, so that of two
    /// like nodes the one that is nearer to being empty comes first.
    #[must_use]
    pub fn empty(id: NodeId, node: &'a Node) -> Self {
        let has = &node.row.inventory;
        Self::with(id, node, &BTreeSet::new(), has.cpu.0, has.memory.0)
    }

    fn with(
        id: NodeId,
        node: &'a Node,
        used: &BTreeSet<u32>,
        cpu: u64,
        memory: u64,
    ) -> FreeNode<'a> {
        let mut gpus: BTreeMap<GpuKind<'_>, Vec<u32>> = BTreeMap::new();
        for gpu in node.serving().filter(|gpu| !is_used(used, gpu.index)) {
            gpus.entry(kind(gpu)).or_default().push(gpu.index);
        }
        FreeNode {
            id,
            class: &node.class,
            gpus,
            cpu,
            memory,
            leases: node.leases.len(),
            isolation: &node.row.inventory.isolation,
            topology: &node.row.inventory.topology,
        }
    }

    /// The same node if it demanded nothing.
    #[must_use]
    pub fn undemanding(&self) -> Self {
        Self { isolation: &OPEN, ..self.clone() }
    }

    /// Number of free GPUs of any model.
    #[must_use]
    pub fn gpu_count(&self) -> usize {
        self.gpus.values().map(Vec::len).sum()
    }

    /// Free GPUs that are what is asked for.
    pub(super) fn matching<'b>(
        &'b self,
        wanted: &'b TaskResources,
    ) -> impl Iterator<Item = &'b Vec<u32>> + 'b {
        let suits = move |(model, memory): &GpuKind<'_>| wanted.suits(model, *memory);
        self.gpus.iter().filter(move |(has, _)| suits(has)).map(|(_, indices)| indices)
    }

    /// Free GPUs that are what is asked for: by model, and of each in the order in which ranks have
    /// them, whatever their memory.
    pub(super) fn indices(&self, wanted: &TaskResources) -> Vec<u32> {
        let suits = |(model, memory): &GpuKind<'_>| wanted.suits(model, *memory);
        let suiting = self.gpus.iter().filter(|(kind, _)| suits(kind));
        let all = suiting.flat_map(|((model, _), all)| all.iter().map(|index| (*model, *index)));
        let mut all: Vec<(&str, u32)> = all.collect();
        all.sort_unstable();
        all.into_iter().map(|(_, index)| index).collect()
    }

    /// How many free GPUs are what is asked for.
    #[must_use]
    pub fn suiting(&self, wanted: &TaskResources) -> u64 {
        self.matching(wanted).map(|indices| indices.len() as u64).sum()
    }

    /// As if tasks that are on it had left.
    pub fn left_by(&mut self, node: &'a Node, member: &Member, each: &TaskResources) {
        let gone: BTreeSet<u32> = member.tasks.iter().flat_map(|task| task.gpus.clone()).collect();
        for gpu in node.row.inventory.gpus.iter().filter(|gpu| gone.contains(&gpu.index)) {
            let free = self.gpus.entry(kind(gpu)).or_default();
            free.push(gpu.index);
            free.sort_unstable();
        }
        let tasks = member.tasks.len() as u64;
        self.cpu = self.cpu.saturating_add(each.cpu.0.saturating_mul(tasks));
        self.memory = self.memory.saturating_add(each.memory.0.saturating_mul(tasks));
    }

    /// How many tasks fit, up to `most`.
    #[must_use]
    pub fn room(&self, wanted: &TaskResources, most: u32) -> u32 {
        let mut room = u64::from(most);
        if wanted.gpus > 0 {
            room = room.min(self.suiting(wanted) / u64::from(wanted.gpus));
        }
        if let Some(tasks) = self.cpu.checked_div(wanted.cpu.0) {
            room = room.min(tasks);
        }
        if let Some(tasks) = self.memory.checked_div(wanted.memory.0) {
            room = room.min(tasks);
        }
        // No more than `most`, which is a u32.
        u32::try_from(room).unwrap_or(most)
    }

    /// Takes the room of `count` tasks with ranks from `first` on.
    pub fn take(&mut self, wanted: &TaskResources, first: u32, count: u32) -> Member {
        let mut free = self.indices(wanted).into_iter();
        let mut next = || free.by_ref().take(wanted.gpus as usize).collect();
        let tasks: Vec<Vec<u32>> = (0..count).map(|_| next()).collect();
        self.take_these(wanted, first, tasks)
    }

    /// Takes these GPUs for tasks with ranks from `first` on.
    pub(super) fn take_these(
        &mut self,
        wanted: &TaskResources,
        first: u32,
        tasks: Vec<Vec<u32>>,
    ) -> Member {
        let count = tasks.len() as u64;
        let tasks: Vec<TaskPlace> =
            (first..).zip(tasks).map(|(rank, gpus)| TaskPlace { rank, gpus }).collect();
        let taken: BTreeSet<u32> = tasks.iter().flat_map(|task| task.gpus.clone()).collect();
        for indices in self.gpus.values_mut() {
            indices.retain(|index| !taken.contains(index));
        }
        self.cpu = self.cpu.saturating_sub(wanted.cpu.0.saturating_mul(count));
        self.memory = self.memory.saturating_sub(wanted.memory.0.saturating_mul(count));
        self.leases += 1;
        Member { node: self.id, tasks }
    }
}

/// What is free on every node that takes work.
#[must_use]
pub fn ready<'a>(view: &View<'a>) -> Vec<FreeNode<'a>> {
    let nodes = view.all_nodes().filter(|(_, node)| node.row.takes_work());
    nodes.map(|(id, node)| FreeNode::now(id, node)).collect()
}

/// What would be free on every node that takes work, if nothing ran.
#[must_use]
pub fn ready_empty<'a>(view: &View<'a>) -> Vec<FreeNode<'a>> {
    let nodes = view.all_nodes().filter(|(_, node)| node.row.takes_work());
    nodes.map(|(id, node)| FreeNode::empty(id, node)).collect()
}

/// What would be free on all nodes that were ever registered, if all took work and nothing ran.
#[must_use]
pub fn all_empty<'a>(view: &View<'a>) -> Vec<FreeNode<'a>> {
    view.all_nodes().map(|(id, node)| FreeNode::empty(id, node)).collect()
}
