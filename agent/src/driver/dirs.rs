//! The folders of a node and of each lease on it.

use domain::LeaseId;
use std::{fs, io, path::PathBuf};

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

    /// Makes the folders that every attempt has, empty.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        fs::create_dir_all(&self.root)?;
        for folder in
            [self.code(), self.out(), self.checkpoints(), self.tmp(), self.logs()]
        {
            fs::create_dir(folder)?;
        }
        Ok(())
    }
}
