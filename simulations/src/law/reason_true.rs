//! `reason_true`, its first half: every waiting job has a reason.

use super::Broken;
use crate::server::Server;
use scheduler::planner;

/// Entries between two questions.
const EVERY: u64 = 8;

/// Asks for one waiting job, now and then. Says whether it asked.
pub fn check(server: &Server) -> Result<bool, Broken> {
    let Some(replica) = &server.replica else { return Ok(false) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    if !view.applied().0.is_multiple_of(EVERY) {
        return Ok(false);
    }
    let Some(id) = view.waiting_jobs().max() else {
        return Ok(false);
    };
    match planner::why(&view, rows, id, view.now()) {
        Some(why) if !why.reasons.is_empty() => Ok(true),
        _ => Err(Broken::new(format!("reason_true: {id} waits and no reason is known"))),
    }
}
