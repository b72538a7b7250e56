//! The windows of nodes and time that operators make and take back meanwhile.

use crate::chance::Chance;
use domain::{
    Millis,
    reservation::{Reservation, WantedNodes, WindowKind},
};
use scheduler::state::command::{Command, WindowCommand};

/// Names of windows: so few that now and then one is there already.
const NAMES: u64 = 3;
/// Latest begin of a window from now, and its longest time: all are over before long, so that
/// every job can run. Unit: ms.
const BOUNDS: (u64, u64) = (15_000, 12_000);
/// Shortest and longest time limit of a job: seldom reached by its work. Unit: ms.
const LIMITS: (u64, u64) = (20_000, 60_000);

/// The name of some window.
#[must_use]
pub fn name(chance: &mut Chance) -> String {
    format!("w{}", chance.below(NAMES))
}

/// Some change of the windows, as of a time.
#[must_use]
pub fn draw(chance: &mut Chance, now: Millis) -> Command {
    let name = name(chance);
    if chance.one_in(4) {
        return Command::Reserve(WindowCommand::Delete { name });
    }
    let kind = match chance.one_in(2) {
        true => WindowKind::Maintenance,
        false => WindowKind::Reservation,
    };
    let one = |name: String, takes: bool| takes.then_some(name).into_iter().collect();
    let listed = kind == WindowKind::Reservation;
    let users = one(format!("c{}", chance.below(3)), listed && chance.one_in(2));
    let queues = one("default".to_owned(), listed && chance.one_in(4));
    Command::Reserve(WindowCommand::Create(Reservation {
        name,
        nodes: WantedNodes::Count { count: 1 + chance.below(2) as u32, gpu_model: None },
        start: now.plus(Millis(chance.below(BOUNDS.0))),
        duration: Millis(1 + chance.below(BOUNDS.1)),
        users,
        queues,
        kind,
        reason: "drawn".into(),
    }))
}

/// The time limit of some job, if it has one.
#[must_use]
pub fn limit(chance: &mut Chance) -> Option<Millis> {
    chance.one_in(2).then(|| Millis(chance.between(LIMITS.0, LIMITS.1)))
}
