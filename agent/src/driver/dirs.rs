//! The folders of a node and of each lease on it.

use domain::LeaseId;
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

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

    /// The folder of what the agent itself writes down.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// The folder of emptied folders that wait for a lease.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.root.join("pool")
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

    /// Where a rank's framework says what is in force in it.
    #[must_use]
    pub fn answers(&self, rank: u32) -> PathBuf {
        self.tmp().join(format!("in-force-{rank}.json"))
    }

    /// Exists while tasks are asked for a checkpoint because the end is near.
    #[must_use]
    pub fn notice(&self) -> PathBuf {
        self.root.join("notice")
    }

    /// What holds for its tasks, where they run within walls: the supervisor's word.
    #[must_use]
    pub fn facts(&self) -> PathBuf {
        self.root.join("facts")
    }

    /// The step of the checkpoint that is being stored, for a later life of the agent.
    #[must_use]
    pub fn pending(&self) -> PathBuf {
        self.root.join("pending")
    }

    /// The image that it runs on, as it is laid out: the agent's word.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.root.join("image")
    }

    /// What a later life of the agent needs to know of the lease.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The folders that every attempt has.
    pub(super) fn all(&self) -> [PathBuf; 5] {
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
    pub(super) fn empty(&self) -> io::Result<()> {
        let all = self.all();
        let state = self.state();
        let owner = self.root.symlink_metadata()?.uid();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let meta = path.symlink_metadata()?;
            if meta.is_dir() && meta.uid() != owner {
                return Err(io::Error::other("a sandbox's folder belongs to its user"));
            }
            let is_folder = meta.is_dir();
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

/// Makes a folder empty, without giving it up: the one above may be another's. All is tried, and
/// the first fault told.
pub(super) fn emptied(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let removed = fs::read_dir(folder)?.map(|entry| remove(&entry?.path()));
    removed.fold(Ok(()), io::Result::and)
}

/// Removes a file, a link or a folder with all that is in it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
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
