//! `ledger_balances`: useful, rework, lost, held idle and free are wall times GPUs. After every
//! entry the state sees to it; at rest, its rows and documents tell the same.

use super::Broken;
use crate::{server::Server, world::World};
use domain::{
    Millis,
    gpu_time::{GpuTime, UsageView},
};
use scheduler::state::view::{UsageAsked, UsageBy};

/// More rows than any run has.
const ALL: usize = 1_000_000;

/// Looks at every server that should have all.
pub fn check(world: &World) -> Result<(), Broken> {
    world.servers.iter().filter(|server| world.is_whole(server)).try_for_each(of)
}

fn of(server: &Server) -> Result<(), Broken> {
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let id = server.id;
    let told = |by| {
        let asked = UsageAsked {
            by,
            first: 0,
            last: u64::MAX - 1,
            queue: None,
            after: None,
            limit: ALL,
            until: Millis(0),
        };
        let view = machine.0.view().usage(rows, &asked);
        view.map_err(|fault| Broken::new(format!("ledger_balances: {id}: {fault}")))
    };
    let sum = |view: &UsageView| {
        view.lines.iter().fold(GpuTime::default(), |sum, line| sum.plus(&line.time))
    };
    for by in [UsageBy::User, UsageBy::Job] {
        let view = told(by)?;
        if !view.balances() {
            let (wall, free) = (view.wall_gpu_ms, view.free_gpu_ms);
            let held = view.total.held();
            let what = format!("{held} held and {free} free are not {wall}");
            return Err(Broken::new(format!("ledger_balances: on {id} {what}")));
        }
        if sum(&view) != view.total {
            return Err(Broken::new(format!("ledger_balances: on {id} lines by {by:?} differ")));
        }
    }
    Ok(())
}
