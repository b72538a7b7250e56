//! The watch over what the folders of leases hold.

use super::Shell;
use crate::{
    driver::{clock, quota::Watched},
    machine::Input,
    store::Stores,
};
use domain::{Bytes, LeaseId, Millis, isolation::Isolation, job::EndCause, link::WantedLease};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Time between two looks.
const LOOK_EVERY: Millis = Millis(500);

/// Watches, and what the look under way found.
pub(super) type Found = (BTreeMap<LeaseId, Watched>, Vec<(LeaseId, Bytes, Bytes)>);

/// The leases whose folders are watched.
#[derive(Default)]
pub(super) struct Quotas {
    watched: BTreeMap<LeaseId, Watched>,
    looked: Millis,
    pub(super) looks: JoinSet<Found>,
}

impl<B: Stores> Shell<B> {
    /// Begins to watch a lease that asks for room, or runs in a sandbox.
    pub(super) fn watch_disk(&mut self, wanted: &WantedLease) {
        let asked = wanted.confinement();
        let plain = asked.on(self.inventory.isolation.default) == Isolation::None;
        if plain && asked.disk.is_none() {
            return;
        }
        let dirs = self.dirs.lease(wanted.lease.id);
        self.quotas.watched.insert(wanted.lease.id, Watched::new(dirs, asked.disk));
    }

    /// Begins a look, if one is due.
    pub(super) fn look_at_disk(&mut self) {
        let now = clock::boot_now();
        let leases = &self.leases;
        self.quotas.watched.retain(|lease, _| leases.contains_key(lease));
        let idle = self.quotas.watched.is_empty() || !self.quotas.looks.is_empty();
        if idle || now.minus(self.quotas.looked) < LOOK_EVERY {
            return;
        }
        self.quotas.looked = now;
        let mut watched = self.quotas.watched.clone();
        self.quotas.looks.spawn_blocking(move || {
            let mut over = Vec::new();
            for (lease, watch) in &mut watched {
                if let Some(held) = watch.look() {
                    over.push((*lease, held, watch.limit()));
                }
            }
            (watched, over)
        });
    }

    /// Ends the leases whose folders hold more than they may.
    pub(super) fn on_disk(&mut self, (watched, over): Found) {
        for (lease, watch) in watched {
            // One that was forgotten meanwhile stays so.
            if let Some(known) = self.quotas.watched.get_mut(&lease) {
                *known = watch;
            }
        }
        for (lease, used, limit) in over {
            let cause = EndCause::DiskQuota { used, limit };
            tracing::warn!(%lease, %cause, "lease is over its disk quota");
            self.quotas.watched.remove(&lease);
            self.feed(Input::Faulted { lease, cause });
        }
    }
}
