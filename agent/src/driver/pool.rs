//! Lease folders that are used again.

use super::{
    clock,
    dirs::{LeaseDirs, NodeDirs, emptied, remove},
    supervisor::HOUSEKEEPING,
};
use domain::{LeaseId, Millis, limit::KILL_GRACE};
use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Emptied folders that wait for a lease.
const POOL_MAX: usize = 4_096;
/// Time for which they rest.
const REST: Millis = Millis(15_000);
const _: () = assert!(REST.0 > HOUSEKEEPING.as_millis() as u64 + KILL_GRACE.0);

/// A disk with less than this part of it free is tight.
const TIGHT: u64 = 10;
/// Longest wait, on a tight disk, for what earlier leases left to be removed.
const ROOM_WAIT: Duration = Duration::from_secs(30);

/// Emptied folders of earlier leases, for later ones.
///
/// Source: measured. ext4 searches long for an inode when many were freed in the last seconds:
/// removing and making six folders for each job took more than half of a short job's time.
///
/// A folder rests before it is used again, longer than the supervisor takes to find a process
/// that outlived its task; whatever such a process wrote meanwhile is removed then. It need not
/// where the supervisor saw that nothing outlived the tasks: so a burst of short jobs goes
/// through few folders.
#[derive(Debug)]
pub struct FolderPool {
    dir: PathBuf,
    rest: Millis,
    free: Mutex<Free>,
    /// Leases whose folders are on their way back.
    leaving: watch::Sender<BTreeSet<LeaseId>>,
}

/// A lease's folders are on their way back for as long as this lives.
#[derive(Debug)]
pub struct Leaving {
    pool: Arc<FolderPool>,
    lease: LeaseId,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.pool.leaving.send_modify(|leaving| {
            leaving.remove(&self.lease);
        });
    }
}

#[derive(Debug, Default)]
struct Free {
    /// Each with the instant from which on it may be used, ascending.
    names: VecDeque<(Millis, u64)>,
    next: u64,
}

/// When a folder may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing is left that knows of it.
    AtOnce,
    /// A process may be left that writes to it.
    Rest,
}

