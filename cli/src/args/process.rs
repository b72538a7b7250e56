//! Arguments of the processes.

use clap::Args;
use std::path::PathBuf;

/// `assay dev`.
#[derive(Args, Debug)]
pub struct Dev {
    /// Folder of the cluster; by default in the user's data folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Show what Assay does, step by step, with a leader killed on the way
    #[arg(long)]
    pub tour: bool,
    /// Start from what an earlier run left in the folder
    #[arg(long)]
    pub keep: bool,
    /// The NVML library that plays the GPUs; by default beside this program
    #[arg(long, value_name = "FILE")]
    pub nvml: Option<PathBuf>,
    /// Folder of examples, for the tour
    #[arg(long, value_name = "DIR", default_value = "examples")]
    pub examples: PathBuf,
}

/// A process with a configuration file.
#[derive(Args, Debug)]
pub struct Configured {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `assay supervisor`.
#[derive(Args, Debug)]
pub struct Supervisor {
    /// The folder that it serves
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// `assay completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}
