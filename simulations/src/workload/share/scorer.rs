//! What a placement policy is asked.

use crate::chance::Chance;
use scheduler::planner::room::{Ask, Chosen, Room};
use std::collections::BTreeMap;

/// A node with what a policy may look at.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// What is free.
    pub room: Room,
    /// Tasks on it by size: GPUs, or none for a share of one.
    pub sizes: BTreeMap<u8, u32>,
}

/// The size of a task as [`NodeState::sizes`] has it.
#[must_use]
pub fn size(ask: &Ask) -> u8 {
    if ask.is_share() { 0 } else { ask.gpus }
}

/// A policy: the node with the highest score, of equal ones the first in the seed's order.
pub trait Scorer {
    /// How good a node is for a task that fits on it. Depends on nothing but the two.
    fn score(&self, node: &NodeState, ask: &Ask) -> i64;

    /// Which GPUs of the node it gets. It fits.
    fn choose(&self, node: &NodeState, ask: &Ask, _chance: &mut Chance) -> Option<Chosen> {
        node.room.tightest(ask)
    }

    /// Whether any node that fits is as good as another, so that chance decides.
    fn is_random(&self) -> bool {
        false
    }
}
