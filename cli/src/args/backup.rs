//! Arguments of `assay backup` and `assay restore`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

// `assay backup`.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Save the cluster as it is now; only what the folder lacks is fetched
    Take {
        /// Folder of backups, made if it is not there
        dir: PathBuf,
    },
    /// List the backups of a folder; needs no cluster
    List {
        /// Folder of backups
        dir: PathBuf,
    },
    /// Read a backup again, every byte of it; needs no cluster
    Verify {
        /// Folder of backups
        dir: PathBuf,
        /// Its log entry; by default that of the newest
        #[arg(long, value_name = "INDEX")]
        at: Option<u64>,
    },
}

/// `assay restore`.
#[derive(Args, Debug)]
pub struct Restore {
    /// Folder of backups
    pub dir: PathBuf,
    /// Configuration of the server that is restored: its data folder must not exist or be empty,
    /// and `members` lists all servers of the restored cluster
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Log entry of the backup; by default that of the newest
    #[arg(long, value_name = "INDEX")]
    pub at: Option<u64>,
}
