//! Where nodes stand, and what jobs ask of it.

use crate::chance::Chance;
use domain::{
    job::JobSpec,
    topology::{GpuSite, Layout, Level, NodeTopology, Topology},
};

/// The place of a node: two racks of one block, in which GPUs are joined in pairs.
#[must_use]
pub fn place(at: usize, gpus: u32) -> NodeTopology {
    let site = |index| GpuSite { index, nvlink: Some(index / 2 * 2), numa: Some(0) };
    NodeTopology {
        rack: format!("r{}", at % 2),
        block: "b".into(),
        gpus: (0..gpus).map(site).collect(),
    }
}

/// Now and then a job asks for nearness, of which the nodes can give it.
#[must_use]
pub fn draw(chance: &mut Chance, spec: &JobSpec) -> Topology {
    if !chance.one_in(3) {
        return Topology::default();
    }
    let (tasks, each) = (spec.tasks, spec.resources.gpus);
    let all = tasks * each;
    // The first rack has nodes with 2 and 4 GPUs.
    let near = match each {
        0 => [Level::Node, Level::Rack, Level::Block].to_vec(),
        _ if all <= 2 => vec![Level::Nvlink, Level::Numa, Level::Rack],
        _ if all <= 4 => vec![Level::Node, Level::Rack],
        _ if each == 1 || tasks <= 3 => vec![Level::Rack, Level::Block],
        _ => vec![Level::Block],
    };
    let require = Some(near[chance.below(near.len() as u64) as usize]);
    match chance.below(4) {
        0 => Topology { prefer: Some(Level::Rack), ..Topology::default() },
        1 => Topology { layout: Layout::Spread, ..Topology::default() },
        _ => Topology { require, ..Topology::default() },
    }
}
