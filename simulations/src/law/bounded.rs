//! After healing: queues, logs and memory are back within their bounds, and every server that
//! can be reached holds the same as the leader.

use super::{Broken, leader};
use crate::{
    damage::Damage,
    server::Server,
    world::{DIGEST_EVERY, World},
};

/// Callers that may wait at rest: heartbeats and duties of the last moment.
const WAITING_MAX: usize = 16;
/// Writes that may be on their way at rest.
const WRITES_MAX: usize = 4;

/// Looks at every server that should have all.
pub fn check(world: &World) -> Result<(), Broken> {
    let leader = leader(world)?;
    let applied = leader.replica.as_ref().map_or(0, |replica| replica.applied().0);
    // A leader whose memory differs, which the next digest will show, can teach nobody.
    let wanted = if leader.damage.is_some() { 0 } else { applied.min(world.rest_index) };
    world.servers.iter().try_for_each(must_have_stopped)?;
    world.servers.iter().filter(|server| world.is_whole(server)).try_for_each(|server| {
        let held = server.replica.as_ref().map_or(0, |replica| replica.applied().0);
        if held < wanted {
            let id = server.id;
            return Err(Broken::new(format!("bounded: {id} is at entry {held}, not {wanted}")));
        }
        sizes(server, world.log_max())
    })
}

/// A replica whose memory differs is found out when digests are compared.
fn must_have_stopped(server: &Server) -> Result<(), Broken> {
    let (Some(Damage::Memory { since }), Some(replica)) = (server.damage, &server.replica) else {
        return Ok(());
    };
    let (id, applied) = (server.id, replica.applied().0);
    if applied < since + 3 * DIGEST_EVERY {
        return Ok(());
    }
    Err(Broken::new(format!(
        "state_digest: {id} differs since entry {since}, at {applied} it runs"
    )))
}

fn sizes(server: &Server, log_max: usize) -> Result<(), Broken> {
    let figures = [
        ("callers wait", server.waiting(), WAITING_MAX),
        ("writes are on their way", server.disk.pending(), WRITES_MAX),
        ("entries are in the log", server.disk.log_len(), log_max),
        ("families of rows are kept", server.disk.families(), 1),
    ];
    let over = figures.into_iter().find(|(_, count, max)| count > max);
    over.map_or(Ok(()), |(what, count, max)| {
        let id = server.id;
        Err(Broken::new(format!("bounded: on {id} {count} {what}, {max} are the most")))
    })
}
