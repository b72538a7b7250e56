//! How much the folders of a lease hold, looked at from time to time.
//!
//! Quotas of the file system itself would hold at each write, and need a mount option that few
//! machines have: between two looks a job may write more than it may keep.

use super::dirs::LeaseDirs;
use domain::Bytes;
use rustix::fs::statvfs;
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of a block, as files count theirs.
const BLOCK: u64 = 512;
/// What a lease without a request leaves of the room that is free: one part in so many. Of the room
/// and not of the disk: on a disk that is nearly full a part of the disk may be all that is free, and
/// then no job could write a byte.
const RESERVE: u64 = 20;
/// What its checkpoints leave of the disk: the rest of the reserve is theirs alone, so that a job
/// whose output or scratch fills the disk can still save where it is.
const CHECKPOINTS_LEAVE: u64 = 100;
/// Looks after which the folders are walked, whatever the disk says.
const WALK_ANYWAY: u32 = 30;

/// The watch over one lease's folders.
#[derive(Clone, Debug)]
pub struct Watched {
    dirs: LeaseDirs,
    limit: Bytes,
    /// Bytes that checkpoints may hold beyond the limit.
    reserve: Bytes,
    /// What they held when they were walked, and what was free then.
    walked: Option<(Bytes, Bytes)>,
    looks: u32,
}

impl Watched {
    /// A watch over a lease's folders, which may hold `asked`, or else all but a twentieth of what
    /// the disk has room for now.
    #[must_use]
    pub fn new(dirs: LeaseDirs, asked: Option<Bytes>) -> Self {
        let free = room(&dirs.root);
        let (limit, reserve) = match asked {
            Some(asked) => (asked, Bytes(0)),
            None => {
                let limit = free.minus(Bytes(free.0 / RESERVE));
                (limit, free.minus(Bytes(free.0 / CHECKPOINTS_LEAVE)).minus(limit))
            }
        };
        Self { dirs, limit, reserve, walked: None, looks: 0 }
    }

    /// What the folders may hold.
    #[must_use]
    pub fn limit(&self) -> Bytes {
        self.limit
    }

    /// What they hold, if that is more than they may.
    ///
    /// They are walked only if the disk has lost as much room since the last walk as is left to
    /// them: a look at a job that writes little costs one call.
    pub fn look(&mut self) -> Option<Bytes> {
        let free = room(&self.dirs.root);
        self.looks += 1;
        if let Some((held, before)) = self.walked
            && held.plus(before.minus(free)) <= self.limit
            && self.looks < WALK_ANYWAY
        {
            return None;
        }
        let checkpoints = held(&[self.dirs.checkpoints()]);
        let others = held(&[self.dirs.out(), self.dirs.tmp(), self.dirs.logs()]);
        // What lies in the reserve is left out.
        let all = others.plus(checkpoints.minus(self.reserve.min(checkpoints)));
        (self.walked, self.looks) = (Some((all, free)), 0);
        Some(all).filter(|all| *all > self.limit)
    }
}

/// Bytes that folders hold.
fn held(dirs: &[PathBuf]) -> Bytes {
    let files = dirs.iter().flat_map(walkdir::WalkDir::new).filter_map(Result::ok);
    let sizes = files.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * BLOCK));
    sizes.fold(Bytes(0), |sum, size| sum.plus(Bytes(size)))
}

/// What is free where a folder stands; nothing where that cannot be told.
fn room(path: &Path) -> Bytes {
    statvfs(path).map_or(Bytes(0), |it| Bytes(it.f_bavail.saturating_mul(it.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::dirs::NodeDirs;
    use domain::LeaseId;

    #[test]
    fn folders_that_hold_more_than_they_may_are_told() {
        let root = tempfile::tempdir().unwrap();
        let dirs =
            NodeDirs { root: root.path().to_owned() }.lease(LeaseId { index: 1, ordinal: 0 });
        dirs.create().unwrap();
        let mut watched = Watched::new(dirs.clone(), Some(Bytes(1 << 20)));
        assert_eq!(watched.look(), None);
        std::fs::write(dirs.out().join("a"), vec![1; 900 << 10]).unwrap();
        std::fs::write(dirs.tmp().join("b"), vec![1; 900 << 10]).unwrap();
        watched.looks = WALK_ANYWAY;
        assert!(watched.look().is_some_and(|held| held > Bytes(1 << 20)));
        let free = room(root.path());
        assert!(Watched::new(dirs, None).limit() > Bytes(free.0 / 2));
    }

    #[test]
    fn checkpoints_may_hold_what_everything_else_must_leave() {
        let root = tempfile::tempdir().unwrap();
        let dirs =
            NodeDirs { root: root.path().to_owned() }.lease(LeaseId { index: 1, ordinal: 0 });
        dirs.create().unwrap();
        let fresh = Watched::new(dirs.clone(), None);
        assert!(fresh.reserve > Bytes(0), "four hundredths of the disk");
        let watch = Watched { limit: Bytes(1 << 20), reserve: Bytes(1 << 20), ..fresh };
        let after = |folder: PathBuf| {
            std::fs::write(folder.join("more"), vec![1; 900 << 10]).unwrap();
            Watched { walked: None, ..watch.clone() }.look()
        };
        assert_eq!(after(dirs.out()), None);
        assert_eq!(after(dirs.checkpoints()), None, "the reserve is for this");
        assert!(after(dirs.tmp()).is_some_and(|held| held > Bytes(1 << 20)));
    }
}
