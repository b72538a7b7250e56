//! Looks at outputs while they are written.

use super::Shell;
use crate::{driver::clock, store::Stores};
use domain::Millis;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Time between two looks.
const LOOK_EVERY: Millis = Millis(1_000);

/// The look that is under way.
#[derive(Default)]
pub(super) struct Aheads {
    looked: Millis,
    pub(super) looks: JoinSet<()>,
}

impl<B: Stores> Shell<B> {
    /// Begins a look, if one is due.
    pub(super) fn look_ahead(&mut self) {
        let now = clock::boot_now();
        if !self.aheads.looks.is_empty() || now.minus(self.aheads.looked) < LOOK_EVERY {
            return;
        }
        self.aheads.looked = now;
        let followed = self.leases.iter().filter_map(|(lease, local)| {
            Some((Arc::clone(&local.ahead.as_ref()?.0), self.dirs.lease(*lease)))
        });
        let followed: Vec<_> = followed.collect();
        if !followed.is_empty() {
            self.aheads.looks.spawn_blocking(move || {
                for (ahead, dirs) in followed {
                    ahead.look(&dirs);
                }
            });
        }
    }
}
