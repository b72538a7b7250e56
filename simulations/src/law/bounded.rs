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
    let wanted = wanted(world)?;
    world.servers.iter().try_for_each(must_have_stopped)?;
    world.servers.iter().filter(|server| world.is_whole(server)).try_for_each(|server| {
        let held = applied(server);
        if held < wanted {
            let id = server.id;
            return Err(Broken::new(format!("bounded: {id} is at entry {held}, not {wanted}")));
        }
        sizes(server, world.log_max())
    })
}

/// The entry that every whole server must hold at rest.
fn wanted(world: &World) -> Result<u64, Broken> {
    let leader = leader(world)?;
    // A leader whose memory differs, which the next digest will show, can teach nobody.
    Ok(if leader.damage.is_some() { 0 } else { applied(leader).min(world.rest_index) })
}

/// Whether a server was taught all that was there when the world came to rest: one that nobody
/// could teach lacks what is newer, and has lost nothing.
pub fn was_taught(world: &World, server: &Server) -> bool {
    world.is_whole(server) && applied(server) >= world.rest_index
}

fn applied(server: &Server) -> u64 {
    server.replica.as_ref().map_or(0, |replica| replica.applied().0)
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
