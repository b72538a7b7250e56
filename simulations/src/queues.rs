//! The queues that clients wait in, and how operators change them meanwhile.

use crate::chance::Chance;
use domain::{
    Millis,
    queue::{ClusterConfig, DEFAULT, Order, PriorityClasses, QueueSpec},
    retain::Retain,
};

/// GPUs of the largest gang that a client asks for: no bound is below, so that every job can run.
const LARGEST_GANG: u64 = 8;
/// Queues that jobs wait in; some are not there at times.
pub const LEAVES: [&str; 3] = [DEFAULT, "ml-a", "ml-b"];

/// Some configuration: a queue of two parts, or of none, with any weights and bounds.
#[must_use]
pub fn draw(chance: &mut Chance) -> ClusterConfig {
    let mut config =
        ClusterConfig { half_life: Millis(chance.below(3) * 20_000), ..ClusterConfig::default() };
    if chance.one_in(4) {
        return config;
    }
    let bound = |chance: &mut Chance| (!chance.one_in(3)).then(|| LARGEST_GANG + chance.below(2));
    let mut add = |name: &str, parent: Option<&str>, guaranteed: u64, chance: &mut Chance| {
        let spec = QueueSpec {
            parent: parent.map(Into::into),
            weight: 1 + chance.below(3) as u32,
            guaranteed_gpus: guaranteed,
            borrow_gpus_max: bound(chance),
            user_gpus_max: bound(chance),
            user_running_max: (!chance.one_in(3)).then(|| 1 + chance.below(3) as u32),
            priority_max: None,
            isolation: domain::isolation::Isolation::None,
            budget_gpu_hours: None,
            budget_period: None,
            verify: None,
            retain: None,
        };
        config.queues.insert(name.to_owned(), spec);
    };
    add("ml", None, 4, chance);
    add("ml-a", Some("ml"), 1 + chance.below(3), chance);
    if !chance.one_in(3) {
        add("ml-b", Some("ml"), 1, chance);
    }
    config
}

/// The same, with how long its queues keep results and who goes first in them, and at times with
/// names for priorities.
#[must_use]
pub fn draw_keeping(mut config: ClusterConfig, chance: &mut Chance) -> ClusterConfig {
    if chance.one_in(3) {
        let urgent = ("urgent".to_owned(), chance.below(3) as i32);
        config.priority_classes = PriorityClasses([urgent].into());
    }
    let leaves: Vec<String> =
        config.queues.keys().filter(|name| !config.is_parent(name)).cloned().collect();
    for queue in leaves {
        let order = if chance.one_in(2) { Order::Shortest } else { Order::Age };
        config.orders.set(&queue, order);
    }
    for queue in config.queues.values_mut() {
        queue.retain = match chance.below(4) {
            0 => Some(Retain::Forever),
            1 | 2 => Some(Retain::For(Millis(chance.below(60_000)))),
            _ => None,
        };
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_that_is_drawn_is_possible() {
        let mut chance = Chance::new(7);
        for _ in 0..1_000 {
            draw(&mut chance).check().unwrap();
        }
    }
}
