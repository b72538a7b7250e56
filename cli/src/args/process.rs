//! Arguments of the processes.

use super::spec::word;
use crate::jobfile::form::ISOLATION;
use clap::{Args, Subcommand};
use domain::{ReplicaId, isolation::Isolation};
use std::{net::SocketAddr, path::PathBuf};

// `assay dev`.
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
    /// Only write the cluster's files; its processes are yours to start
    #[arg(long, conflicts_with_all = ["tour", "keep"])]
    pub set_up: bool,
    /// Agents to write files for; only two are ever started by `assay dev` itself
    #[arg(long, value_name = "N", requires = "set_up", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(2..=8))]
    pub agents: u8,
    /// The NVML library that plays the GPUs; by default beside this program
    #[arg(long, value_name = "FILE")]
    pub nvml: Option<PathBuf>,
    /// Folder of examples, for the tour
    #[arg(long, value_name = "DIR", default_value = "examples")]
    pub examples: PathBuf,
}

// A process with a configuration file.
#[derive(Args, Debug)]
pub struct Configured {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

// `assay agent`.
#[derive(Args, Debug)]
pub struct Agent {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The least isolation of every job: plain, sandbox, container; by default what the configuration says
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &ISOLATION))]
    pub isolation: Option<Isolation>,
    /// The rack that the machine is in; by default what the configuration says
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// The block of the fabric that the machine is in; by default what the configuration says
    #[arg(long, value_name = "NAME")]
    pub block: Option<String>,
}

// `assay server`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Server {
    /// What to do instead of running one.
    #[command(subcommand)]
    pub action: Option<ServerAction>,
    /// Its configuration
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
}

// What `assay server` does beside running one.
#[derive(Debug, Subcommand)]
pub enum ServerAction {
    /// Write the configuration of a server that is to join the cluster
    Init(ServerInit),
}

// `assay server init`.
#[derive(Args, Debug)]
pub struct ServerInit {
    /// Its id, never used before: r4
    pub id: ReplicaId,
    /// Folder for its configuration, certificate and data; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where it listens: 0.0.0.0:7601
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where others reach it, host:port; by default where it listens
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Folder with a copy of the cluster's signing keys, where they are files
    #[arg(long, value_name = "DIR", required_unless_present = "signer")]
    pub keys: Option<PathBuf>,
    /// Configuration of another server, whose table [signer] is taken over
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    pub signer: Option<PathBuf>,
    /// Key of the cluster's authority, to sign the certificate here; else a request is written
    #[arg(long, value_name = "FILE")]
    pub ca_key: Option<PathBuf>,
}

// `assay supervisor`.
#[derive(Args, Debug)]
pub struct Supervisor {
    /// The folder that it serves
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The agent's configuration, whose settings of sandboxes and containers hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

// `assay completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

// `assay man`.
#[derive(Args, Debug)]
pub struct Man {
    /// The folder; it is made if need be
    pub dir: PathBuf,
}
