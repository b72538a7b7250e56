//! `self_fence`, `one_lease_per_gpu` and `attempt_once` on the machines themselves: when tasks
//! start, nothing that they exclude may still run anywhere; and at all times, an agent out of
//! contact for the lease time runs nothing, unless the job chose to continue.

use super::Broken;
use crate::node::Node;
use domain::{LeaseId, NodeId, job::OnDisconnect, lease::Lease, limit};
use std::collections::BTreeMap;

/// Time after the last contact by which all is dead. Source: rulings, 5.
const DEAD_BY_MS: u64 = limit::LEASE_TTL.0 + 1_000;

/// When each node was last in contact, told from what it sends and hears alone: an answered
/// heartbeat counts from when it was sent.
#[derive(Default)]
pub struct Contacts {
    /// By node: its link, and when it sent each heartbeat on it.
    sent: BTreeMap<usize, (u64, BTreeMap<u64, u64>)>,
    contact: BTreeMap<usize, u64>,
}

impl Contacts {
    /// A node sends a heartbeat on a link.
    pub fn sent(&mut self, node: usize, link: u64, seq: u64, now: u64) {
        let beats = self.sent.entry(node).or_default();
        if beats.0 != link {
            *beats = (link, BTreeMap::new());
        }
        beats.1.insert(seq, now);
    }

    /// It hears that one was covered by a quorum.
    pub fn answered(&mut self, node: usize, link: u64, seq: u64) {
        let Some((_, beats)) = self.sent.get_mut(&node).filter(|beats| beats.0 == link) else {
            return;
        };
        if let Some(sent) = beats.get(&seq).copied() {
            *beats = beats.split_off(&(seq + 1));
            let newest = self.contact.entry(node).or_insert(sent);
            *newest = sent.max(*newest);
        }
    }

    /// Looks at what runs on a node now.
    pub fn check(&self, node: &Node, now: u64) -> Result<(), Broken> {
        let contact = self.contact.get(&node.at).copied();
        if contact.is_some_and(|at| now <= at + DEAD_BY_MS) {
            return Ok(());
        }
        let fenced = |of: &OnDisconnect| *of == OnDisconnect::Stop;
        let mut all = node.tasks.iter();
        all.find(|(_, it)| it.alive() && fenced(&it.wanted.spec.on_disconnect)).map_or(
            Ok(()),
            |(lease, _)| {
                Err(Broken::new(format!(
                    "self_fence: {lease} runs on node-{}, last in contact at {contact:?} ms",
                    node.at
                )))
            },
        )
    }
}

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
            // What goes on without contact may be granted elsewhere meanwhile; its results count
            // for nothing then.
            let goes_on = running.wanted.spec.on_disconnect == OnDisconnect::Continue;
            if other.element == fresh.element && !goes_on {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_counts_from_when_the_answered_heartbeat_was_sent() {
        let mut contacts = Contacts::default();
        contacts.sent(0, 1, 0, 100);
        contacts.sent(0, 1, 1, 900);
        assert_eq!(contacts.contact.get(&0), None, "nobody has answered");
        contacts.answered(0, 1, 0);
        assert_eq!(contacts.contact[&0], 100);
        contacts.sent(0, 2, 0, 5_000);
        contacts.answered(0, 1, 1);
        assert_eq!(contacts.contact[&0], 100, "an answer on a link that is gone");
        contacts.answered(0, 2, 0);
        assert_eq!(contacts.contact[&0], 5_000);
    }
}
