//! Our own policy: the planner's score.

use super::scorer::{NodeState, Scorer};
use crate::chance::Chance;
use scheduler::planner::{
    mix::Mix,
    room::{Ask, Chosen, Room},
    score::Score,
};

/// The planner's score, asked for each pod.
pub struct Assay(Score);

impl Assay {
    /// With the usual tasks and the nodes.
    #[must_use]
    pub fn new(mix: &Mix, nodes: &[Room]) -> Self {
        Self(Score::new(mix.clone(), nodes))
    }
}

impl Scorer for Assay {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        self.0.best(&node.room, ask).map_or(i64::MIN, |(worth, _)| worth)
    }

    fn choose(&self, node: &NodeState, ask: &Ask, _: &mut Chance) -> Option<Chosen> {
        self.0.best(&node.room, ask).map(|(_, chosen)| chosen)
    }
}
