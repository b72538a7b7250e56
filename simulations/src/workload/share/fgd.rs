//! Fragmentation gradient descent (Weng et al., ATC '23).

use super::scorer::{NodeState, Scorer};
use crate::chance::Chance;
use scheduler::planner::{
    mix::Mix,
    room::{Ask, Chosen},
};

/// The least growth of what the usual tasks cannot use.
pub struct Fgd {
    mix: Mix,
}

impl Fgd {
    /// With the usual tasks.
    #[must_use]
    pub fn new(mix: Mix) -> Self {
        Self { mix }
    }

    fn best(&self, node: &NodeState, ask: &Ask) -> Option<(i64, Chosen)> {
        let before = self.mix.stranded(&node.room) as f64;
        let scale = self.mix.total() as f64 * 1_000.0;
        let mut best: Option<(i64, Chosen)> = None;
        for chosen in node.room.choices(ask) {
            let after = self.mix.stranded(&node.room.after(ask, &chosen)) as f64;
            // Whole scores: what is nearly as good as the best is as good.
            let score = (100.0 * sigmoid((before - after) / scale)) as i64;
            if best.as_ref().is_none_or(|(best, _)| score > *best) {
                best = Some((score, chosen));
            }
        }
        best
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Scorer for Fgd {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        self.best(node, ask).map_or(0, |(score, _)| score)
    }

    fn choose(&self, node: &NodeState, ask: &Ask, _: &mut Chance) -> Option<Chosen> {
        self.best(node, ask).map(|(_, chosen)| chosen)
    }
}
