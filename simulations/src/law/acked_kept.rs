//! `acked_kept`: what was acknowledged is there.

use super::{Broken, leader};
use crate::world::World;

/// Every acknowledged job is known, and every acknowledged cancellation has ended its job.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    for client in &world.clients {
        for (name, job) in &client.acked {
            match view.job_rows(rows, *job) {
                Some((submitted, _)) if submitted.spec.name == *name => {}
                Some((submitted, _)) => {
                    let found = submitted.spec.name;
                    return Err(Broken::new(format!(
                        "acked_kept: {job} is `{found}`, not `{name}`"
                    )));
                }
                None => return Err(Broken::new(format!("acked_kept: {job} `{name}` is lost"))),
            }
        }
        for job in &client.cancelled {
            let ended = view.job_rows(rows, *job).is_some_and(|(_, done)| done.ended.is_some());
            if !ended {
                return Err(Broken::new(format!("acked_kept: {job} was cancelled and goes on")));
            }
        }
    }
    Ok(())
}
