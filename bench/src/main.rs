//! Benchmarks: each figure beside its peer or its bound, as a ratio from one run.
#![forbid(unsafe_code)]

mod agent_rest;
mod arrays;
mod assay;
mod bare;
mod batch;
mod burst;
mod checkpoint;
mod child;
mod cpu;
mod crew;
mod deaf;
mod disk;
mod elections;
mod etcd;
mod gang;
mod idle;
mod kills;
mod load;
mod logs;
mod model_signing;
mod noop;
mod placements;
mod planner;
mod queued;
mod registers;
mod registry_audit;
mod registry_figures;
mod registry_lineage;
mod registry_rows;
mod report;
mod seal;
mod seal_along;
mod shells;
mod slurm;
mod start;
mod submits;
mod tasks;
mod tls;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use registry_figures::Sizes;
use std::{future::pending, path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Clients share the cores with what they measure, so what they take themselves is kept small, the
/// same for each peer.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "assay-bench", about = "Figures beside their peers, as ratios from one run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Acknowledged durable submits on three replicas, beside etcd's puts.
    Submits {
        /// Numbers of persistent clients.
        #[arg(long, value_delimiter = ',', default_value = "1,16,128,512")]
        clients: Vec<usize>,
        /// Measured seconds for each.
        #[arg(long, default_value_t = 6)]
        seconds: u64,
        /// Without etcd: to compare two builds of ours.
        #[arg(long)]
        alone: bool,
    },
    /// Registered versions of models, beside MLflow's server on SQLite.
    Registers {
        /// Measured seconds for each.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Gates, lineage, audit, drift and the scan for personal data, each beside its bound.
    Registry {
        /// Seed of all that is generated.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Sealed and registered artifacts.
        #[arg(long, default_value_t = 100_000)]
        artifacts: u64,
        /// Audit events.
        #[arg(long, default_value_t = 1_000_000)]
        events: u64,
        /// Features, of 10,000 samples each.
        #[arg(long, default_value_t = 1_000)]
        features: usize,
        /// MiB of text.
        #[arg(long, default_value_t = 512)]
        mib: usize,
        /// Appends on a cluster.
        #[arg(long, default_value_t = 500)]
        appends: u64,
    },
    /// 1,000 distinct jobs in one request, beside Slurm's sbatch.
    Batch {
        /// Measured seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Submits through the command by eight shells, beside sbatch.
    Shells {
        /// Submits of each shell.
        #[arg(long, default_value_t = 300)]
        turns: u64,
    },
    /// Arrays of 1,000 and of 100,000.
    Arrays {
        /// Measured seconds for each.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Idle cluster: submit to the job's first instruction, beside Slurm.
    Idle {
        /// Samples of each.
        #[arg(long, default_value_t = 20)]
        samples: usize,
        /// Without Slurm: to compare two builds of ours.
        #[arg(long)]
        alone: bool,
    },
    /// No-op jobs submitted, run and sealed, beside Slurm and the bound of process spawn.
    Noop {
        /// Jobs.
        #[arg(long, default_value_t = 1_000)]
        jobs: usize,
        /// Without Slurm: to compare two builds of ours.
        #[arg(long)]
        alone: bool,
    },
    /// The leader killed in mid-burst: jobs lost, and gaps beside etcd's.
    Kills {
        /// Kills of our leader.
        #[arg(long, default_value_t = 50)]
        kills: usize,
        /// Kills of etcd's.
        #[arg(long, default_value_t = 10)]
        etcd: usize,
    },
    /// Elections while all cores are saturated and nothing is killed.
    Elections {
        /// Seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Hashing and sealing a tree of 1 GiB files, beside the cores' SHA-256 and the disk.
    Seal {
        /// Files of 1 GiB.
        #[arg(long, default_value_t = 8)]
        gib: u64,
        /// Where to put them; the system's folder for temporary files by default.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The program `model_signing` of the OpenSSF, to be measured beside.
        #[arg(long)]
        reference: Option<PathBuf>,
    },
    /// Storing and restoring a checkpoint of float32 tensors, beside cp, tar and the disk.
    Checkpoint {
        /// Its size in GiB, over eight files.
        #[arg(long, default_value_t = 4)]
        gib: u64,
        /// Where to put it; the system's folder for temporary files by default.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Start of a task: plainly, in a sandbox, in a container, beside fork and exec and `podman run`.
    Start {
        /// Samples of each.
        #[arg(long, default_value_t = 50)]
        samples: usize,
    },
    /// Many queued jobs: memory, restart, latency.
    Queued {
        /// Jobs.
        #[arg(long, default_value_t = 100_000)]
        jobs: usize,
        /// Measured seconds before and after.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Passes of the planner over many nodes and jobs, and recorded plans made again.
    Planner {
        /// Placements that are made again.
        #[arg(long, default_value_t = 1_000_000)]
        decisions: usize,
    },
    /// Durable placements on three replicas, beside what others published.
    Placements {
        /// Jobs.
        #[arg(long, default_value_t = 20_000)]
        jobs: usize,
        /// Played nodes, which hold them all together.
        #[arg(long, default_value_t = 50)]
        nodes: usize,
    },
    /// A gang over two nodes: from one rank's death, or a node's, to the death of the others.
    Gang {
        /// Ranks to kill.
        #[arg(long, default_value_t = 10)]
        kills: usize,
        /// Nodes to kill.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
    },
    /// A line's way from the task to a follower's terminal, and the memory that it takes.
    Logs {
        /// Lines a second.
        #[arg(long, default_value_t = 10_000)]
        rate: u64,
        /// Seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// An agent at rest with eight simulated GPUs: memory, and its share of a core.
    Agent {
        /// Seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Prints lines that hold the time, as the job of `logs` does.
    #[command(hide = true)]
    Print {
        /// Lines a second.
        rate: u64,
        /// Seconds.
        seconds: u64,
    },
    /// One server of the bound of `submits`.
    #[command(hide = true)]
    BareServer {
        /// Folder of certificates and logs.
        dir: PathBuf,
        /// Where it listens.
        port: u16,
        /// Where its followers listen, if it leads.
        followers: Vec<u16>,
    },
    /// All of them, with the numbers above.
    All,
}

impl Command {
    /// What `all` runs.
    fn all() -> Vec<Self> {
        let words = [
            "submits",
            "registers",
            "registry",
            "batch",
            "shells",
            "arrays",
            "idle",
            "noop",
            "kills",
            "elections",
            "checkpoint",
            "seal",
            "start",
            "queued",
            "queued --jobs 1000000",
            "planner",
            "placements",
            "gang",
            "logs",
            "agent",
        ];
        let parse = |words: &str| {
            let words = std::iter::once("assay-bench").chain(words.split_whitespace());
            Arguments::parse_from(words).command
        };
        words.map(parse).into()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Submits { .. } => "submits",
            Self::Registers { .. } => "registers",
            Self::Registry { .. } => "registry",
            Self::Batch { .. } => "batch",
            Self::Shells { .. } => "shells",
            Self::Arrays { .. } => "arrays",
            Self::Idle { .. } => "idle",
            Self::Noop { .. } => "noop",
            Self::Kills { .. } => "kills",
            Self::Elections { .. } => "elections",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Seal { .. } => "seal",
            Self::Start { .. } => "start",
            Self::Queued { .. } => "queued",
            Self::Planner { .. } => "planner",
            Self::Placements { .. } => "placements",
            Self::Gang { .. } => "gang",
            Self::Logs { .. } => "logs",
            Self::Agent { .. } => "agent",
            Self::Print { .. } => "print",
            Self::BareServer { .. } => "bare-server",
            Self::All => "all",
        }
    }

    async fn run(self) -> Result<()> {
        let seconds = Duration::from_secs;
        match self {
            Self::Submits { clients, seconds: time, alone } => {
                submits::run(&clients, seconds(time), alone).await
            }
            Self::Registers { seconds: time } => registers::run(seconds(time)).await,
            Self::Registry { seed, artifacts, events, features, mib, appends } => {
                let sizes = Sizes { artifacts, events, features, mib, appends };
                registry_figures::run(seed, sizes).await
            }
            Self::Batch { seconds: time } => batch::run(seconds(time)).await,
            Self::Shells { turns } => shells::run(turns).await,
            Self::Arrays { seconds: time } => arrays::run(seconds(time)).await,
            Self::Idle { samples, alone } => idle::run(samples, alone).await,
            Self::Noop { jobs, alone } => noop::run(jobs, alone).await,
            Self::Kills { kills, etcd } => kills::run(kills, etcd).await,
            Self::Elections { seconds: time } => elections::run(seconds(time)).await,
            Self::Checkpoint { gib, dir } => checkpoint::run(gib, dir.as_deref()).await,
            Self::Seal { gib, dir, reference } => {
                seal::run(gib, dir.as_deref(), reference.as_deref()).await
            }
            Self::Start { samples } => start::run(samples).await,
            Self::Queued { jobs, seconds: time } => queued::run(jobs, seconds(time)).await,
            Self::Planner { decisions } => planner::run(decisions),
            Self::Placements { jobs, nodes } => placements::run(jobs, nodes).await,
            Self::Gang { kills, nodes } => gang::run(kills, nodes).await,
            Self::Logs { rate, seconds: time } => logs::run(rate, seconds(time)).await,
            Self::Agent { seconds: time } => agent_rest::run(seconds(time)).await,
            Self::Print { .. } | Self::BareServer { .. } | Self::All => {
                bail!("`all` is made of the others")
            }
        }
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start() -> Result<()> {
    let asked = Arguments::parse().command;
    if let Command::Print { rate, seconds } = asked {
        return logs::print(rate, Duration::from_secs(seconds));
    }
    if let Command::BareServer { dir, port, followers } = asked {
        return bare::serve(dir, port, followers).await;
    }
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("{profile} profile, {} cores", std::thread::available_parallelism()?);
    let commands = if let Command::All = asked { Command::all() } else { vec![asked] };
    let work = async {
        for command in commands {
            let name = command.name();
            if let Err(why) = command.run().await {
                report::failed(name, &why);
            }
        }
    };
    // What was started ends with the values that are dropped here.
    tokio::select! {
        () = work => {}
        () = stopped() => bail!("stopped"),
    }
    let failed = report::summary();
    if !failed.is_empty() {
        bail!("failed or not measured: {}", failed.join(", "));
    }
    Ok(())
}

/// Completes when the run is to end early.
async fn stopped() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
