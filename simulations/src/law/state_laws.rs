//! The state's own laws: `one_lease_per_gpu`, `gang_whole`, `attempt_once`, counts and order.

use super::Broken;
use crate::server::Server;

/// Asks the state itself.
pub fn check(server: &Server) -> Result<(), Broken> {
    let Some(replica) = &server.replica else { return Ok(()) };
    match replica.view().0.0.broken_invariant() {
        None => Ok(()),
        Some(what) => Err(Broken::new(what)),
    }
}
