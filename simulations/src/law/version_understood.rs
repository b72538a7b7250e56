//! The cluster runs at what all its members understand: no process runs at a version that its
//! release does not understand, and at rest, with all members there, it is the newest.

use super::{Broken, leader};
use crate::{
    server::Server,
    world::{World, releases},
};

/// Looks at one process.
pub fn check(server: &Server) -> Result<(), Broken> {
    let Some(replica) = &server.replica else { return Ok(()) };
    let (version, newest) = (replica.view().0.0.version(), server.release.newest);
    if version <= newest {
        return Ok(());
    }
    let id = server.id;
    Err(Broken::new(format!(
        "version_understood: {id} understands up to {newest} and runs at {version}"
    )))
}

/// Looks at the cluster at rest.
pub fn settled(world: &World) -> Result<(), Broken> {
    let leader = leader(world)?;
    let Some(replica) = &leader.replica else { return Ok(()) };
    let version = replica.view().0.0.version();
    let there = |id: &domain::ReplicaId| {
        let server = &world.servers[id.0 as usize - 1];
        world.is_whole(server) && server.replica.is_some()
    };
    let all = replica.membership().everyone().iter().all(there) && world.forever.is_empty();
    if !all || version == releases::NEW.newest {
        return Ok(());
    }
    let all = releases::NEW.newest;
    Err(Broken::new(format!("version_understood: all know {all}, the cluster is at {version}")))
}
