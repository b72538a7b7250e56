//! The published heuristics, as the authors of FGD wrote them down.

use super::scorer::{NodeState, Scorer, size};
use crate::chance::Chance;
use scheduler::planner::room::{Ask, Chosen, WHOLE};

/// Scores are whole numbers up to this.
const SCORE_MAX: i64 = 100;
/// The largest node: thousandths of cores and of GPUs.
const CPU_MAX: f64 = 128_000.0;
const GPU_MAX: f64 = 8_000.0;

/// Any node that fits, any GPU that fits.
pub struct Random;

impl Scorer for Random {
    fn score(&self, _: &NodeState, _: &Ask) -> i64 {
        0
    }

    fn choose(&self, node: &NodeState, ask: &Ask, chance: &mut Chance) -> Option<Chosen> {
        if !ask.is_share() {
            return node.room.tightest(ask);
        }
        let free = node.room.gpus();
        let open: Vec<usize> = (0..free.len()).filter(|at| free[*at] >= ask.share).collect();
        let mut chosen = node.room.tightest(ask)?;
        // An index of a GPU of one node.
        chosen.0[0] = open[chance.below(open.len() as u64) as usize] as u8;
        Some(chosen)
    }

    fn is_random(&self) -> bool {
        true
    }
}

/// The node with the least left over, processors and GPUs weighed alike.
pub struct BestFit;

impl Scorer for BestFit {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        let cpu = (node.room.cpu - ask.cpu) as f64 / CPU_MAX;
        let gpu = (node.room.idle() - ask.gpu_total()) as f64 / GPU_MAX;
        ((1.0 - (cpu * 0.5 + gpu * 0.5)) * SCORE_MAX as f64) as i64
    }
}

/// The node whose free resources, as a vector, have the smallest product with the request.
pub struct DotProduct;

impl Scorer for DotProduct {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        let cpu = (node.room.cpu as f64 / CPU_MAX) * (ask.cpu as f64 / CPU_MAX);
        let gpu = (node.room.idle() as f64 / GPU_MAX) * (ask.gpu_total() as f64 / GPU_MAX);
        (SCORE_MAX as f64 * (1.0 - (cpu + gpu) / 2.0)) as i64
    }
}

/// GPUs that are shared already, then free GPUs of used nodes, then free nodes.
pub struct Packing;

impl Scorer for Packing {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        if ask.gpus == 0 {
            return 0;
        }
        let (room, whole) = (&node.room, node.room.whole() as i64);
        if room.whole() == room.gpus().len() {
            return (SCORE_MAX / 3 - whole).max(whole);
        }
        let Some((chosen, count)) = room.tightest(ask) else { return 0 };
        let free = chosen[..count].iter().map(|at| room.gpus()[usize::from(*at)]);
        let (mut fresh, mut left) = (0, 0);
        for free in free {
            fresh += i64::from(free == WHOLE);
            left += i64::from(free) * 100 / i64::from(WHOLE);
        }
        if fresh > 0 {
            (SCORE_MAX / 2 - fresh).max(SCORE_MAX / 3)
        } else {
            (SCORE_MAX - left / 10).max(SCORE_MAX / 2)
        }
    }
}

/// Nodes that hold tasks of the same size only, then of this and others, then none, then others.
pub struct Clustering;

impl Scorer for Clustering {
    fn score(&self, node: &NodeState, ask: &Ask) -> i64 {
        if ask.gpus == 0 {
            return 0;
        }
        // The largest node, as the score was written for: GPUs beyond it count for nothing.
        let most = GPU_MAX as i64;
        let idle = (node.room.idle() as i64).min(most);
        let fill = SCORE_MAX / 4 * (most - idle) / most;
        let quarters = match (node.sizes.contains_key(&size(ask)), node.sizes.len()) {
            (true, 1) => 3,
            (true, _) => 2,
            (false, 0) => 1,
            (false, _) => 0,
        };
        fill + SCORE_MAX * quarters / 4
    }
}
