//! What is asked for of GPUs, as far as it makes one place better than another.
//!
//! - *starved*: idle GPUs beyond what a node's free processors can feed, if tasks come as they
//!   usually do. So tasks without GPUs go where processors are to spare, and tasks with GPUs where
//!   the node's proportions stay those of the demand;
//! - *sought*: GPUs of a model that some tasks insist on, by how much of the supply of those models
//!   they ask for. So a task that takes any model leaves the sought ones alone.
//!
//! Both in thousandths of GPUs, all whole numbers.

use super::room::Ask;

/// Models are told apart by the bits of a word.
pub const MODELS: usize = 64;

/// What the usual tasks ask for together, on one supply of GPUs.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Thousandths of GPUs, and of cores of tasks with GPUs.
    gpu: u128,
    cpu: u128,
    /// By model: thousandths of its supply that tasks which insist on it ask for, where the
    /// whole demand would ask for a thousand.
    pressure: [u64; MODELS],
}

impl Demand {
    /// For tasks, each with how often it comes, on nodes of which `supply` are all GPUs, used or
    /// not: how many there are of a model. A model may come more than once.
    #[must_use]
    pub fn new(tasks: &[(Ask, u64)], supply: impl IntoIterator<Item = (u8, u64)>) -> Self {
        let with_gpus = || tasks.iter().filter(|(ask, _)| ask.gpus > 0);
        let times = |amount: u64, count: u64| u128::from(amount) * u128::from(count);
        let gpu: u128 = with_gpus().map(|(ask, count)| times(ask.gpu_total(), *count)).sum();
        let cpu = with_gpus().map(|(ask, count)| times(ask.cpu, *count)).sum();
        let mut by_model = [0_u64; MODELS];
        for (model, gpus) in supply {
            by_model[usize::from(model) % MODELS] += gpus;
        }
        let all: u64 = by_model.iter().sum();
        let mut pressure = [0_u64; MODELS];
        for (ask, count) in with_gpus().filter(|(ask, _)| ask.models != 0) {
            // A model is below MODELS.
            let taken = || (0..MODELS).filter(|model| ask.takes(*model as u8));
            let supply: u64 = taken().map(|model| by_model[model]).sum();
            // Share of the demand over share of the supply, in thousandths.
            let asked = times(ask.gpu_total(), *count) * u128::from(all) * 1_000;
            let of = asked.checked_div(gpu * u128::from(supply)).unwrap_or(0);
            for model in taken() {
                pressure[model] += u64::try_from(of).unwrap_or(u64::MAX / 1_000_000);
            }
        }
        Self { gpu, cpu, pressure }
    }

    /// Of `idle` thousandths of GPUs those that `cpu` thousandths of cores cannot feed.
    #[must_use]
    pub fn starved(&self, cpu: u64, idle: u64) -> u64 {
        let fed = (u128::from(cpu) * self.gpu).checked_div(self.cpu).unwrap_or(u128::MAX);
        idle.saturating_sub(u64::try_from(fed).unwrap_or(u64::MAX))
    }

    /// What it costs others that thousandths of GPUs of a model are taken.
    #[must_use]
    pub fn sought(&self, model: u8, thousandths: u64) -> u64 {
        self.pressure[usize::from(model) % MODELS] * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_gpus_are_starved_where_processors_do_not_reach_for_them() {
        let each = Ask { cpu: 8_000, gpus: 1, share: 1_000, ..Ask::default() };
        let without = Ask { cpu: 90_000, ..Ask::default() };
        let demand = Demand::new(&[(each, 3), (without, 9)], []);
        for (cores, idle, starved) in [(32, 4, 0), (16, 4, 2_000), (12, 4, 2_500), (0, 1, 1_000)] {
            assert_eq!(demand.starved(cores * 1_000, idle * 1_000), starved, "{cores} {idle}");
        }
        let nothing = Demand::new(&[(Ask { cpu: 0, ..each }, 1)], []);
        assert_eq!(nothing.starved(0, 4_000), 0, "nobody asks for processors");
    }

    #[test]
    fn a_model_is_sought_by_the_share_of_the_demand_over_that_of_the_supply() {
        let any = Ask { gpus: 1, share: 1_000, ..Ask::default() };
        let choosy = Ask { models: 0b10, ..any };
        let demand = Demand::new(&[(any, 3), (choosy, 1)], [(0, 6), (1, 1), (1, 1)]);
        // A quarter of the demand for a quarter of the supply.
        assert_eq!(demand.sought(1, 2_000), 2_000);
        assert_eq!(demand.sought(0, 2_000), 0);
    }

    #[test]
    fn more_than_a_cluster_could_ask_for_overflows_nothing() {
        let most = Ask { cpu: 1 << 32, gpus: 255, share: 1_000, models: 1, memory: 0 };
        let demand = Demand::new(&[(most, 1 << 50); 64], [(0, 1), (1, 1 << 20)]);
        assert!(demand.sought(0, 64_000) > demand.sought(1, 64_000));
        assert!(demand.starved(0, 64_000) == 64_000);
    }
}
