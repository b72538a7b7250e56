//! What it costs to place a task on a node: how much less the node can do for what usually comes.
//!
//! Three parts, each in thousandths of GPUs times the number of usual tasks, all whole numbers:
//! - *stranded*: idle GPUs that the next task cannot use (Weng et al., ATC '23);
//! - *starved*: idle GPUs beyond what the node's free processors can feed, if tasks come as they
//!   usually do. The first part looks one task ahead and sees no shortage until it is there;
//!   this one makes tasks without GPUs go where processors are to spare, and tasks with GPUs
//!   where the node's proportions stay those of the demand;
//! - *pressure*: GPUs of a model that some tasks insist on, by how much of the supply of those
//!   models they ask for, so that a task that takes any model leaves the sought ones alone.
//!
//! Costs that differ by less than [`STEP`] of a GPU are taken as equal, and the tightest node
//! wins: a fine order among nearly equal nodes spreads tasks, and spreading fragments.

use super::{
    mix::Mix,
    room::{Ask, Chosen, Room},
};

/// Thousandths of a GPU within which costs are taken as equal. Source: FGD's scores are
/// `⌊100·sigmoid(x/1000)⌋`, which changes once in 40 near zero.
pub const STEP: u64 = 40;
/// Models are told apart by the bits of a word.
const MODELS: usize = 64;
/// Places of the tie-break below the cost in one number.
const TIE_BITS: u32 = 20;

/// Scores for one mix of tasks on one supply of GPUs.
#[derive(Clone, Debug)]
pub struct Score {
    mix: Mix,
    /// Thousandths of GPUs, and of cores of tasks with GPUs, over the usual tasks.
    gpu: u64,
    cpu: u64,
    /// By model: thousandths of its supply that tasks which insist on it ask for, where the
    /// whole demand would ask for a thousand.
    pressure: [u64; MODELS],
}

impl Score {
    /// For tasks that come as in `mix`, on nodes of which `supply` is all, used or not.
    #[must_use]
    pub fn new(mix: Mix, supply: &[Room]) -> Self {
        let with_gpus = || mix.asks().iter().filter(|(ask, _)| ask.gpus > 0);
        let gpu: u64 = with_gpus().map(|(ask, count)| ask.gpu_total() * count).sum();
        let cpu = with_gpus().map(|(ask, count)| ask.cpu * count).sum();
        let mut by_model = [0_u64; MODELS];
        for room in supply {
            by_model[usize::from(room.model) % MODELS] += room.gpus().len() as u64;
        }
        let all: u64 = by_model.iter().sum();
        let mut pressure = [0; MODELS];
        for (ask, count) in with_gpus().filter(|(ask, _)| ask.models != 0) {
            // A model is below MODELS.
            let taken = || (0..MODELS).filter(|model| ask.takes(*model as u8));
            let supply: u64 = taken().map(|model| by_model[model]).sum();
            // Share of the demand over share of the supply, in thousandths.
            let asked = u128::from(ask.gpu_total() * count) * u128::from(all) * 1_000;
            let of = asked.checked_div(u128::from(gpu) * u128::from(supply)).unwrap_or(0);
            for model in taken() {
                pressure[model] += u64::try_from(of).unwrap_or(u64::MAX / 1_000_000);
            }
        }
        Self { mix, gpu, cpu, pressure }
    }

    /// The choice of GPUs on a node that costs least, with its worth: of two nodes the one with
    /// the higher worth is better. None when the task does not fit.
    #[must_use]
    pub fn best(&self, room: &Room, ask: &Ask) -> Option<(i64, Chosen)> {
        if !room.fits(ask) {
            return None;
        }
        let before = self.useless(room);
        let pressure = self.pressure[usize::from(room.model) % MODELS] * ask.gpu_total() / 1_000;
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
        let fed = u128::from(room.cpu) * u128::from(self.gpu);
        let fed = fed.checked_div(u128::from(self.cpu)).unwrap_or(u128::MAX);
        let fed = u64::try_from(fed).unwrap_or(u64::MAX);
        let starved = room.idle().saturating_sub(fed) * self.mix.total();
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
