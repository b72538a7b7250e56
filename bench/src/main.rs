//! Benchmarks: each figure beside its peer or its bound, as a ratio from one run.
#![forbid(unsafe_code)]

mod assay;
mod cpu;
mod etcd;
mod load;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::time::Duration;

#[derive(Parser)]
#[command(name = "assay-bench", about = "Figures beside their peers, as ratios from one run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Acknowledged durable submits on three replicas, beside etcd's puts.
    Submits {
        /// Numbers of persistent clients.
        #[arg(long, value_delimiter = ',', default_value = "1,16,128,512")]
        clients: Vec<usize>,
        /// Measured seconds for each.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Many jobs in one request, and arrays.
    Bulk {
        /// Measured seconds for each.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// All of them.
    All,
}

async fn submits(clients: &[usize], time: Duration) -> Result<()> {
    println!(
        "acknowledged durable writes, three replicas on loopback; etcd without TLS, ours with"
    );
    let dir = tempfile::tempdir()?;
    let mut peer = Vec::new();
    {
        let etcd = etcd::Etcd::start(dir.path()).await?;
        for count in clients {
            peer.push(etcd.puts(*count, time).await?);
        }
    }
    let assay = assay::Assay::start(dir.path()).await?;
    for (count, (theirs, their_cpu)) in clients.iter().zip(peer) {
        let (ours, our_cpu) = assay.submits(*count, time).await?;
        println!(
            "{count:>4} clients: assay {:>8.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>4.0} us CPU  \
             failed {}",
            ours.rate(),
            ours.median_ms(),
            ours.p99_ms(),
            our_cpu,
            ours.failed,
        );
        println!(
            "              etcd  {:>8.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>4.0} us CPU  failed {}",
            theirs.rate(),
            theirs.median_ms(),
            theirs.p99_ms(),
            their_cpu,
            theirs.failed,
        );
        println!(
            "              ratio {:.2}x in rate, {:.2}x in median latency, {:.2}x in CPU",
            ours.rate() / theirs.rate(),
            theirs.median_ms() / ours.median_ms(),
            their_cpu / our_cpu,
        );
    }
    Ok(())
}

async fn bulk(time: Duration) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let assay = assay::Assay::start(dir.path()).await?;
    let batches = assay.batches(1_000, time).await?;
    println!(
        "1,000 distinct jobs in one request: {:.0} jobs/s, {:.1} ms a request, failed {}",
        batches.rate() * 1_000.0,
        batches.median_ms(),
        batches.failed,
    );
    for count in [1_000, 100_000] {
        let arrays = assay.arrays(count, time).await?;
        println!("array of {count}: acknowledged in {:.2} ms (median)", arrays.median_ms());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Submits { clients, seconds } => {
            submits(&clients, Duration::from_secs(seconds)).await
        }
        Command::Bulk { seconds } => bulk(Duration::from_secs(seconds)).await,
        Command::All => {
            let time = Duration::from_secs(5);
            submits(&[1, 16, 128, 512], time).await?;
            bulk(time).await
        }
    }
}
