//! Who runs where: a pure function of a view, with a reason for everything that waits.

mod backfill;
mod bound;
mod checks;
mod class;
mod costs;
mod demand;
mod fit;
mod free;
mod gated;
mod held;
mod making_room;
pub mod mix;
mod near;
pub mod order;
mod part;
mod pass;
mod preempt;
mod reason;
mod replay;
pub mod room;
pub mod score;
pub mod share;
mod shortage;
mod sites;
mod stock;
mod topology;
mod victims;
mod waits;
mod windows;

#[cfg(test)]
mod advice_test;
#[cfg(test)]
mod backfill_test;
#[cfg(test)]
mod costs_test;
#[cfg(test)]
mod isolation_test;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod order_test;
#[cfg(test)]
mod preempt_test;
#[cfg(test)]
mod reason_test;
#[cfg(test)]
mod share_test;
#[cfg(test)]
mod stock_test;
#[cfg(test)]
mod topology_test;
#[cfg(test)]
mod windows_test;

pub use checks::{in_the_way, seats};
pub use fit::place_gang;
pub use free::FreeNode;
pub use pass::{HOLD_AFTER, Plan, plan};
pub use reason::why;
pub use replay::{Recorded, ReplayFault, remake, replay, replay_preemption};

/// Version of the rules by which plans are made, recorded with each plan.
pub const POLICY_VERSION: u32 = 7;

/// Gangs that one plan of the leader tries at most.
pub const BUDGET_STEPS: u64 = 4_096;
