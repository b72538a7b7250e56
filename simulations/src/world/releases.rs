//! Releases of the server that stand beside each other: upgrades one by one, and now and then a
//! step back, in the midst of everything else.

use super::World;
use crate::{event::Event, law::Broken};
use domain::version::{ClusterVersion, Understood};

/// Servers that a cluster begins with.
const FOUNDERS: usize = 3;
/// The release before the newest.
pub const OLD: Understood = Understood {
    oldest: Understood::BUILD.oldest,
    newest: ClusterVersion(Understood::BUILD.newest.0 - 1),
};
/// The newest release.
pub const NEW: Understood = Understood::BUILD;

impl World {
    /// Which release a server's process is started with.
    pub(super) fn choose_release(&mut self, at: usize) -> Understood {
        let healing = self.healing;
        let server = &mut self.servers[at];
        server.release = match server.chance.below(8) {
            _ if healing => NEW,
            0 => OLD,
            1..=3 => server.release,
            _ => NEW,
        };
        server.never_new &= server.release == OLD;
        server.release
    }

    /// A server's release cannot read what the cluster has come to: it is older than what it was
    /// started with before, or the server is newer than the raise. Nothing is lost: its operator
    /// starts another one in a moment.
    pub(super) fn too_old(&mut self, at: usize) -> Result<(), Broken> {
        let server = &mut self.servers[at];
        let id = server.id;
        if server.never_new && id.0 as usize <= FOUNDERS {
            return Err(Broken::new(format!("version_understood: {id} was raised past, unasked")));
        }
        self.coverage.too_old += 1;
        server.release = NEW;
        self.after(500, Event::Boot { server: at });
        Ok(())
    }

    /// The faults are over: servers of the older release are upgraded one after the other.
    pub(super) fn upgrade_all(&mut self) {
        let old = (0..self.servers.len()).filter(|at| self.servers[*at].release == OLD);
        for (turn, at) in old.collect::<Vec<_>>().into_iter().enumerate() {
            self.after(1 + 200 * turn as u64, Event::Crash { server: at, down: 50 });
        }
    }
}
