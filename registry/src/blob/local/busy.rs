//! Blobs that somebody stores, deletes or sets aside: only who wants the same one waits.

use domain::Digest;
use std::{
    collections::BTreeSet,
    sync::{Condvar, Mutex, MutexGuard},
};

#[derive(Debug, Default)]
pub(super) struct Busy {
    blobs: Mutex<BTreeSet<Digest>>,
    free: Condvar,
}

/// Some blobs, held until this is dropped.
pub(super) struct Held<'a> {
    of: &'a Busy,
    blobs: BTreeSet<Digest>,
}

impl Busy {
    fn blobs(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.blobs.lock().expect("no holder of this lock can panic")
    }

    /// Waits until nobody holds any of these, and holds all of them. Never by who holds some.
    pub fn hold(&self, blobs: impl IntoIterator<Item = Digest>) -> Held<'_> {
        let blobs: BTreeSet<Digest> = blobs.into_iter().collect();
        let busy = |all: &mut BTreeSet<Digest>| !all.is_disjoint(&blobs);
        let held = self.free.wait_while(self.blobs(), busy);
        held.expect("no holder of this lock can panic").extend(&blobs);
        Held { of: self, blobs }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut all = self.of.blobs();
        self.blobs.iter().for_each(|blob| {
            all.remove(blob);
        });
        self.of.free.notify_all();
    }
}
