//! `complete_means_sealed`: a completed element has its artifact, on enough servers.

use super::{Broken, leader};
use crate::world::World;
use domain::{JobId, job::ElementState, limit};

/// Looks at every job that ever was.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    for job in (1..).map(JobId).map_while(|id| view.job(rows, id)) {
        for part in &job.parts {
            let ElementState::Completed { artifact } = &part.state else { continue };
            let sealed = view.artifact(rows, *artifact).map(|found| found.artifact);
            let whole = sealed.is_some_and(|sealed| {
                sealed.ticket.element == part.id && sealed.copies.len() >= limit::BLOB_COPIES
            });
            if !whole {
                return Err(Broken::new(format!(
                    "complete_means_sealed: {} is complete without a whole {artifact}",
                    part.id
                )));
            }
        }
    }
    Ok(())
}
