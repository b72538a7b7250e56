//! Arguments of `assay backup` and `assay restore`.

use crate::{
    quantity,
    s3::{LockMode, Place},
};
use clap::{Args, Subcommand};
use domain::Millis;
use std::path::PathBuf;

// `assay backup`.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Save the cluster as it is now; only what the folder lacks is fetched
    Take {
        /// Folder of backups, made if it is not there
        dir: PathBuf,
    },
    /// Copy a backup of a folder to S3: only what the bucket lacks; needs no cluster
    Push(Push),
    /// Fetch a backup from S3 into a folder, each byte verified; needs no cluster
    Pull {
        /// Where it is: s3://bucket/prefix
        bucket: Place,
        /// Folder of backups, made if it is not there
        dir: PathBuf,
        /// Its log entry; by default that of the newest
        #[arg(long, value_name = "INDEX")]
        at: Option<u64>,
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

// `assay backup push`.
#[derive(Args, Debug)]
pub struct Push {
    /// Folder of backups
    pub dir: PathBuf,
    /// Where to: s3://bucket/prefix. Who you are is in the environment: AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL
    pub bucket: Place,
    /// Its log entry; by default that of the newest
    #[arg(long, value_name = "INDEX")]
    pub at: Option<u64>,
    /// Lock every object of it for so long, such as 30d: the bucket has Object Lock
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub lock: Option<Millis>,
    /// Who may end such a lock early
    #[arg(long, value_name = "MODE", default_value = "compliance", requires = "lock")]
    pub lock_mode: LockMode,
}

// `assay restore`.
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