impl FolderPool {
    /// An empty pool in `dirs`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(dirs: &NodeDirs) -> io::Result<Self> {
        Self::open_with(dirs, REST)
    }

    fn open_with(dirs: &NodeDirs, rest: Millis) -> io::Result<Self> {
        let dir = dirs.pool();
        emptied(&dir)?;
        Ok(Self { dir, rest, free: Mutex::default(), leaving: watch::Sender::default() })
    }

    /// Says that a lease's folders are on their way back.
    #[must_use]
    pub fn leaving(self: &Arc<Self>, lease: LeaseId) -> Leaving {
        self.leaving.send_modify(|leaving| {
            leaving.insert(lease);
        });
        Leaving { pool: Arc::clone(self), lease }
    }

    /// Waits, on a tight disk, until what earlier leases left is removed: a task that starts
    /// while its room is still held would fail for want of it, and by the time that somebody
    /// looks for the cause there is room. After [`ROOM_WAIT`] it has to do with what is free.
    pub async fn room(&self) {
        let Ok(figures) = rustix::fs::statvfs(&self.dir) else { return };
        if figures.f_bavail < figures.f_blocks / TIGHT {
            self.all_left().await;
        }
    }

    async fn all_left(&self) {
        let mut seen = self.leaving.subscribe();
        let earlier = seen.borrow().clone();
        let gone = seen.wait_for(|leaving| leaving.is_disjoint(&earlier));
        // Its sender lives as long as `self`, so there is nothing to hear of but the wait's end.
        let _ = tokio::time::timeout(ROOM_WAIT, gone).await;
    }

    /// Makes a lease's folders, from emptied ones if some have rested.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn take(&self, lease: &LeaseDirs) -> io::Result<()> {
        let Some(name) = self.rested() else { return lease.create() };
        remove(&lease.root)?;
        fs::rename(self.dir.join(name.to_string()), &lease.root)
            .and_then(|()| lease.empty())
            .or_else(|_| lease.create())
    }

    fn rested(&self) -> Option<u64> {
        let mut free = self.free();
        let (at, name) = free.names.front().copied()?;
        if at > clock::boot_now() {
            return None;
        }
        free.names.pop_front();
        Some(name)
    }

    /// Takes back the folders of a lease that is over, or removes them.
    ///
    /// # Errors
    /// When they can be neither emptied nor removed.
    pub fn give_back(&self, lease: &LeaseDirs, reuse: Reuse) -> io::Result<()> {
        let name = {
            let mut free = self.free();
            free.next += 1;
            Some(free.next).filter(|_| free.names.len() < POOL_MAX)
        };
        if let Some(name) = name
            && lease.empty().is_ok()
            && fs::rename(&lease.root, self.dir.join(name.to_string())).is_ok()
        {
            let mut free = self.free();
            match reuse {
                Reuse::AtOnce => free.names.push_front((Millis(0), name)),
                Reuse::Rest => free.names.push_back((clock::boot_now().plus(self.rest), name)),
            }
            return Ok(());
        }
        remove(&lease.root)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::Permissions,
        os::unix::fs::{MetadataExt, PermissionsExt},
        path::Path,
    };

    #[test]
    fn a_folder_from_the_pool_is_as_good_as_new() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let pool = FolderPool::open_with(&dirs, Millis(0)).unwrap();
        let lease = |index| dirs.lease(LeaseId { index, ordinal: 0 });
        let first = lease(1);
        pool.take(&first).unwrap();
        fs::write(first.out().join("model"), "x").unwrap();
        fs::write(first.log(0), "printed").unwrap();
        fs::create_dir_all(first.data().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", first.tmp().join("link")).unwrap();
        fs::set_permissions(first.code(), Permissions::from_mode(0o500)).unwrap();
        pool.give_back(&first, Reuse::Rest).unwrap();
        assert!(!first.root.exists());
        let second = lease(2);
        pool.take(&second).unwrap();
        assert_eq!(fs::read(second.log(0)).unwrap(), b"");
        fs::remove_file(second.log(0)).unwrap();
        assert!(second.all().iter().all(|folder| fs::read_dir(folder).unwrap().count() == 0));
        assert_eq!(fs::read_dir(&second.root).unwrap().count(), 5);
        assert_eq!(second.code().metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn a_folder_rests_before_it_is_used_again() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let pool = FolderPool::open(&dirs).unwrap();
        let lease = dirs.lease(LeaseId { index: 1, ordinal: 0 });
        pool.take(&lease).unwrap();
        let used = lease.root.metadata().unwrap().ino();
        pool.give_back(&lease, Reuse::Rest).unwrap();
        pool.take(&lease).unwrap();
        let other = lease.root.metadata().unwrap().ino();
        assert_ne!(other, used);
        pool.give_back(&lease, Reuse::AtOnce).unwrap();
        pool.take(&lease).unwrap();
        assert_eq!(lease.root.metadata().unwrap().ino(), other, "nobody knows of it");
    }

    #[tokio::test]
    async fn a_tight_disk_is_waited_for_until_what_was_leaving_has_left() {
        let root = tempfile::tempdir().unwrap();
        let pool = Arc::new(FolderPool::open(&NodeDirs { root: root.path().to_owned() }).unwrap());
        pool.all_left().await;
        let lease = |index| LeaseId { index, ordinal: 0 };
        let earlier = pool.leaving(lease(1));
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.all_left().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let later = pool.leaving(lease(2));
        drop(earlier);
        waiting.await.unwrap();
        drop(later);
    }

    #[test]
    fn a_folder_that_was_replaced_by_a_link_does_not_come_back() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let pool = FolderPool::open_with(&dirs, Millis(0)).unwrap();
        let lease = dirs.lease(LeaseId { index: 1, ordinal: 0 });
        pool.take(&lease).unwrap();
        fs::remove_dir(lease.out()).unwrap();
        std::os::unix::fs::symlink("/etc", lease.out()).unwrap();
        pool.give_back(&lease, Reuse::Rest).unwrap();
        pool.take(&lease).unwrap();
        assert!(lease.out().symlink_metadata().unwrap().is_dir());
    }
}
