//! `self_fence`, `one_lease_per_gpu` and `attempt_once` on the machines themselves: when tasks
//! start, nothing that they exclude may still run anywhere.

use super::Broken;
use crate::node::Node;
use domain::{LeaseId, NodeId, lease::Lease};

/// Looks at all processes of the world.
pub fn check(nodes: &[Node], at: usize, lease: LeaseId) -> Result<(), Broken> {
    let Some(fresh) = nodes[at].tasks.get(&lease).map(|running| &running.wanted.lease) else {
        return Ok(());
    };
    for node in nodes {
        for running in node.tasks.values().filter(|running| running.alive()) {
            let other = &running.wanted.lease;
            if other.id == lease {
                continue;
            }
            if other.element == fresh.element {
                return Err(Broken::new(format!(
                    "attempt_once: {} of {} starts while {} still runs on node-{}",
                    lease, fresh.element, other.id, node.at
                )));
            }
            if node.at == nodes[at].at && share_gpus(fresh, other) {
                return Err(Broken::new(format!(
                    "self_fence: {lease} starts on GPUs of node-{} that {} still uses",
                    node.at, other.id
                )));
            }
        }
    }
    Ok(())
}

fn gpus(lease: &Lease) -> impl Iterator<Item = (NodeId, u32)> + '_ {
    lease.members.iter().flat_map(|member| {
        member.tasks.iter().flat_map(|task| &task.gpus).map(|gpu| (member.node, *gpu))
    })
}

fn share_gpus(one: &Lease, other: &Lease) -> bool {
    gpus(one).any(|gpu| gpus(other).any(|used| used == gpu))
}
