//! What tasks see of a notice, and the count of what they save meanwhile.

use super::Shell;
use crate::{driver::clock, store::Stores};
use domain::{LeaseId, Millis, job::EndCause, limit};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio::task::JoinSet;

/// Time between two counts.
const COUNT_EVERY: Millis = Millis(500);

/// Leases with the bytes of their checkpoints that were written, hashed and sent.
pub(super) type Counts = Vec<(LeaseId, u64)>;

/// The counts of leases that have notice.
#[derive(Default)]
pub(super) struct Notices {
    looked: Millis,
    pub(super) looks: JoinSet<Counts>,
}

impl<B: Stores> Shell<B> {
    /// Tells tasks how they end: the file appears whole.
    pub(super) fn notice(&mut self, lease: LeaseId, cause: &EndCause) {
        tracing::warn!(%lease, %cause, "tasks are asked for a checkpoint");
        let path = self.dirs.lease(lease).notice();
        let text = serde_json::to_string(cause).expect("a cause is JSON");
        let written = fs::write(path.with_extension("new"), format!("{text}\n"));
        let renamed = written.and_then(|()| fs::rename(path.with_extension("new"), &path));
        if let Err(why) = renamed {
            tracing::warn!(%lease, %why, "notice not written");
        }
    }

    /// Takes that back.
    pub(super) fn unnotice(&mut self, lease: LeaseId) {
        match fs::remove_file(self.dirs.lease(lease).notice()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%lease, %why, "notice not taken back");
            }
            _ => {}
        }
    }

    /// Begins a count, if one is due.
    pub(super) fn look_at_noticed(&mut self) {
        let now = clock::boot_now();
        let due = self.notices.looks.is_empty() && now >= self.notices.looked.plus(COUNT_EVERY);
        if !due {
            return;
        }
        let noticed: Vec<(LeaseId, PathBuf, u64)> = self
            .machine
            .noticed()
            .map(|lease| {
                let moved = self.leases.get(&lease).map_or(0, |local| local.meter.bytes());
                (lease, self.dirs.lease(lease).checkpoints(), moved)
            })
            .collect();
        if noticed.is_empty() {
            return;
        }
        self.notices.looked = now;
        self.notices.looks.spawn_blocking(move || {
            let count = |(lease, folder, moved): (LeaseId, PathBuf, u64)| {
                (lease, moved.saturating_add(held(&folder)))
            };
            noticed.into_iter().map(count).collect()
        });
    }

    /// Hands on what was counted.
    pub(super) fn on_counts(&mut self, counts: Counts) {
        for (lease, bytes) in counts {
            self.feed(crate::machine::Input::Advanced { lease, bytes });
        }
    }
}

/// Bytes of all files in a folder, as far as they can be seen.
fn held(folder: &Path) -> u64 {
    let mut open = vec![folder.to_owned()];
    let (mut sum, mut seen) = (0u64, 0);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > limit::TREE_FILES_MAX {
                return sum;
            }
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => sum = sum.saturating_add(meta.len()),
                Err(_) => {}
            }
        }
    }
    sum
}
