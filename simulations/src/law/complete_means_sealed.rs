//! `complete_means_sealed`: a completed element has its artifact, on enough servers.

use super::{Broken, leader};
use crate::world::World;
use domain::{ElementId, JobId, job::ElementState, limit, port::RowRead};
use scheduler::state::view::View;

/// Looks at an element whose row an entry has changed.
pub fn look(
    view: &View<'_>,
    rows: &impl RowRead,
    job: JobId,
    position: u32,
    state: &ElementState,
) -> Result<(), Broken> {
    let ElementState::Completed { artifact } = state else { return Ok(()) };
    let own = |of: &ElementId| of.job == job && of.index.is_none_or(|index| index == position);
    let sealed = view.artifact(rows, *artifact).map(|found| found.artifact);
    match sealed.is_some_and(|it| own(&it.ticket.element) && it.copies.len() >= limit::BLOB_COPIES)
    {
        true => Ok(()),
        false => Err(Broken::new(format!(
            "complete_means_sealed: element {position} of {job} becomes complete without a whole \
             {artifact}"
        ))),
    }
}

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
