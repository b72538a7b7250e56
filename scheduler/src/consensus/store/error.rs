//! What can be wrong with a disk, and what to do about it.

use crate::consensus::boot::BootError;
use std::path::{Path, PathBuf};

/// A store that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made.
    #[error("data directory {} cannot be made; check its parent and its permissions", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No space is left.
    #[error("no space is left for {}; free some and start again, nothing is lost", dir.display())]
    DiskFull {
        /// The data directory.
        dir: PathBuf,
        /// RocksDB's words.
        #[source]
        source: rocksdb::Error,
    },
    /// Another process has it open.
    #[error("data directory {} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// RocksDB's words.
        #[source]
        source: rocksdb::Error,
    },
    /// RocksDB found damage.
    #[error(
        "data directory {} is damaged: this server must not serve; remove it with `assay cluster \
         remove`, then add a new one with a new id and an empty disk", dir.display()
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// RocksDB's words.
        #[source]
        source: rocksdb::Error,
    },
    /// A column family is not there.
    #[error("data directory {} has no `{family}`; it is not one of this program's", dir.display())]
    NoFamily {
        /// The data directory.
        dir: PathBuf,
        /// The missing family.
        family: String,
    },
    /// Anything else that the disk or RocksDB refuses.
    #[error("data directory {} cannot be used; check the disk and its permissions", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// RocksDB's words.
        #[source]
        source: rocksdb::Error,
    },
    /// The system refuses what every process may have.
    #[error("the system refuses {what}; raise its limits")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Log, state and rows do not fit together.
    #[error(transparent)]
    Boot(#[from] BootError),
}

impl StoreError {
    /// Sorts RocksDB's error by what the operator is to do.
    pub(super) fn new(dir: &Path, source: rocksdb::Error) -> Self {
        let dir = dir.to_owned();
        let words = source.to_string();
        let full = words.contains("No space left") || words.contains("Disk quota exceeded");
        match source.kind() {
            _ if full => Self::DiskFull { dir, source },
            rocksdb::ErrorKind::Corruption => Self::Damaged { dir, source },
            rocksdb::ErrorKind::IOError if words.contains("lock") => Self::InUse { dir, source },
            _ => Self::Io { dir, source },
        }
    }
}
