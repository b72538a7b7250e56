//! After healing: there is a leader, every job has ended, and nothing is left over.

use super::{Broken, leader};
use crate::world::World;
use domain::lease::Phase;

/// Looks at the leases that a dead node should hold no longer: those that are being stopped may
/// wait for it, where their jobs ask for certainty.
pub fn released(world: &World, node: usize) -> Result<(), Broken> {
    let server = leader(world)?;
    let (Some(replica), Some(id)) = (&server.replica, world.nodes[node].id()) else {
        return Ok(());
    };
    let view = replica.view().0.0.view();
    let held = view
        .all_leases()
        .find(|lease| lease.member(id).is_some() && !matches!(lease.phase, Phase::Stopping { .. }));
    held.map_or(Ok(()), |lease| {
        Err(Broken::new(format!("healed: {} of {id}, which is dead, still counts", lease.id)))
    })
}

/// Looks at what is left.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let view = replica.view().0.0.view();
    if let Some((id, _)) = view.all_live_jobs().next() {
        let left = view.live_jobs();
        let (_, rows) = replica.view();
        let parts = view.job(rows, id).map(|job| job.parts).unwrap_or_default();
        let open = parts.into_iter().find(|part| !part.state.is_final());
        let open = open.map(|part| (part.id, part.state, part.attempts.into_iter().next_back()));
        return Err(Broken::new(format!("healed: {left} jobs have not ended, {id}: {open:?}")));
    }
    if let Some(lease) = view.all_leases().next() {
        return Err(Broken::new(format!("healed: lease {} is left over", lease.id)));
    }
    if let Some(id) = world.short_of_copies().first() {
        return Err(Broken::new(format!("healed: {id} is short of copies")));
    }
    for (at, client) in world.clients.iter().enumerate() {
        if client.asked.is_some() {
            return Err(Broken::new(format!("healed: client {at} has no answer")));
        }
    }
    Ok(())
}
