//! The pods in the order in which they come: shuffled, then drawn again until enough is asked for.

use crate::chance::Chance;
use scheduler::planner::room::Ask;

/// Pods in order, each by its place among `kinds`.
pub struct Stream {
    /// Requests that differ.
    pub kinds: Vec<Ask>,
    /// Places in `kinds`.
    pub pods: Vec<usize>,
}

impl Stream {
    /// Shuffles `pods` and draws more of them until `wanted` thousandths of GPUs are asked for.
    #[must_use]
    pub fn draw(pods: &[Ask], wanted: u64, seed: u64) -> Self {
        let mut kinds = pods.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let kind = |pod: &Ask| kinds.binary_search(pod).expect("each pod is among the kinds");
        let mut order: Vec<usize> = pods.iter().map(kind).collect();
        let all = order.clone();
        let mut chance = Chance::new(seed).branch("pods", 0);
        for at in (1..order.len()).rev() {
            order.swap(at, chance.below(at as u64 + 1) as usize);
        }
        let mut asked: u64 = pods.iter().map(Ask::gpu_total).sum();
        while asked < wanted {
            let pod = all[chance.below(all.len() as u64) as usize];
            asked += kinds[pod].gpu_total();
            order.push(pod);
        }
        Self { kinds, pods: order }
    }
}
