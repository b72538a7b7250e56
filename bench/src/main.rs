//! Benchmarks: each figure beside its peer or its bound, as a ratio from one run.
#![forbid(unsafe_code)]

mod arrays;
mod assay;
mod batch;
mod burst;
mod child;
mod cpu;
mod crew;
mod disk;
mod elections;
mod etcd;
mod idle;
mod kills;
mod load;
mod noop;
mod queued;
mod report;
mod seal;
mod shells;
mod slurm;
mod start;
mod submits;
mod tls;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::{future::pending, path::PathBuf, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

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
        #[arg(long, default_value_t = 100)]
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
    /// All of them, with the numbers above.
    All,
}

impl Command {
    /// What `all` runs.
    fn all() -> Vec<Self> {
        let words = [
            "submits",
            "batch",
            "shells",
            "arrays",
            "idle",
            "noop",
            "kills",
            "elections",
            "seal",
            "start",
            "queued",
        ];
        words.map(|word| Arguments::parse_from(["assay-bench", word]).command).into()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Submits { .. } => "submits",
            Self::Batch { .. } => "batch",
            Self::Shells { .. } => "shells",
            Self::Arrays { .. } => "arrays",
            Self::Idle { .. } => "idle",
            Self::Noop { .. } => "noop",
            Self::Kills { .. } => "kills",
            Self::Elections { .. } => "elections",
            Self::Seal { .. } => "seal",
            Self::Start { .. } => "start",
            Self::Queued { .. } => "queued",
            Self::All => "all",
        }
    }

    async fn run(self) -> Result<()> {
        let seconds = Duration::from_secs;
        match self {
            Self::Submits { clients, seconds: time } => submits::run(&clients, seconds(time)).await,
            Self::Batch { seconds: time } => batch::run(seconds(time)).await,
            Self::Shells { turns } => shells::run(turns).await,
            Self::Arrays { seconds: time } => arrays::run(seconds(time)).await,
            Self::Idle { samples, alone } => idle::run(samples, alone).await,
            Self::Noop { jobs, alone } => noop::run(jobs, alone).await,
            Self::Kills { kills, etcd } => kills::run(kills, etcd).await,
            Self::Elections { seconds: time } => elections::run(seconds(time)).await,
            Self::Seal { gib, dir } => seal::run(gib, dir.as_deref()).await,
            Self::Start { samples } => start::run(samples).await,
            Self::Queued { jobs, seconds: time } => queued::run(jobs, seconds(time)).await,
            Self::All => bail!("`all` is made of the others"),
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
