//! What it costs to place a task on a node: how much less the node can do for what usually comes.
//!
//! Three parts, each in thousandths of GPUs times the number of usual tasks, all whole numbers:
//! - *stranded*: idle GPUs that the next task cannot use (Weng et al., ATC '23). It looks one task
//!   ahead and sees no shortage until it is there;
//! - *starved* and *sought*, as [`Demand`] has them.
//!
//! For GPUs that may be shared in any parts, as in the simulator's lists of pods; a cluster's own
//! are whole or cut beforehand, and judged by `costs`.
//!
//! Costs are counted in steps of [`STEP`] of a GPU, and of nodes with equal ones the tightest wins:
//! a fine order among nearly equal nodes spreads tasks, and spreading fragments.

use super::{
    demand::Demand,
    mix::Mix,
    room::{Ask, Chosen, Room},
};

/// Thousandths of a GPU of a step. Source: FGD's scores are
/// `⌊100·sigmoid(x/1000)⌋`, which changes once in 40 near zero.
pub const STEP: u64 = 40;
/// Places of the tie-break below the cost in one number.
const TIE_BITS: u32 = 20;

/// Scores for one mix of tasks on one supply of GPUs.
#[derive(Clone, Debug)]
pub struct Score {
    mix: Mix,
    demand: Demand,
}

impl Score {
    /// For tasks that come as in `mix`, on nodes of which `supply` is all, used or not.
    #[must_use]
    pub fn new(mix: Mix, supply: &[Room]) -> Self {
        let supply = supply.iter().map(|room| (room.model, room.gpus().len() as u64));
        let demand = Demand::new(mix.asks(), supply);
        Self { mix, demand }
    }

    /// The choice of GPUs on a node that costs least, with its worth: of two nodes the one with
    /// the higher worth is better. None when the task does not fit.
    #[must_use]
    pub fn best(&self, room: &Room, ask: &Ask) -> Option<(i64, Chosen)> {
        if !room.fits(ask) {
            return None;
        }
        let before = self.useless(room);
        let pressure = self.demand.sought(room.model, ask.gpu_total());
        let pressure = i64::try_from(pressure * self.mix.total()).unwrap_or(i64::MAX / 4);
        let step = i64::try_from(self.mix.total().max(1) * STEP).unwrap_or(i64::MAX);
        let worth = |chosen: Chosen| {
            let after = room.after(ask, &chosen);
            let cost = (self.useless(&after) - before + pressure).div_euclid(step);
            (-(cost << TIE_BITS) - looseness(&after), chosen)
        };
        // Of equal ones the first, which has the lowest index.
        room.choices(ask).map(worth).reduce(|best, next| if next.0 > best.0 { next } else { best })
    }

    /// Stranded and starved GPUs of a node.
    fn useless(&self, room: &Room) -> i64 {
        let starved = self.demand.starved(room.cpu, room.idle()) * self.mix.total();
        i64::try_from(self.mix.stranded(room) + starved).unwrap_or(i64::MAX / 4)
    }
}

/// How much is left on a node: a GPU counts as sixteen cores, the proportion of large servers.
fn looseness(room: &Room) -> i64 {
    let left = room.idle() / 16 + room.cpu / 256;
    i64::try_from(left.min((1 << TIE_BITS) - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cpu: u64, gpus: u8, share: u16) -> Ask {
        Ask { cpu, memory: 1, gpus, share, models: 0 }
    }

    fn better(score: &Score, task: &Ask, one: &Room, other: &Room) -> bool {
        score.best(one, task).unwrap().0 > score.best(other, task).unwrap().0
    }

    #[test]
    fn tasks_without_gpus_go_where_processors_are_to_spare() {
        let score = Score::new(Mix::of([ask(8_000, 1, 1_000), ask(8_000, 0, 0)], 100), &[]);
        let rich = Room::empty(64_000, 9, 0, 2);
        let poor = Room::empty(64_000, 9, 0, 8);
        assert!(better(&score, &ask(8_000, 0, 0), &rich, &poor));
    }

    #[test]
    fn shares_fill_a_gpu_that_is_shared_already() {
        let score = Score::new(Mix::of([ask(1, 1, 1_000), ask(1, 1, 500)], 100), &[]);
        let task = ask(1, 1, 500);
        let empty = Room::empty(9, 9, 0, 2);
        let shared = empty.after(&task, &empty.tightest(&task).unwrap());
        assert!(better(&score, &task, &shared, &empty));
        assert_eq!(score.best(&shared, &task).unwrap().1.0[0], 0);
    }

    #[test]
    fn a_task_that_takes_any_model_leaves_the_sought_one() {
        let choosy = Ask { models: 0b10, ..ask(1, 1, 1_000) };
        let nodes = [Room::empty(9, 9, 0, 4), Room::empty(9, 9, 1, 4)];
        let score = Score::new(Mix::of([choosy, ask(1, 1, 1_000)], 100), &nodes);
        assert!(better(&score, &ask(1, 1, 1_000), &nodes[0], &nodes[1]));
        assert!(score.best(&nodes[0], &choosy).is_none());
    }
}
