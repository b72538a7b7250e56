//! The folders of a node and of each lease on it.

use domain::LeaseId;
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Emptied folders that wait for a lease.
const POOL_MAX: usize = 256;

/// A node's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDirs {
    /// Where all of it stands.
    pub root: PathBuf,
}

impl NodeDirs {
    /// The folder of all leases.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    /// The folder of verified blobs.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// A lease's folders.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> LeaseDirs {
        LeaseDirs { root: self.leases().join(lease.to_string()) }
    }
}

/// One lease's folders and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseDirs {
    /// Where all of it stands.
    pub root: PathBuf,
}

impl LeaseDirs {
    /// The code folder, which is the working directory.
    #[must_use]
    pub fn code(&self) -> PathBuf {
        self.root.join("code")
    }

    /// The folder of data sets.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What tasks write as their result.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// Where checkpoints are renamed into place.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("ckpt")
    }

    /// A complete checkpoint.
    #[must_use]
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("step-{step}"))
    }

    /// Scratch space and home folder.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// What tasks print, and their metrics.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// What one rank prints.
    #[must_use]
    pub fn log(&self, rank: u32) -> PathBuf {
        self.logs().join(format!("rank-{rank}.log"))
    }

    /// One rank's metrics, JSON lines.
    #[must_use]
    pub fn metrics(&self, rank: u32) -> PathBuf {
        self.logs().join(format!("metrics-{rank}.jsonl"))
    }

    /// Exists while tasks are asked for a checkpoint because the end is near.
    #[must_use]
    pub fn notice(&self) -> PathBuf {
        self.root.join("notice")
    }

    /// What a later life of the agent needs to know of the lease.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The folders that every attempt has.
    fn all(&self) -> [PathBuf; 5] {
        [self.code(), self.out(), self.checkpoints(), self.tmp(), self.logs()]
    }

    /// Makes the folders that every attempt has, empty.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(&self) -> io::Result<()> {
        remove(&self.root)?;
        fs::create_dir_all(&self.root)?;
        self.all().iter().try_for_each(fs::create_dir)
    }

    /// Makes the folders as good as new, whatever tasks did to them.
    fn empty(&self) -> io::Result<()> {
        let all = self.all();
        let state = self.state();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let is_folder = path.symlink_metadata()?.is_dir();
            if all.contains(&path) && is_folder {
                fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                for inner in fs::read_dir(&path)? {
                    let inner = inner?.path();
                    if path != self.logs() || clear(&inner).is_err() {
                        remove(&inner)?;
                    }
                }
            } else if path != state {
                // The record names its lease, so an old one is as good as none.
                remove(&path)?;
            }
        }
        let whole = all.iter().all(|folder| folder.is_dir());
        if whole { Ok(()) } else { Err(io::Error::other("a folder is missing")) }
    }
}

/// Makes a log as good as new without giving its inode up.
fn clear(log: &Path) -> io::Result<()> {
    let meta = log.symlink_metadata()?;
    let plain = meta.is_file() && meta.nlink() == 1;
    if !plain || log.extension().is_none_or(|kind| kind != "log") {
        return Err(io::Error::other("not a log of ours"));
    }
    fs::set_permissions(log, Permissions::from_mode(0o644))?;
    if meta.len() > 0 { fs::File::create(log).map(drop) } else { Ok(()) }
}

fn remove(path: &Path) -> io::Result<()> {
    let gone = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(why) => Err(why),
    };
    match gone {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Emptied folders of earlier leases, for later ones.
///
/// Source: measured. ext4 searches long for an inode when many were freed in the last seconds:
/// making six folders for each job took more than half of a short job's time.
#[derive(Debug)]
pub struct FolderPool {
    dir: PathBuf,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    names: Vec<u64>,
    next: u64,
}

impl FolderPool {
    /// An empty pool in `dirs`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(dirs: &NodeDirs) -> io::Result<Self> {
        let dir = dirs.root.join("pool");
        remove(&dir)?;
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, free: Mutex::default() })
    }

    /// Makes a lease's folders, from an emptied one if there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn take(&self, lease: &LeaseDirs) -> io::Result<()> {
        let Some(name) = self.free().names.pop() else { return lease.create() };
        remove(&lease.root)?;
        fs::rename(self.dir.join(name.to_string()), &lease.root).or_else(|_| lease.create())
    }

    /// Takes back the folders of a lease that is over, or removes them.
    ///
    /// # Errors
    /// When they can be neither emptied nor removed.
    pub fn give_back(&self, lease: &LeaseDirs) -> io::Result<()> {
        let name = {
            let mut free = self.free();
            free.next += 1;
            Some(free.next).filter(|_| free.names.len() < POOL_MAX)
        };
        if let Some(name) = name
            && lease.empty().is_ok()
            && fs::rename(&lease.root, self.dir.join(name.to_string())).is_ok()
        {
            self.free().names.push(name);
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

    #[test]
    fn a_folder_from_the_pool_is_as_good_as_new() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let pool = FolderPool::open(&dirs).unwrap();
        let lease = |index| dirs.lease(LeaseId { index, ordinal: 0 });
        let first = lease(1);
        pool.take(&first).unwrap();
        fs::write(first.out().join("model"), "x").unwrap();
        fs::write(first.log(0), "printed").unwrap();
        fs::create_dir_all(first.data().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", first.tmp().join("link")).unwrap();
        fs::set_permissions(first.code(), Permissions::from_mode(0o500)).unwrap();
        pool.give_back(&first).unwrap();
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
    fn a_folder_that_was_replaced_by_a_link_does_not_come_back() {
        let root = tempfile::tempdir().unwrap();
        let dirs = NodeDirs { root: root.path().to_owned() };
        let pool = FolderPool::open(&dirs).unwrap();
        let lease = dirs.lease(LeaseId { index: 1, ordinal: 0 });
        pool.take(&lease).unwrap();
        fs::remove_dir(lease.out()).unwrap();
        std::os::unix::fs::symlink("/etc", lease.out()).unwrap();
        pool.give_back(&lease).unwrap();
        pool.take(&lease).unwrap();
        assert!(lease.out().symlink_metadata().unwrap().is_dir());
    }
}
